"""What keeps a long run safe: NaN, states that are kept, checked and fallen back on, full disks, kills, hangs."""

from __future__ import annotations

import errno
import math
import os
import re
import struct
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from kills import Kills
from small_runs import log, words

from digan_fast import video
from digan_fast.cli import main
from digan_fast.training import presets, states
from digan_fast.training.config import TrainConfig
from digan_fast.training.estimate import estimate
from digan_fast.training.loop import Pace, train
from digan_fast.training.operations import OperationCounter
from digan_fast.training.run import Run


def test_nan_stops_the_run_and_the_last_state_remains(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    step = Run.step

    def poisoned(run: Run) -> dict[str, float]:
        terms = step(run)
        return terms | ({"loss/G": math.nan} if run.steps == 7 else {})

    monkeypatch.setattr(Run, "step", poisoned)
    assert main(words(config)) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert "error: batch 7 (pairs 24 to 27): loss/G is nan" in error
    assert torch.load(config.out / "state.pt", weights_only=True)["pairs"] == 20
    monkeypatch.setattr(Run, "step", step)
    train(replace(config, resume=True))


def test_weights_that_are_not_finite_are_not_saved(config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    step = Run.step

    def poisoned(run: Run) -> dict[str, float]:
        terms = step(run)
        if run.steps == 10:
            run.G_ema.mapping.fc0.bias.data[0] = math.inf
        return terms

    monkeypatch.setattr(Run, "step", poisoned)
    with pytest.raises(RuntimeError, match=r"batch 10: G_ema\.mapping\.fc0\.bias is not finite"):
        train(config)
    assert torch.load(config.out / "state.pt", weights_only=True)["pairs"] == 20


def kept(out: Path) -> list[int]:
    return [torch.load(path, weights_only=True)["pairs"] for path in states.saved_states(out)]


@pytest.mark.parametrize(("keep", "expected"), [(1, [40]), (2, [40, 32]), (3, [40, 32, 24]), (9, [40, 32, 24, 16, 8])])
def test_so_many_states_are_kept(config: TrainConfig, keep: int, expected: list[int]) -> None:
    train(replace(config, keep=keep, snapshot_kimg=0.008))
    assert kept(config.out) == expected
    train(replace(config, keep=1, kimg=0.048, resume=True))
    assert kept(config.out) == [48]


def flipped(path: Path) -> None:
    """A byte of the largest tensor; between tensors is padding, which says nothing."""
    with zipfile.ZipFile(path) as archive:
        largest = max(archive.infolist(), key=lambda entry: entry.file_size)
    data = bytearray(path.read_bytes())
    # Of a member's header, the bytes of its name and of what pads it.
    name, padding = struct.unpack_from("<HH", data, largest.header_offset + 26)
    data[largest.header_offset + 30 + name + padding + largest.file_size // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    "damage",
    [
        flipped,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-500]),
        lambda path: torch.save({"steps": 1}, path),
        lambda path: path.unlink(),
    ],
)
def test_a_damaged_state_is_noticed_and_the_one_before_it_used(
    config: TrainConfig, damage: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    train(config)
    expected = torch.load(config.out / "state.pt", weights_only=True)
    damage(config.out / "state.pt")
    capsys.readouterr()
    train(replace(config, resume=True))
    told = capsys.readouterr().err
    assert "goes on from state.1.pt, after 20 pairs" in told
    found = torch.load(config.out / "state.pt", weights_only=True)
    assert all(torch.equal(found["G"][name], tensor) for name, tensor in expected["G"].items())
    assert [line["pairs"] for line in log(config)] == [8, 16, 24, 32, 40]
    for path in states.saved_states(config.out):
        path.write_bytes(b"junk")
    assert main([*words(config), "--resume"]) == 1
    error = capsys.readouterr().err
    assert all(f"{path}: not a state to resume from" in error for path in states.saved_states(config.out))
    assert len(states.saved_states(config.out)) == 2


@pytest.mark.parametrize("late", [False, True])
def test_a_full_disk_leaves_the_old_states(config: TrainConfig, monkeypatch: pytest.MonkeyPatch, late: bool) -> None:
    """Whether it is found full while the state is written or, late, when it should reach the disk."""
    train(replace(config, kimg=0.02))
    before = {path.name: path.read_bytes() for path in states.saved_states(config.out)}

    def full(*given: Any) -> None:
        Path(given[-1]).write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(states if late else torch, "flush" if late else "save", full)
    with pytest.raises(OSError, match="not written, no space left on device; what was there before remains"):
        train(replace(config, resume=True))
    assert {path.name: path.read_bytes() for path in states.saved_states(config.out)} == before
    assert not [path for path in config.out.iterdir() if ".part" in path.name]


@pytest.mark.parametrize("save", [1, 2])
def test_a_kill_between_a_state_and_its_snapshot(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch, save: int
) -> None:
    """Of the first save, which leaves no snapshot, and of the last, which leaves that of the first."""
    whole = replace(config, out=config.out.with_name("whole"))
    expected = train(whole).read_bytes()
    save_snapshot, saved = Run._save_snapshot, []

    def killed(run: Run) -> None:
        saved.append(run.pairs)
        if len(saved) == save:
            raise KeyboardInterrupt
        save_snapshot(run)

    monkeypatch.setattr(Run, "_save_snapshot", killed)
    with pytest.raises(KeyboardInterrupt):
        train(config)
    monkeypatch.setattr(Run, "_save_snapshot", save_snapshot)
    assert train(replace(config, resume=True)).read_bytes() == expected
    assert log(config)[-1]["pairs"] == 40


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_kills(tmp_path: Path) -> None:
    kills = Kills(tmp_path)
    kills.run(10, seed=1)
    assert len(kills.resumed_from) == 10


def test_sample_videos(config: TrainConfig) -> None:
    pytest.importorskip("av")
    train(replace(config, sample_frames=5))
    frames, _ = video.read(config.out / "samples" / "000000040.mp4")
    assert frames.shape == (5, 3, 16, 24)


def test_the_log_has_the_time_left(config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the mean pace of a session that began 100 seconds earlier than it did."""
    begin = Pace.__init__

    def earlier(pace: Pace, pairs: int) -> None:
        begin(pace, pairs)
        pace._begun = (pace._begun[0] - 100, pairs)

    monkeypatch.setattr(Pace, "__init__", earlier)
    train(config)
    left = {line["pairs"]: line["seconds_left"] for line in log(config)}
    assert left[40] == 0
    assert all(left[pairs] >= 100 / pairs * (40 - pairs) for pairs in (8, 16, 24, 32))


def test_tensorboard_is_named_where_it_is_missing(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    assert main([*words(config), "--tensorboard"]) == 1
    assert 'pip install "digan_fast[tensorboard]"' in capsys.readouterr().err
    assert not config.out.exists()


def test_tensorboard(config: TrainConfig) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(replace(config, tensorboard=True))
    found = EventAccumulator(str(config.out / "tensorboard"))
    found.Reload()
    losses = [(event.step, event.value) for event in found.Scalars("loss/G")]
    assert losses == [(line["pairs"], pytest.approx(line["loss/G"], rel=1e-6)) for line in log(config)]
    assert [event.step for event in found.Images("samples")] == [20, 40]


def test_a_dry_run_measures(config: TrainConfig, capsys: pytest.CaptureFixture[str]) -> None:
    for changes in ({}, {"discriminator": "dvd-gan", "clip_length": 4}):
        torch.manual_seed(0)
        before = torch.get_rng_state()
        assert main([*words(config, **changes), "--dry-run"]) == 0
        assert torch.equal(torch.get_rng_state(), before)
        told = {line.partition(": ")[0]: line for line in capsys.readouterr().out.splitlines()}
        assert {"parameters", "memory", "operations", "speed", "time"} <= told.keys()
        assert ("clips" if changes else "pairs") in told["speed"]
        assert not config.out.exists()


def test_a_dry_run_measures_on_the_runs_threads(config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    before, seen = torch.get_num_threads(), set()
    monkeypatch.setattr(Run, "train_phase", lambda *_: seen.add(torch.get_num_threads()))
    other = 1 if before > 1 else 2
    estimate(replace(config, threads=other), 0)
    assert seen == {other}
    assert torch.get_num_threads() == before


def test_operations_are_counted() -> None:
    """Matrix products of torch, and ours: of DIGAN's generator what a render needs, thrice that with gradients."""
    with OperationCounter() as counter:
        torch.nn.functional.linear(torch.ones(3, 4), torch.ones(5, 4))
    assert counter.total == 2 * 3 * 4 * 5
    from bench.cases import generator, video
    from bench.work import render_flops

    case = video(generator(True), 4)
    inr = case.inr()
    with torch.no_grad(), OperationCounter() as counter:
        inr.render(case.times)
    # The to-RGB layers' products are counted here, not there.
    assert 1 < counter.total / render_flops(inr, 4) < 1.1
    with OperationCounter() as forward:
        pictures = inr.render(case.times)
    with OperationCounter() as backward:
        pictures.square().sum().backward()
    assert forward.total == pytest.approx(counter.total, rel=0.1)
    assert backward.total == pytest.approx(2 * forward.total, rel=0.2)


@pytest.mark.parametrize("name", presets.NAMES)
def test_presets_are_defaults(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[TrainConfig] = []
    monkeypatch.setattr("digan_fast.cli.train.train", lambda config: seen.append(config) or Path("done"))
    assert main(["train", "data", "--preset", name]) == 0
    assert main(["train", "data", f"--preset={name}", "--batch", "8", "--clips", "one"]) == 0
    precision = ["--g-precision", "mixed", "--d-precision", "mixed"]
    assert main(["train", "data", "--preset", name, *precision]) == 0
    assert seen[2] == replace(seen[0], g_precision="mixed", d_precision="mixed")
    assert (seen[0].batch, seen[0].kimg, seen[0].resolution) == (64, 25000, 128)
    assert (seen[0].recipe().lr, seen[0].recipe().r1_gamma) == (0.0025, 1)
    own = replace(seen[0], discriminator="dvd-gan").recipe()
    assert (own.lr, own.d_lr, own.r1_gamma) == (1e-4, 5e-4, 0)
    clips = {"ucf101": ("every", 1), "sky": ("disjoint", 1), "taichi": ("interleaved", 4)}
    assert (seen[0].clips, seen[0].clip_stride) == clips.get(name, ("disjoint", 1))
    assert (seen[1].batch, seen[1].clips, seen[1].preset) == (8, "one", name)
    assert seen[1].data == Path("data")


def test_the_help_shows_a_preset_s_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    """Also of options whose text states a default of their own."""
    told = []
    for more in ([], ["--preset", "taichi"]):
        assert main(["train", *more, "--help"]) == 0
        told.append(" ".join(word.strip("│") for word in capsys.readouterr().out.split()))
    for text, expected in zip(told, (("(default: 1)", False), ("(default: 4)", True)), strict=True):
        default, preset = expected
        assert re.search(rf"--clip-stride INT [^-]*{re.escape(default)}", text)
        assert bool(re.search(r"1 to 32\. +\(default here: 64\)", text)) == preset
        assert bool(re.search(r"10/32\. +\(default here: 20\.0\)", text)) == preset
