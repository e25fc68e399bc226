"""A video of four colours, which show how it was rotated and mirrored."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

# The display matrix a b 0, c d 0 (x' = a·x + c·y, y' = b·x + d·y, y downwards), and the corners as players show them
# (test_video_ffmpeg.py compares with FFmpeg).
MATRICES = {
    (1, 0, 0, 1): "rgbw",
    (0, 1, -1, 0): "brwg",
    (-1, 0, 0, -1): "wbgr",
    (0, -1, 1, 0): "gwrb",
    (-1, 0, 0, 1): "grwb",
    (1, 0, 0, -1): "bwrg",
    (0, 1, 1, 0): "rbgw",
    (0, -1, -1, 0): "wgbr",
}


def quadrants(height: int = 32, width: int = 64) -> Any:
    """Red, green, blue and white quarters, starting at the upper left."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[: height // 2, : width // 2] = (255, 0, 0)
    pixels[: height // 2, width // 2 :] = (0, 255, 0)
    pixels[height // 2 :, : width // 2] = (0, 0, 255)
    pixels[height // 2 :, width // 2 :] = (255, 255, 255)
    return pixels


def encode(path: Path, frames: list[Any], times: list[float] | None = None, **options: Any) -> Path:
    """An H.264 file of frames [H, W, 3], at 32 frames per second or at the given times."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=32, options={"crf": "1", "bf": "0"})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv444p"
        if "shape" in options:
            stream.codec_context.sample_aspect_ratio = options["shape"]
        if "matrix" in options:
            stream.set_display_matrix(options["matrix"])
        stream.codec_context.time_base = Fraction(1, 3200)
        for index, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts = round(3200 * (index / 32 if times is None else times[index]))
            frame.time_base = Fraction(1, 3200)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path
