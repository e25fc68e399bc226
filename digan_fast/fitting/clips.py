"""The clip to fit: all of its frames, as 8-bit values."""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import islice
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from digan_fast import video
from digan_fast.data.frames import Frames
from digan_fast.inr import Clip

# Bytes of frames held in memory.
_MOST_BYTES: Final = 8 << 30
_LEAST_FRAMES: Final = 2


@dataclass(frozen=True, eq=False)
class GivenClip:
    """Frames uint8 [T, 3, H, W] at times 0 to 1, and frames per second if they are known."""

    frames: Tensor
    fps: float | None = None

    def __post_init__(self) -> None:
        if self.frames.dtype != torch.uint8 or self.frames.ndim != 4 or self.frames.shape[1] != 3:
            shape = list(self.frames.shape)
            raise ValueError(f"frames: {self.frames.dtype} {shape}, expected torch.uint8 [T, 3, H, W]")
        if len(self.frames) < _LEAST_FRAMES:
            raise ValueError(f"frames: {len(self.frames)}, expected {_LEAST_FRAMES} or more")

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def times(self) -> Tensor:
        """[T] in float32."""
        return torch.linspace(0, 1, len(self.frames))

    @property
    def described(self) -> Clip:
        """What a file says of the clip."""
        height, width = self.frames.shape[2:]
        return Clip(height, width, len(self.frames), self.fps)


def colours(frames: Tensor) -> Tensor:
    """8-bit frames as colours in [−1, 1]."""
    return frames.to(torch.float32).div_(127.5).sub_(1)


def read_clip(
    path: str | os.PathLike[str],
    frames: slice | None = None,
    longer_side: int | None = None,
    square: int | None = None,
    crop: str = "center",
    fps: float | None = None,
) -> GivenClip:
    """A video file, an animation or a folder of pictures.

    frames: which to take, after resampling.  fps: frames per second to resample to, by time; default: as it is.
    longer_side: frames are scaled, bilinearly with antialiasing, so that their longer side has this many pixels.
    square: they are cropped to a square instead, and scaled down to this side.

    Raises ValueError, naming the file, if it cannot be read, has fewer than two frames, is smaller than ``square``, or
    its frames differ in size or exceed 8 GiB; FileNotFoundError if there is none.
    """
    name, part = os.fspath(path), frames or slice(None)
    if not os.path.exists(path):
        raise FileNotFoundError(f"clip: {name} does not exist")
    collected: Frames | None = None
    shape: torch.Size | None = None
    given = "" if frames is None else f" among those of --frames {_shown(part)}"
    try:
        rate = video.frame_rate(path) if fps is None else fps
        for frame in islice(video.iter_frames(path, fps), part.start, part.stop, part.step):
            if shape is not None and frame.shape != shape:
                sizes = f"{frame.shape[2]}×{frame.shape[1]} after one of {shape[2]}×{shape[1]}"
                raise ValueError(f"a frame of {sizes}, expected frames of one size")
            shape = frame.shape
            frame = _scaled(frame, longer_side) if square is None else _square(frame, square, crop)
            if collected is None:
                collected = Frames(*frame.shape[1:])
            if (len(collected) + 1) * frame.numel() > _MOST_BYTES:
                raise ValueError(
                    f"more than {_MOST_BYTES >> 30} GiB of frames of {frame.shape[2]}×{frame.shape[1]}; "
                    "take fewer (--frames) or smaller ones"
                )
            collected.append(frame)
    except (ValueError, OSError) as error:
        reason = str(error) if name in str(error) else f"{name}: {error}"
        raise ValueError(f"clip: {reason}") from error
    count = 0 if collected is None else len(collected)
    if collected is None or count < _LEAST_FRAMES:
        frames_text = "1 frame" if count == 1 else f"{count} frames"
        raise ValueError(f"clip: {name}: {frames_text}{given}, expected {_LEAST_FRAMES} or more")
    step = part.step or 1
    return GivenClip(collected.tensor(), None if rate is None else rate / step)


def _shown(part: slice) -> str:
    """A slice as ``--frames`` takes it."""
    stop = "" if part.stop is None else part.stop
    step = "" if part.step is None else f":{part.step}"
    return f"{part.start or 0}:{stop}{step}"


def _scaled(frame: Tensor, longer_side: int | None) -> Tensor:
    longer = max(frame.shape[1:])
    if longer_side is None or longer_side == longer:
        return frame
    if longer_side > longer:
        extent = f"{frame.shape[2]}×{frame.shape[1]}"
        raise ValueError(f"frames of {extent}, expected a longer side of {longer_side} or more, as asked for")
    height, width = (max(1, round(extent * longer_side / longer)) for extent in frame.shape[1:])
    return F.interpolate(frame[None], (height, width), mode="bilinear", antialias=True)[0]


def _square(frame: Tensor, side: int, crop: str) -> Tensor:
    if min(frame.shape[1:]) < side:
        extent = f"{frame.shape[2]}×{frame.shape[1]}"
        raise ValueError(f"frames of {extent}, expected {side}×{side} or more, the snapshot's resolution")
    return video.square(frame, side, crop)
