"""Frames: crops, colours, contact sheets, conversion to pillow images."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from PIL.Image import Image

CROPS: Final = ("center", "left", "right")


def square(frame: Tensor, size: int, crop: str = "center") -> Tensor:
    """Crop a frame [3, H, W] along its longer side to a square, and resize that to [3, size, size].

    `crop` "left" keeps the left or the top end, "right" the right or the bottom end. Resizing is
    bilinear, with antialiasing. Raises ValueError for an unknown `crop`, or a size below 1.
    """
    if crop not in CROPS:
        raise ValueError(f"crop: {crop!r}, expected one of {', '.join(CROPS)}")
    if size < 1:
        raise ValueError(f"size: {size}, expected 1 or more")
    side = min(frame.shape[1:])

    def part(length: int) -> slice:
        first = {"left": 0, "center": (length - side) // 2, "right": length - side}[crop]
        return slice(first, first + side)

    frame = frame[:, part(frame.shape[1]), part(frame.shape[2])]
    if side == size:
        return frame.contiguous()
    batch = frame.unsqueeze(0)
    return F.interpolate(batch, (size, size), mode="bilinear", antialias=True).squeeze(0)


def to_uint8(frames: Tensor) -> Tensor:
    """Colours in [-1, 1] to 0..255: x·127.5 + 127.5, rounded half to even and clamped.

    NaN becomes 128, like 0. Any shape; the result is on the same device.
    """
    scaled = frames.detach().float().nan_to_num(nan=0.0).mul_(127.5).add_(127.5)
    return scaled.round_().clamp_(0, 255).to(torch.uint8)


def sheet(rows: Iterable[Iterable[Tensor]], gap: int = 2) -> Tensor:
    """A contact sheet: rows of frames as one picture, with white lines of `gap` pixels between.

    Args:
        rows: frames, uint8 [3, H, W], all of one size; shorter rows are padded with white.
        gap: pixels between adjacent frames.

    Returns:
        uint8 [3, H', W'].

    Raises:
        ValueError: there are no frames, or they differ in size.
    """
    table = [list(row) for row in rows]
    columns = max(map(len, table), default=0)
    if columns == 0:
        raise ValueError("sheet: expected at least one frame")
    first = next(frame for row in table for frame in row)
    _, height, width = first.shape
    down, across = len(table) * (height + gap) - gap, columns * (width + gap) - gap
    result = torch.full((3, down, across), 255, dtype=torch.uint8)
    for row, frames in enumerate(table):
        for column, frame in enumerate(frames):
            frame = checked(frame, row * columns + column, first)
            top, left = row * (height + gap), column * (width + gap)
            result[:, top : top + height, left : left + width] = frame
    return result


def checked(frame: Tensor, index: int, first: Tensor) -> Tensor:
    """The frame on the CPU.  Raises ValueError if it is not a frame of the first one's size."""
    if frame.dtype != torch.uint8 or frame.ndim != 3 or frame.shape[0] != 3:
        raise ValueError(f"frame {index}: {frame.dtype} {list(frame.shape)}, expected torch.uint8 [3, H, W]")
    if frame.shape != first.shape:
        raise ValueError(f"frame {index}: {extent(frame)}, expected {extent(first)}")
    return frame.detach().cpu()


def extent(frame: Tensor) -> str:
    """The size of a frame as `width×height`."""
    return "×".join(map(str, reversed(frame.shape[1:])))


def to_pillow(frame: Tensor) -> Image:
    from PIL import Image

    return Image.fromarray(frame.permute(1, 2, 0).contiguous().numpy())
