"""Compared with FFmpeg's renderings of the same files, if FFmpeg is installed (``ffmpeg``, or imageio-ffmpeg's)."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from quadrants import MATRICES, encode, quadrants
from torch import Tensor

from digan_fast import video


def program() -> str | None:
    if importlib.util.find_spec("imageio_ffmpeg"):
        import imageio_ffmpeg

        return str(imageio_ffmpeg.get_ffmpeg_exe())
    return shutil.which("ffmpeg")


FFMPEG = program()
pytestmark = pytest.mark.skipif(FFMPEG is None, reason="there is no ffmpeg")


def rendered(path: Path, filters: str = "null") -> Tensor:
    """Every frame of a file as the ffmpeg program writes it, [N, 3, H, W]."""
    folder = path.parent / "rendered"
    folder.mkdir()
    # Pixels are made square as in players; ffmpeg itself only passes on their aspect ratio.
    scale = "scale='if(gt(sar,1),iw*sar,iw)':'if(lt(sar,1),ih/sar,ih)',setsar=1"
    command = [FFMPEG, "-v", "error", "-i", path, "-vf", f"{scale},{filters}", "-fps_mode", "passthrough"]
    subprocess.run([*map(str, command), str(folder / "%05d.png")], check=True)
    return video.read(folder)[0]


def alike(found: Tensor, wanted: Tensor) -> bool:
    return found.shape == wanted.shape and float((found.float() - wanted.float()).abs().mean()) < 3


@pytest.mark.parametrize("matrix", MATRICES)
def test_matrices(tmp_path: Path, matrix: tuple[int, ...]) -> None:
    a, b, c, d = (number << 16 for number in matrix)
    path = encode(tmp_path / "a.mov", [quadrants()] * 3, matrix=[a, b, 0, c, d, 0, 0, 0, 1 << 30])
    assert alike(video.read(path)[0], rendered(path))


@pytest.mark.parametrize("shape", [Fraction(2, 1), Fraction(1, 2), Fraction(16, 15)])
def test_pixels(tmp_path: Path, shape: Fraction) -> None:
    path = encode(tmp_path / "a.mp4", [quadrants()] * 2, shape=shape)
    assert alike(video.read(path)[0], rendered(path))


@pytest.mark.parametrize("fps", [8, 16, 25, 32, 60])
def test_variable_frame_rates(tmp_path: Path, fps: int) -> None:
    times = [i / 32 for i in range(16)] + [0.5 + i / 8 for i in range(4)]
    frames = [np.full((16, 16, 3), round(250 * t), np.uint8) for t in times]
    path = encode(tmp_path / "a.mp4", frames, times)
    found, wanted = video.read(path, fps=fps)[0], rendered(path, f"fps={fps}")
    # None of these files gives the last frame's duration; ffmpeg takes it to be the last interval.
    shared = min(len(found), len(wanted))
    assert shared >= round(0.875 * fps)
    assert alike(found[:shared], wanted[:shared])


def test_several_streams(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mp4", [quadrants()] * 3)
    both = tmp_path / "b.mkv"
    command = [FFMPEG, "-v", "error", "-i", path, "-i", path, "-map", "0:v", "-map", "1:v", "-s:v:0", "32x16", both]
    subprocess.run(list(map(str, command)), check=True)
    assert alike(video.read(both)[0], rendered(both))
