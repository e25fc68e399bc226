"""What is removed from a run's folder, or is no longer writable, while the run goes on."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import IO

import pytest
import torch
from small_runs import log, words

from digan_fast import files
from digan_fast.cli import main
from digan_fast.files import naming, why_not_writable
from digan_fast.training import folder as training_folder
from digan_fast.training import loop
from digan_fast.training.config import TrainConfig
from digan_fast.training.folder import Lock, owned
from digan_fast.training.loop import train
from digan_fast.training.record import Record
from digan_fast.training.run import Run


@pytest.fixture
def after_step(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, Callable[[], object]], None]:
    """Calls something once after so many steps of the runs to come."""
    step = Run.step

    def arrange(steps: int, call: Callable[[], object]) -> None:
        def stepped(run: Run) -> dict[str, float]:
            report = step(run)
            if run.steps == steps:
                call()
            return report

        monkeypatch.setattr(Run, "step", stepped)

    return arrange


@pytest.mark.parametrize("what", ["config.json", "log.jsonl", ".lock", "everything"])
def test_what_is_removed_is_written_again(
    config: TrainConfig,
    after_step: Callable[[int, Callable[[], object]], None],
    capsys: pytest.CaptureFixture[str],
    what: str,
) -> None:
    """Of ten steps, each with a line and a save every fifth."""
    whole = replace(config, out=config.out.with_name("whole"), tick_kimg=0.004)
    train(whole)
    capsys.readouterr()
    run = replace(whole, out=config.out)
    remove = (lambda: shutil.rmtree(run.out)) if what == "everything" else (lambda: os.unlink(run.out / what))
    after_step(7, remove)
    train(replace(run, data=whole.data))
    told = capsys.readouterr().err
    names = ["config.json", "log.jsonl", ".lock"] if what == "everything" else [what]
    assert all(told.count(f"{run.out / name} is gone, so it is ") == 1 for name in names)
    assert [line["pairs"] for line in log(run)] == [line["pairs"] for line in log(whole)] == list(range(4, 44, 4))
    saved, expected = (json.loads((each.out / "config.json").read_text()) for each in (run, whole))
    assert saved == {**expected, "out": str(run.out)}
    assert not (run.out / ".lock").exists()
    train(replace(run, resume=True, kimg=0.044))


def test_a_log_that_was_edited_goes_on(tmp_path: Path) -> None:
    """Editors put another file in its place."""
    with Record(tmp_path, {}) as record:
        record.write({"pairs": 1})
        (tmp_path / "edited").write_text('{"pairs": 1, "note": 0}\n')
        os.replace(tmp_path / "edited", tmp_path / "log.jsonl")
        record.write({"pairs": 2})
    assert (tmp_path / "log.jsonl").read_text() == '{"pairs": 1, "note": 0}\n{"pairs": 2}\n'


def test_a_run_stops_if_another_has_taken_its_folder(
    config: TrainConfig, after_step: Callable[[int, Callable[[], object]], None]
) -> None:
    """In the step after the first save, it is seen at the next line of the log."""
    others: list[Lock] = []

    def take() -> None:
        os.unlink(config.out / ".lock")
        others.append(Lock(config.out))

    after_step(6, take)
    message = rf"\.lock was removed, and now process {os.getpid()} trains in .*; this run stops"
    with pytest.raises(RuntimeError, match=message):
        train(config)
    assert torch.load(config.out / "state.pt", weights_only=True)["pairs"] == 20
    assert (config.out / ".lock").exists()
    others[0].release()
    assert not (config.out / ".lock").exists()


def test_a_lock_that_was_just_released_is_not_the_folder_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its holder removes the file after it was opened here, and before it is locked."""
    holder, take = Lock(tmp_path), files.take_lock
    released: list[int] = []

    def late(lock: IO[str]) -> None:
        if not released:
            released.append(1)
            holder.release()
        take(lock)

    monkeypatch.setattr(training_folder, "take_lock", late)
    own = Lock(tmp_path)
    with pytest.raises(ValueError, match=f"process {os.getpid()} trains"):
        Lock(tmp_path)
    own.release()
    assert not list(tmp_path.iterdir())


def test_a_full_disk_at_the_start_is_named(config: TrainConfig) -> None:
    """Nothing can be written at all."""
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0));"
        "from digan_fast.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    done = subprocess.run([sys.executable, "-c", code, *words(config)], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.strip().endswith(f"error: {config.out / '.lock'}: not written, file too large")
    assert not config.out.exists()


@pytest.mark.parametrize("name", ["config.json", "log.jsonl", "data.pack"])
def test_a_disk_that_fills_up_is_named(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if name == "config.json":
        text = Path.write_text
        monkeypatch.setattr(
            Path, "write_text", lambda path, *rest, **how: fail() if "config" in path.name else text(path, *rest, **how)
        )
    elif name == "data.pack":
        monkeypatch.setattr(Path, "write_bytes", fail)
    else:
        monkeypatch.setattr(loop.Record, "restore", lambda record: setattr(record, "_log", _Full(record._log)))
    assert main(words(config)) == 1
    assert f"error: {config.out / name}: not written, no space left on device" in capsys.readouterr().err
    assert not (config.out / ".lock").exists()


class _Full:
    """A file on a disk that is full."""

    def __init__(self, file: object) -> None:
        self.name, self.close = file.name, file.close  # type: ignore[attr-defined]

    def write(self, text: str) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_read_only_mount_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files.os, "access", lambda path, mode: False)
    assert why_not_writable(tmp_path) == "Permission denied"
    monkeypatch.setattr(files, "_is_read_only", lambda place: True)
    assert why_not_writable(tmp_path / "run") == "Read-only file system"
    with (
        pytest.raises(ValueError, match=rf"out: {tmp_path}/run cannot be written to: Read-only file system"),
        owned(tmp_path / "run"),
    ):
        pass


def test_a_mount_that_becomes_read_only_is_named(
    config: TrainConfig, after_step: Callable[[int, Callable[[], object]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seven steps after the start, two after the first save."""

    def fail(path: Path) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    after_step(7, lambda: monkeypatch.setattr(Path, "touch", fail))
    message = rf"{config.out}/state\.pt: not written, read-only file system; what was there before remains"
    with pytest.raises(OSError, match=message):
        train(config)
    assert torch.load(config.out / "state.pt", weights_only=True)["pairs"] == 20


def test_errors_that_name_a_file_are_left_as_they_are(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nothing"), naming(tmp_path / "other"):
        (tmp_path / "nothing").read_bytes()
