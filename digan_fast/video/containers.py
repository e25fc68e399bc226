"""Reads video files with PyAV as players show them: rotated, mirrored, pixels made square, transparency over black."""

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
# Pixels are stretched if they deviate from square by more than rounding.
_SQUARE: Final = 0.01


def require_av(path: Path) -> Any:
    try:
        import av
    except ImportError as error:
        raise ImportError(f'{path}: video files need PyAV ({error}); pip install "digan_fast[video]"') from error
    return av


@contextlib.contextmanager
def open_video(path: Path) -> Iterator[tuple[Any, Any]]:
    """Opens a container and its video stream; FFmpeg errors inside the block become a ValueError with the path."""
    av = require_av(path)
    try:
        # Absolute, since FFmpeg interprets the part before a colon as a protocol.
        with av.open(os.path.abspath(path)) as container:
            yield container, _stream(path, container)
    except PermissionError:
        raise
    except av.FFmpegError as error:
        reason = error.strerror or type(error).__name__
        raise ValueError(f"{path}: damaged, truncated or not a video: {reason}") from error


def _stream(path: Path, container: Any) -> Any:
    """The stream that the ffmpeg program selects: the largest that is not a cover picture, the first on a tie."""
    from av.stream import Disposition

    streams = container.streams.video
    if not streams:
        raise ValueError(f"{path}: it has no video stream")
    moving = [stream for stream in streams if not stream.disposition & Disposition.attached_pic]
    if not moving:
        raise ValueError(f"{path}: it has no moving picture, only a cover")
    return max(moving, key=lambda stream: (stream.width or 0) * (stream.height or 0))


def video_rate(path: Path) -> float | None:
    """The file's frame rate, in frames per second; if it varies, that of most frames."""
    times = _packet_times(path)
    if varies(times):
        return 1 / usual_gap(times)
    with open_video(path) as (_, stream):
        rate = stream.average_rate
        return float(rate) if rate else None


def video_frames(path: Path, fps: float | None) -> Iterator[Tensor]:
    """The frames at their own rate, made constant if it varies, or at ``fps``."""
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
    """The number of encoded frames in a file."""
    with open_video(path) as (container, stream):
        return sum(1 for packet in container.demux(stream) if packet.size)


def _packet_times(path: Path) -> list[float]:
    """The presentation times of the frames, in seconds, ascending; empty if the file records none."""
    with open_video(path) as (container, stream):
        # Their times alone: the packets together are the whole encoded film.
        times = [(packet.pts, packet.dts) for packet in container.demux(stream) if packet.size]
        stamps = [pts for pts, _ in times]
        if any(stamp is None for stamp in stamps):  # An AVI has only decoding times.
            stamps = [dts for _, dts in times]
        if stream.time_base is None or any(stamp is None for stamp in stamps):
            return []
        return sorted({float(stamp * stream.time_base) for stamp in stamps})


def _timed(path: Path, usual: float) -> Iterator[tuple[Tensor, float]]:
    """Frames with their times; a frame without one follows its predecessor at the usual gap."""
    latest = -usual
    for frame, time in _decoded(path):
        latest = latest + usual if time is None else time
        yield frame, latest


def _decoded(path: Path) -> Iterator[tuple[Tensor, float | None]]:
    with open_video(path) as (container, stream):
        # One for all frames, on one thread: creating one per frame costs ten times as much.
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
    """[H, W, C] rotated and mirrored by the frame's display matrix: phones store upright video on its side."""
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
