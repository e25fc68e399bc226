"""Training on packed files and folders: the same values, from any number of workers, before and after a resumption."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import data_sets
import pytest
import torch
from small_runs import SMALL, frame_folder, log, words

from digan_fast.cli import main
from digan_fast.data import packing
from digan_fast.data.layouts import Layout
from digan_fast.data.packed import Pack
from digan_fast.data.packing import Preparation
from digan_fast.training.config import TrainConfig
from digan_fast.training.loop import train
from digan_fast.training.run import Run

# The lines of a dry run that are not about its data.
ESTIMATES = ("parameters: ", "memory: ", "operations: ", "speed: ", "time: ")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for index in range(4):
        frame_folder(tmp_path / "data" / f"class{index % 2}" / f"v{index}", 18 + index)
    return tmp_path / "data"


def packed(root: Path, out: Path, layout: Layout | None = None, **options: Any) -> Path:
    layout = layout or Layout("folder", conditional=True)
    how = Preparation(**{"resolution": 8, **options})
    return packing.pack(root, layout.find(root), how, layout.record(), out, progress=False).path


def values(config: TrainConfig) -> list[dict[str, float]]:
    return [{k: v for k, v in line.items() if k not in ("seconds", "seconds_left", "waiting")} for line in log(config)]


def config_of(data: Path, out: str, **changes: Any) -> TrainConfig:
    return TrainConfig(data=data, out=data.parent / out, **{**SMALL, **changes})


def test_a_packed_file_trains_as_its_folder(folder: Path, tmp_path: Path) -> None:
    plain = config_of(folder, "plain", conditional=True, frames="1:19")
    train(plain)
    whole = config_of(packed(folder, tmp_path / "whole.pack"), "whole", conditional=True, frames="1:19")
    train(whole)
    assert values(whole) == values(plain)
    assert (plain.out / "snapshot.safetensors").read_bytes() == (whole.out / "snapshot.safetensors").read_bytes()
    assert not (whole.out / "data.pack").exists()
    assert Pack(plain.out / "data.pack").frame_count == 17 + 18 * 3
    assert all(0 <= line["waiting"] <= 1 for line in log(whole))


def test_workers_and_resumptions_change_nothing(folder: Path, tmp_path: Path) -> None:
    data = packed(folder, tmp_path / "v.pack", encoding="jpeg")
    alone = config_of(data, "alone", workers=0)
    train(alone)
    parts = config_of(data, "parts", workers=2, kimg=0.024)
    train(parts)
    parts = replace(parts, resume=True, kimg=alone.kimg, workers=0)
    train(parts)
    assert values(parts) == values(alone)
    states = [torch.load(each.out / "state.pt", weights_only=True)["G"] for each in (parts, alone)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_decoded_frames_are_kept_for_the_next_resumption(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = config_of(folder, "run", kimg=0.02)
    train(config)
    kept = (config.out / "data.pack").stat().st_ino
    train(replace(config, resume=True, kimg=0.024))
    assert (config.out / "data.pack").stat().st_ino == kept
    frame_folder(folder / "class0" / "later", 20)
    capsys.readouterr()
    train(replace(config, resume=True, other_data=True, kimg=0.028))
    assert "data: 5 of 5 videos used" in capsys.readouterr().err
    assert len(Pack(config.out / "data.pack").videos) == 5


def test_the_parts_of_a_packed_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = data_sets.taichi(tmp_path / "taichi")
    data = packed(root, tmp_path / "taichi.pack", Layout("taichi", "both"))
    config = config_of(data, "run", split="train", clips="interleaved", clip_stride=4, kimg=0.008)
    train(config)
    told = capsys.readouterr().err
    assert "data: 1 of 2 videos used, 130 frames, 16 clips" in told
    assert "left out: 1 without a clip of 61 frames, such as train/id#0100.mp4" in told
    assert "DIGAN trains on" not in told
    train(replace(config, out=tmp_path / "other", clips="one", clip_stride=1))
    assert "DIGAN trains on taichi with --clip-stride 4 --clips interleaved" in capsys.readouterr().err
    with pytest.raises(ValueError, match=r"resume: .* was started with another clips"):
        train(replace(config, out=tmp_path / "other", clip_stride=1, resume=True))
    assert json.loads((tmp_path / "other" / "config.json").read_text())["clips"] == "one"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"resolution": 16}, r"--resolution: 16, but .*v\.pack has frames of side 8"),
        ({"crop": "left"}, r"--crop: 'left', but the frames of .*v\.pack are cropped already"),
        ({"fps": 10}, r"--fps: 10, but the frames of .*v\.pack have no times"),
        ({"take": "frames"}, r"--take: 'frames', but .*v\.pack is a packed file"),
        ({"split": "train"}, r"--split: 'train', but .*v\.pack holds no video of that part"),
        ({"frames": "4:12"}, r"data: no video has the 16 frames of a clip"),
        ({"workers": -1}, r"--workers: -1, expected 0 to 1024"),
    ],
)
def test_what_a_packed_file_cannot_give(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], message: str
) -> None:
    config = config_of(packed(folder, tmp_path / "v.pack"), "run")
    for more in ([], ["--dry-run"]):
        assert main([*words(config, **changes), *more]) != 0
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert re.search(message, error), error
        assert not config.out.exists()


def test_a_dry_run_of_a_packed_file(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its index knows all videos, of which a folder's dry run tries eight; what it says is what the run says."""
    for index in range(20):
        frame_folder(folder / "class1" / f"w{index}", 17 + 3 * (index % 5))
    config = config_of(packed(folder, tmp_path / "v.pack"), "run", kimg=0.004)
    options = ["--frames", "1:", "--clip-length", "20"]
    assert main([*words(config), *options, "--dry-run"]) == 0
    told = [line for line in capsys.readouterr().out.splitlines() if not line.startswith(ESTIMATES)]
    used = [count for count in (*range(17, 21), *[16, 19, 22, 25, 28] * 4) if count >= 20]
    assert told[0].startswith(f"{len(used)} of 24 videos used, {sum(used)} frames, ")
    assert told[1].startswith(f"left out: {24 - len(used)} without a clip of 20 frames, such as ")
    assert main([*words(config), *options]) == 0
    assert [f"data: {line}" for line in told] == [
        line for line in capsys.readouterr().err.splitlines() if line.startswith("data: ")
    ]
    unlabelled = packed(folder, tmp_path / "unlabelled.pack", Layout("folder"))
    assert main([*words(replace(config, data=unlabelled, out=tmp_path / "other")), "--conditional", "--dry-run"]) == 1
    assert "has no class" in capsys.readouterr().err


@pytest.mark.parametrize("workers", [0, 1])
def test_a_packed_file_that_is_overwritten_stops_the_run(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], workers: int
) -> None:
    """After the save of the fifth step; what was saved remains."""
    data = packed(folder, tmp_path / "v.pack", encoding="jpeg")
    config = config_of(data, "run", kimg=0.4, snapshot_kimg=0.02, workers=workers)
    step = Run.step

    def overwriting(run: Run) -> dict[str, float]:
        if run.steps == 5:
            data.write_bytes(b"other" * 100)
        return step(run)

    monkeypatch.setattr(Run, "step", overwriting)
    assert main(words(config, workers=workers)) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert re.search(
        r"v\.pack/class\d/v\d: frame \d+ .*v\.pack was written to or cut off after it was opened", error
    ), error
    assert torch.load(config.out / "state.pt", weights_only=True)["pairs"] >= 20
