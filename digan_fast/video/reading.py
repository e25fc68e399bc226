"""Video files, gifs and folders of frames, in: decoded one frame at a time."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor

from digan_fast.video.frames import IMAGE_SUFFIXES, extent, from_pillow, is_image_name, square

if TYPE_CHECKING:
    from PIL.Image import Image

VIDEO_SUFFIXES: Final = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".gif")

_Path = str | os.PathLike[str]


def is_video(path: _Path) -> bool:
    """Whether there is a file here with the suffix of a video, gifs among them."""
    path = Path(path)
    return path.suffix.lower() in VIDEO_SUFFIXES and path.is_file()


def is_frame_folder(path: _Path) -> bool:
    """Whether this is a directory that has an image directly inside."""
    path = Path(path)
    return path.is_dir() and any(map(is_image_name, os.listdir(path)))


def iter_frames(path: _Path) -> Iterator[Tensor]:
    """The frames of a video file, a gif or a folder of images, decoded one by one.

    The images of a folder come in natural order, `2.png` before `10.png`.

    Args:
        path: a file with one of `VIDEO_SUFFIXES`, or a directory with images (`IMAGE_SUFFIXES`).

    Yields:
        uint8 [3, H, W]. The images of a folder may differ in size.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is of another kind, damaged or truncated, or has no frames.
        ImportError: PyAV, which decodes video files, is not installed.
    """
    path = Path(path)
    decode = _decoder(path)
    empty = True
    for frame in decode(path):
        empty = False
        yield frame
    if empty:
        raise ValueError(f"{path}: it has no frames")


def frame_rate(path: _Path) -> float | None:
    """Frames per second, the mean where they vary; None for a folder, and where none is recorded.

    Raises what `iter_frames` raises.
    """
    path = Path(path)
    decode = _decoder(path)
    if decode is _folder_frames:
        return None
    if decode is _gif_frames:
        with _open_image(path) as image:
            durations = []
            for index in range(getattr(image, "n_frames", 1)):
                image.seek(index)
                durations.append(image.info.get("duration", 0))
            return 1000 * len(durations) / sum(durations) if sum(durations) else None
    with _open_video(path) as container:
        rate = container.streams.video[0].average_rate
        return float(rate) if rate else None


def read(
    path: _Path, size: int | None = None, crop: str = "center", frames: slice | None = None
) -> tuple[Tensor, float | None]:
    """Read a video file, a gif or a folder of images.

    Frames are decoded, cropped and resized one by one, so that memory holds frames of the final
    size only; decoding ends with the last frame that is asked for.

    Args:
        path: as for `iter_frames`.
        size: the side of the square that each frame is cropped and resized to, as by `square`.
        crop: "center", "left" or "right"; where `size` is None, frames stay as they are.
        frames: which frames, by non-negative numbers; None is all of them.

    Returns:
        uint8 [N, 3, H, W], and the file's frames per second, as of `frame_rate`.

    Raises:
        ValueError: as for `iter_frames`; the frames differ in size and `size` is None; there are
            none in `frames`; or an argument is none of those above.
        FileNotFoundError, ImportError: as for `iter_frames`.
    """
    rate = frame_rate(path)
    part = frames if frames is not None else slice(None)
    if any(isinstance(end, int) and end < 0 for end in (part.start, part.stop, part.step)):
        raise ValueError(f"frames: {frames}, expected non-negative numbers")
    chosen: list[Tensor] = []
    for frame in itertools.islice(iter_frames(path), part.start, part.stop, part.step):
        frame = frame if size is None else square(frame, size, crop)
        if chosen and frame.shape != chosen[0].shape:
            raise ValueError(
                f"{os.fspath(path)}: a frame of {extent(frame)} after one of {extent(chosen[0])}; give a size"
            )
        chosen.append(frame)
    if not chosen:
        raise ValueError(f"{os.fspath(path)}: it has no frames in {frames}")
    return torch.stack(chosen), rate


def _natural(name: str) -> tuple[list[str | int], str]:
    """A key that sorts runs of digits as numbers."""
    parts = re.split(r"([0-9]+)", name.lower())
    return [int(part) if index % 2 else part for index, part in enumerate(parts)], name


def _decoder(path: Path) -> Callable[[Path], Iterator[Tensor]]:
    """The function that yields the frames of a path."""
    if path.is_dir():
        return _folder_frames
    path.stat()
    suffix = path.suffix.lower()
    if suffix not in VIDEO_SUFFIXES:
        known = ", ".join(VIDEO_SUFFIXES)
        raise ValueError(f"{path}: unknown suffix {suffix!r}, expected a folder or one of {known}")
    return _gif_frames if suffix == ".gif" else _video_frames


@contextlib.contextmanager
def _open_image(path: Path) -> Iterator[Image]:
    """Opens with pillow; what goes wrong inside the block becomes a ValueError with the path."""
    import PIL.Image

    try:
        with PIL.Image.open(path) as image:
            yield image
    except (FileNotFoundError, PermissionError):
        raise
    except Exception as error:  # Damaged files also make pillow raise struct.error, IndexError, …
        raise ValueError(f"{path}: damaged or not an image: {error}") from error


def _folder_frames(path: Path) -> Iterator[Tensor]:
    names = sorted(filter(is_image_name, os.listdir(path)), key=_natural)
    if not names:
        known = ", ".join(IMAGE_SUFFIXES)
        raise ValueError(f"{path}: no images in this folder, expected some of {known}")
    for name in names:
        with _open_image(path / name) as image:
            frame = from_pillow(image)
        yield frame


def _gif_frames(path: Path) -> Iterator[Tensor]:
    with _open_image(path) as image:
        for index in range(getattr(image, "n_frames", 1)):
            image.seek(index)
            yield from_pillow(image)


def require_av(path: Path) -> Any:
    try:
        import av
    except ImportError as error:
        raise ImportError(f'{path}: video files need PyAV ({error}); pip install "digan_fast[video]"') from error
    return av


@contextlib.contextmanager
def _open_video(path: Path) -> Iterator[Any]:
    """Opens with PyAV; what goes wrong inside the block becomes a ValueError with the path."""
    av = require_av(path)
    try:
        with av.open(os.fspath(path)) as container:
            if not container.streams.video:
                raise ValueError(f"{path}: it has no video stream")
            yield container
    except av.FFmpegError as error:
        reason = error.strerror or type(error).__name__
        raise ValueError(f"{path}: damaged, truncated or not a video: {reason}") from error


def _video_frames(path: Path) -> Iterator[Tensor]:
    with _open_video(path) as container:
        # One for all frames, on one thread: a new one for each frame costs ten times as much.
        reformatter = require_av(path).video.reformatter.VideoReformatter()
        for frame in container.decode(container.streams.video[0]):
            pixels = reformatter.reformat(frame, format="rgb24", threads=1).to_ndarray()
            # A telephone's upright video is stored lying, with the angle to turn it by.
            turned = torch.rot90(torch.from_numpy(pixels), frame.rotation // 90)
            yield turned.permute(2, 0, 1).contiguous()
