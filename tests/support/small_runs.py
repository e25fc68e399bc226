"""A small data set, and a training run on it that takes seconds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from PIL import Image

from digan_fast.training.config import TrainConfig

SMALL = {
    "resolution": 8,
    "z_dim": 8,
    "w_dim": 8,
    "grid": 4,
    "sinusoids": 4,
    "rank": 2,
    "channel_base": 64,
    "channel_max": 8,
    "d_channel_base": 64,
    "d_channel_max": 8,
    "batch": 4,
    "kimg": 0.04,
    "tick_kimg": 0.008,
    "snapshot_kimg": 0.02,
    "sample_frames": 0,
    "threads": 1,  # on two that wait for each other a step of this size takes up to ten times as long
}


def frame_folder(path: Path, count: int, size: tuple[int, int] = (12, 8)) -> Path:
    """Frame i has the grey level 4·i, its left half one more."""
    path.mkdir(parents=True)
    for index in range(count):
        image = Image.new("RGB", size, (index * 4,) * 3)
        image.paste((index * 4 + 1,) * 3, (0, 0, size[0] // 2, size[1]))
        image.save(path / f"{index:05d}.png")
    return path


def words(config: TrainConfig, **changes: Any) -> list[str]:
    """The command line of a configuration that differs from the defaults as SMALL does."""
    options = {**{name: getattr(config, name) for name in SMALL}, **changes}
    pairs = [(f"--{name.replace('_', '-')}", str(value)) for name, value in options.items() if value is not None]
    return ["train", str(config.data), "--out", str(config.out), *(word for pair in pairs for word in pair)]


def log(config: TrainConfig) -> list[dict[str, float]]:
    """The lines of a run's log."""
    return [json.loads(line) for line in (config.out / "log.jsonl").read_text().splitlines()]
