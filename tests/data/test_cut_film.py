"""docs/examples/cut_film.py: a film of four scenes, cut into its shots."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch
from torch import Tensor

from digan_fast import video

ROOT = Path(__file__).resolve().parents[2]
SIDE = 36


def scene(level: int, length: int, moves: bool) -> list[Tensor]:
    """A bright square on a ground of one grey; it crosses the picture, or stands."""
    frames = []
    for index in range(length):
        frame = torch.full((3, SIDE, 2 * SIDE), level, dtype=torch.uint8)
        left = 2 * index % SIDE if moves else 8
        frame[:, 8:24, left : left + 16] = 255
        frames.append(frame)
    return frames


def test_shots(tmp_path: Path) -> None:
    black = [torch.zeros(3, SIDE, 2 * SIDE, dtype=torch.uint8)] * 3
    film = [*scene(40, 12, True), *scene(160, 14, True), *black, *scene(90, 13, False), *scene(200, 5, True)]
    video.write(tmp_path / "film", film)
    command: list[str | Path] = [
        sys.executable,
        ROOT / "docs" / "examples" / "cut_film.py",
        tmp_path / "film",
        tmp_path / "shots",
    ]
    options = ["--height", "18", "--shortest", "8"]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=True)
    # The third scene does not move, the fourth is too short.
    assert done.stdout.strip() == "2 of 4 shots, 26 of 47 frames"
    assert {p.name: len(list(p.iterdir())) for p in (tmp_path / "shots").iterdir()} == {
        "shot-00000": 12,
        "shot-00012": 14,
    }
    first = video.read(tmp_path / "shots" / "shot-00012")[0][0]
    assert first.shape == (3, 18, 36)
    assert first[:, -1, -1].tolist() == [160] * 3
