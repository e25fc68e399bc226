"""Reads video files, animations and folders of frames, decoding one frame at a time."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from digan_fast.video.containers import packet_count, video_frames, video_rate
from digan_fast.video.frames import extent, square
from digan_fast.video.pictures import (
    ANIMATED_SUFFIXES,
    IMAGE_SUFFIXES,
    animation,
    durations,
    from_pillow,
    is_animated,
    is_image_name,
    open_image,
)
from digan_fast.video.timing import resampled, usual_gap, varies

VIDEO_SUFFIXES: Final = (
    ".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".gif", ".mpg", ".mpeg", ".m2v", ".vob", ".wmv", ".asf", ".flv",
    ".f4v", ".ts", ".mts", ".m2ts", ".3gp", ".3g2", ".ogv", ".ogm", ".divx", ".dv", ".y4m", ".mxf", ".mjpeg", ".apng",
)  # fmt: skip
_GIF: Final = b"GIF8"

_Path = str | os.PathLike[str]


def is_video(path: _Path) -> bool:
    """Whether this is a file with a video suffix, or an animated PNG, WebP or AVIF; hidden files are not."""
    path = Path(path)
    if path.name.startswith(".") or not path.is_file():
        return False
    return path.suffix.lower() in VIDEO_SUFFIXES or is_animated(path)


def is_frame_folder(path: _Path) -> bool:
    """Whether this is a directory that directly contains an image."""
    path = Path(path)
    return path.is_dir() and bool(_images(path))


def iter_frames(path: _Path, fps: float | None = None) -> Iterator[Tensor]:
    """The frames of a video file, an animation or a folder of images, decoded one by one, as players show them.

    Videos are rotated and mirrored as their files specify, images by their EXIF orientation; pixels
    are made square; transparent pixels are blended over black. If the frame rate varies, or `fps` is
    given, the frames are those that a player shows at evenly spaced times. The images of a folder
    come in natural order, `2.png` before `10.png`, and have no times.

    Args:
        path: a file with one of `VIDEO_SUFFIXES`, an animated PNG or WebP, or a directory with images
            (`IMAGE_SUFFIXES`).
        fps: frames per second; by default a constant rate is kept, and a varying one becomes that of
            most frames.

    Yields:
        uint8 [3, H, W]. The images of a folder may differ in size.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is of another kind, damaged or truncated, or has no frames; or `fps` is
            given for frames without times.
        ImportError: PyAV, which decodes video files, is not installed.
    """
    path = Path(path)
    if fps is not None and not fps > 0:
        raise ValueError(f"fps: {fps}, expected a positive number")
    decode = _decoder(path)
    empty = True
    for frame in decode(path, fps):
        empty = False
        yield frame
    if empty:
        raise ValueError(f"{path}: it has no frames")


def frame_rate(path: _Path) -> float | None:
    """Frames per second, or the rate of most frames if it varies; None for a folder, or if none is recorded.

    Raises what `iter_frames` raises.
    """
    path = Path(path)
    decode = _decoder(path)
    if decode is _folder_frames:
        return None
    if decode is _animation_frames:
        shown = durations(path)
        begins = list(itertools.accumulate(shown, initial=0.0))
        if varies(begins):
            return 1 / usual_gap(begins)
        return len(shown) / sum(shown) if sum(shown) else None
    return video_rate(path)


def frame_count(path: _Path) -> int:
    """The number of frames, without decoding those of a video file; if their rate varies, before resampling.

    Raises what `iter_frames` raises.
    """
    path = Path(path)
    decode = _decoder(path)
    if decode is _folder_frames:
        return len(_images(path))
    return len(durations(path)) if decode is _animation_frames else packet_count(path)


def read(
    path: _Path,
    size: int | None = None,
    crop: str = "center",
    frames: slice | None = None,
    fps: float | None = None,
) -> tuple[Tensor, float | None]:
    """Read a video file, an animation or a folder of images.

    Frames are decoded, cropped and resized one by one, so memory holds only frames of the final
    size; decoding stops after the last frame requested.

    Args:
        path: as for `iter_frames`.
        size: the side of the square that each frame is cropped and resized to, as by `square`.
        crop: "center", "left" or "right"; if `size` is None, frames are not cropped.
        frames: which frames to read, by non-negative numbers; None reads all.
        fps: as for `iter_frames`.

    Returns:
        uint8 [N, 3, H, W], and `fps`, or by default the result of `frame_rate`.

    Raises:
        ValueError: as for `iter_frames`; the frames differ in size and `size` is None; `frames`
            selects none; or an argument is invalid.
        FileNotFoundError, ImportError: as for `iter_frames`.
    """
    rate = frame_rate(path) if fps is None else fps
    part = frames if frames is not None else slice(None)
    if any(isinstance(end, int) and end < 0 for end in (part.start, part.stop, part.step)):
        raise ValueError(f"frames: {frames}, expected non-negative numbers")
    chosen: list[Tensor] = []
    for frame in itertools.islice(iter_frames(path, fps), part.start, part.stop, part.step):
        frame = frame if size is None else square(frame, size, crop)
        if chosen and frame.shape != chosen[0].shape:
            raise ValueError(
                f"{os.fspath(path)}: a frame of {extent(frame)} after one of {extent(chosen[0])}; give a size"
            )
        chosen.append(frame)
    if not chosen:
        raise ValueError(f"{os.fspath(path)}: it has no frames in {frames}")
    return torch.stack(chosen), rate


def natural(name: str) -> tuple[list[str | int], str]:
    """A key that sorts runs of digits as numbers."""
    parts = re.split(r"([0-9]+)", name.lower())
    return [int(part) if index % 2 else part for index, part in enumerate(parts)], name


def _images(folder: Path) -> list[str]:
    """The names of the images in a folder; pipes and folders with such names do not count."""
    return [name for name in os.listdir(folder) if is_image_name(name) and (folder / name).is_file()]


def _decoder(path: Path) -> Callable[[Path, float | None], Iterator[Tensor]]:
    """The function that yields the frames of a path."""
    if path.is_dir():
        return _folder_frames
    path.stat()
    suffix = path.suffix.lower()
    if suffix == ".apng" or is_animated(path):
        return _animation_frames
    if suffix in VIDEO_SUFFIXES:
        # A video with the suffix .gif is read as a video.
        return _animation_frames if suffix == ".gif" and _begins(path, _GIF) else video_frames
    if suffix in (*IMAGE_SUFFIXES, *ANIMATED_SUFFIXES):
        raise ValueError(f"{path}: a single picture, expected a video, an animation or a folder of pictures")
    known = ", ".join(VIDEO_SUFFIXES)
    raise ValueError(f"{path}: unknown suffix {suffix!r}, expected a folder or one of {known}")


def _begins(path: Path, mark: bytes) -> bool:
    with open(path, "rb") as file:
        return file.read(len(mark)) == mark


def _folder_frames(path: Path, fps: float | None) -> Iterator[Tensor]:
    names = sorted(_images(path), key=natural)
    if not names:
        known = ", ".join(IMAGE_SUFFIXES)
        raise ValueError(f"{path}: no images in this folder, expected some of {known}")
    if fps is not None:
        raise ValueError(f"{path}: the pictures of a folder have no times, which frames per second need")
    for name in names:
        with open_image(path / name) as image:
            frame = from_pillow(image)
        yield frame


def _animation_frames(path: Path, fps: float | None) -> Iterator[Tensor]:
    shown = durations(path)
    begins: Sequence[float] = list(itertools.accumulate(shown, initial=0.0))
    if fps is None and not varies(begins):
        yield from animation(path)
        return
    if begins[-1] == 0:
        raise ValueError(f"{path}: its frames have no times, which frames per second need")
    timed = zip(animation(path), begins, strict=False)
    yield from resampled(timed, fps or 1 / usual_gap(begins), shown[-1])
