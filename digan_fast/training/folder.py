"""A run's folder: whose it is, what it says of the run in it, and what to go on from."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import torch

from digan_fast.files import remove_leftovers
from digan_fast.training.config import TrainConfig

STATE: Final = "state.pt"
SNAPSHOT: Final = "snapshot.safetensors"
CONFIG: Final = "config.json"
LOG: Final = "log.jsonl"
SAMPLES: Final = "samples"
_LOCK: Final = ".lock"


@contextlib.contextmanager
def owned(folder: Path) -> Iterator[None]:
    """The folder, made where it is missing, for this process alone; removed again where nothing was written into it.

    Raises ValueError, its message beginning with ``out``, where it cannot be made or another process trains there.
    """
    check_folder(folder)
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = open(folder / _LOCK, "a+", encoding="utf-8")  # noqa: SIM115 - held for the length of the run
    except OSError as error:
        raise ValueError(f"out: {folder} cannot be written to: {error.strerror}") from error
    with lock:
        try:
            _take(lock)
        except BlockingIOError:
            lock.seek(0)
            raise ValueError(f"out: process {lock.read().strip() or 'of another user'} trains in {folder}") from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                os.unlink(folder / _LOCK)
            for each in made:
                with contextlib.suppress(OSError):
                    each.rmdir()


def check_folder(folder: Path) -> None:
    """Raises ValueError, its message beginning with ``out``, for what tells, untouched, that it cannot be a folder."""
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"out: {folder} is a file, expected a folder")
    place = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    if not place.is_dir() or not os.access(place, os.W_OK):
        reason = os.strerror(errno.EACCES if place.is_dir() else errno.ENOTDIR)
        raise ValueError(f"out: {folder} cannot be written to: {reason}")


def _take(lock: Any) -> None:
    """Raises BlockingIOError where another process holds it; on file systems without locks there is none."""
    try:
        import fcntl
    except ImportError:
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        return


def clear_leftovers(folder: Path) -> None:
    """Remove what a killed run left half-written."""
    remove_leftovers(folder, (r"config\.json", r"log\.jsonl", r"snapshot\.safetensors", r"state\.pt"))
    remove_leftovers(folder / SAMPLES, (r"[0-9]{9,}\.png",))


def resumable(config: TrainConfig) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """What the folder's config.json says and its state, to go on from; None to start from the beginning.

    Raises ValueError where ``resume`` and the folder do not go together, or what is there is damaged or of another run.
    """
    folder = Path(config.out)
    state, snapshot = folder / STATE, folder / SNAPSHOT
    if not config.resume:
        if state.exists() or snapshot.exists():
            raise ValueError(f"out: {folder} already holds a run; pass --resume or name another folder")
        return None
    if not state.exists():
        if snapshot.exists():
            raise ValueError(
                f"resume: {state} is missing, so that the run of {snapshot.name} cannot go on; name another folder, "
                "and the snapshot with --init, to start from its networks"
            )
        return None
    with resuming(folder / CONFIG) as path:
        saved = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(saved, dict):
            raise TypeError(f"{type(saved).__name__}, expected an object")
    different = config.differences(saved)
    if different:
        raise ValueError(f"resume: {folder} was started with another {', '.join(different)}")
    kept_lines(folder, -1)
    with resuming(state) as path:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(loaded, dict):
            raise TypeError(f"{type(loaded).__name__}, expected a dict")
    return saved, loaded


def kept_lines(folder: Path, pairs: float) -> list[str]:
    """The lines of the log up to so many pairs; of a last one that was cut, nothing."""
    with resuming(folder / LOG) as path:
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        return [line for line in text.split("\n")[:-1] if line and json.loads(line)["pairs"] <= pairs]


@contextlib.contextmanager
def resuming(path: Path) -> Iterator[Path]:
    """What goes wrong inside the block becomes a ValueError with the path and one line."""
    try:
        yield path
    except Exception as error:  # Damaged files make torch raise UnpicklingError, EOFError, IndexError, …
        # The sentences that follow in torch's messages advise to load the file unsafely.
        reason = str(error).partition("\n")[0].partition(". ")[0]
        raise ValueError(f"{path}: not a state to resume from: {type(error).__name__}: {reason}") from error
