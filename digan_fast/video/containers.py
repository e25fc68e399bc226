"""Video files by PyAV, as players show them: turned, mirrored, with square pixels, transparent ones over black."""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import numpy
import torch
from torch import Tensor

from digan_fast.video.timing import resampled, usual_gap, varies

_ONE: Final = 1 << 16
# Pixels are stretched where they are not square by more than rounding.
_SQUARE: Final = 0.01


def require_av(path: Path) -> Any:
    try:
        import av
    except ImportError as error:
        raise ImportError(f'{path}: video files need PyAV ({error}); pip install "digan_fast[video]"') from error
    return av


@contextlib.contextmanager
def open_video(path: Path) -> Iterator[tuple[Any, Any]]:
    """The container and its moving pictures; what goes wrong inside the block becomes a ValueError with the path."""
    av = require_av(path)
    try:
        # Absolute, since FFmpeg takes what precedes a colon for a protocol.
        with av.open(os.path.abspath(path)) as container:
            yield container, _stream(path, container)
    except PermissionError:
        raise
    except av.FFmpegError as error:
        reason = error.strerror or type(error).__name__
        raise ValueError(f"{path}: damaged, truncated or not a video: {reason}") from error


def _stream(path: Path, container: Any) -> Any:
    """The stream that FFmpeg's program takes: the largest that is no cover picture, the first of several."""
    from av.stream import Disposition

    streams = container.streams.video
    if not streams:
        raise ValueError(f"{path}: it has no video stream")
    moving = [stream for stream in streams if not stream.disposition & Disposition.attached_pic]
    if not moving:
        raise ValueError(f"{path}: it has no moving picture, only a cover")
    return max(moving, key=lambda stream: (stream.width or 0) * (stream.height or 0))


def video_rate(path: Path) -> float | None:
    """The frames per second that a file records; where they vary, those of most of its frames."""
    times = _packet_times(path)
    if varies(times):
        return 1 / usual_gap(times)
    with open_video(path) as (_, stream):
        rate = stream.average_rate
        return float(rate) if rate else None


def video_frames(path: Path, fps: float | None) -> Iterator[Tensor]:
    """The frames, at a constant rate where their own varies, or at ``fps``."""
    times = _packet_times(path)
    if fps is None and not varies(times):
        for frame, _ in _decoded(path):
            yield frame
        return
    if len(times) < 2:
        raise ValueError(f"{path}: its frames have no times, which frames per second need")
    usual = usual_gap(times)
    yield from resampled(_timed(path, usual), fps or 1 / usual, usual)


def packet_count(path: Path) -> int:
    """The frames that a file holds encoded."""
    with open_video(path) as (container, stream):
        return sum(1 for packet in container.demux(stream) if packet.size)


def _packet_times(path: Path) -> list[float]:
    """When each frame is to be shown, in seconds, ascending; nothing where the file does not tell."""
    with open_video(path) as (container, stream):
        packets = [packet for packet in container.demux(stream) if packet.size]
        stamps = [packet.pts for packet in packets]
        if any(stamp is None for stamp in stamps):  # An AVI has the order of decoding alone.
            stamps = [packet.dts for packet in packets]
        if stream.time_base is None or any(stamp is None for stamp in stamps):
            return []
        return sorted({float(stamp * stream.time_base) for stamp in stamps})


def _timed(path: Path, usual: float) -> Iterator[tuple[Tensor, float]]:
    """Frames with their times; one that has none follows the last one at the usual gap."""
    latest = -usual
    for frame, time in _decoded(path):
        latest = latest + usual if time is None else time
        yield frame, latest


def _decoded(path: Path) -> Iterator[tuple[Tensor, float | None]]:
    with open_video(path) as (container, stream):
        # One for all frames, on one thread: a new one for each frame costs ten times as much.
        reformatter = require_av(path).video.reformatter.VideoReformatter()
        shape = stream.sample_aspect_ratio or Fraction(1)
        for frame in container.decode(stream):
            yield _as_shown(frame, reformatter, shape), frame.time


def _as_shown(frame: Any, reformatter: Any, shape: Fraction) -> Tensor:
    """uint8 [3, H, W] of a decoded frame whose pixels are ``shape`` times as wide as high."""
    width, height = frame.width, frame.height
    if shape > 1 + _SQUARE:
        width = round(width * shape)
    elif 0 < shape < 1 - _SQUARE:
        height = round(height / shape)
    clear = any(component.is_alpha for component in frame.format.components)
    options = {"format": "rgba" if clear else "rgb24", "width": width, "height": height, "threads": 1}
    pixels = torch.from_numpy(_plane(reformatter.reformat(frame, **options), 4 if clear else 3))
    if clear:
        opacity = pixels[..., 3:].to(torch.int32)
        pixels = ((pixels[..., :3] * opacity + 127) // 255).to(torch.uint8)
    return _turned(pixels, frame).permute(2, 0, 1)


def _plane(frame: Any, channels: int) -> numpy.ndarray[Any, Any]:
    """[H, W, channels] of a packed frame, without a copy."""
    (plane,) = frame.planes
    rows = numpy.frombuffer(plane, numpy.uint8).reshape(-1, plane.line_size)
    return rows[: frame.height, : frame.width * channels].reshape(frame.height, frame.width, channels)


def _turned(pixels: Tensor, frame: Any) -> Tensor:
    """[H, W, C] turned and mirrored as the frame's display matrix says: a telephone's upright video is stored lying."""
    matrix = frame.side_data.get("DISPLAYMATRIX") if frame.side_data else None
    if matrix is None:
        return pixels
    # x' = a·x + c·y and y' = b·x + d·y, fixed point, x to the right and y downwards.
    a, b, _, c, d, *_ = (number / _ONE for number in struct.unpack("<9i", bytes(matrix)))
    if abs(b) + abs(c) > abs(a) + abs(d):
        pixels = pixels.transpose(0, 1)
        a, d = c, b
    flipped = [axis for axis, scale in ((0, d), (1, a)) if scale < 0]
    return pixels.flip(flipped) if flipped else pixels
