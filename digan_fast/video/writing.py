"""Writes video files, gifs and folders of frames from a stream, atomically."""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import torch.nn.functional as F
from torch import Tensor

from digan_fast.files import beside, raise_if_full, replacing
from digan_fast.video.containers import require_av
from digan_fast.video.frames import checked, extent, to_pillow

WRITABLE: Final = ".mp4, .gif or none, for a folder of frames"

# Encoders in order of preference, with their options; the first that PyAV's FFmpeg has is used.
_ENCODERS: Final = (
    ("libx264", {"crf": "17", "preset": "medium"}),
    ("libopenh264", {"rc_mode": "quality", "b": "8000000"}),
    ("mpeg4", {"qscale": "2", "flags": "+qscale"}),
)
_BT709: Final = 1
_LIMITED_RANGE: Final = 1
# Browsers show gif frames shorter than 2 hundredths of a second for 10.
_GIF_SHORTEST: Final = 2
_GIF_FASTEST: Final = 50
_FRAME_NAME: Final = re.compile(r"[0-9]{6,}\.png")

_Path = str | os.PathLike[str]


def write(path: _Path, frames: Iterable[Tensor], fps: float = 16.0) -> None:
    """Write a video atomically: on an error or an interrupt, an existing one is kept.

    Frames are consumed one by one and never collected. The suffix selects the format:

    * `.mp4`: H.264 (mpeg4 if PyAV has no encoder for it), yuv420p with BT.709 colours, nearly
      lossless except for the halved colour resolution. Odd sides gain a repeated row or column.
    * `.gif`: loops forever; each frame has its own 256 colours; times are hundredths of a second,
      so the maximum is 50 frames per second.
    * none: a folder of `000000.png`, `000001.png`, …, lossless. An existing folder is replaced
      if it contains only files with such names.

    Args:
        path: the file or folder; its parents are created.
        frames: uint8 [3, H, W], on any device, all of one size.
        fps: frames per second.

    Raises:
        ValueError: the suffix is unknown, `frames` is empty, a frame has an unexpected shape or
            type, `fps` is invalid, or the folder to replace contains other files.
        ImportError: PyAV, which encodes mp4, is not installed.
        OSError: the file cannot be written.
    """
    path = Path(path)
    if not (fps > 0 and math.isfinite(fps)):
        raise ValueError(f"fps: {fps}, expected a positive number")
    suffix = path.suffix.lower()
    if suffix not in (".mp4", ".gif", ""):
        raise ValueError(f"{path}: unknown suffix {suffix!r}, expected {WRITABLE}")
    if suffix == ".gif" and fps > _GIF_FASTEST:
        raise ValueError(f"fps: {fps:g}, expected at most {_GIF_FASTEST} in a gif: browsers slow down what is faster")
    av = require_av(path) if suffix == ".mp4" else None
    stream = _checked_stream(path, frames)
    if suffix == "":
        with _replacing_folder(path) as folder:
            for index, frame in enumerate(stream):
                to_pillow(frame).save(folder / f"{index:06}.png", "PNG")
        return
    with replacing(path) as part:
        if av is None:
            _write_gif(part, stream, fps)
            return
        try:
            _write_mp4(part, stream, fps)
        except av.FFmpegError as error:
            reason = error.strerror or type(error).__name__
            raise OSError(f"{path}: the video cannot be encoded: {reason}") from error


def write_image(path: _Path, image: Tensor) -> None:
    """Write an image, uint8 [3, H, W], as png, atomically.

    Raises ValueError if the suffix is not `.png` or the tensor is not an image.
    """
    if Path(path).suffix.lower() != ".png":
        raise ValueError(f"{os.fspath(path)}: expected the suffix .png")
    picture = to_pillow(checked(image, 0, image))
    with replacing(path) as part:
        picture.save(part, "PNG")


def _checked_stream(path: Path, frames: Iterable[Tensor]) -> Iterator[Tensor]:
    """The frames, checked lazily.  Raises ValueError if there are none."""
    first: Tensor | None = None
    for index, frame in enumerate(frames):
        first = frame if first is None else first
        yield checked(frame, index, first)
    if first is None:
        raise ValueError(f"{path}: there are no frames to write")


def _encoder(container: Any, rate: Fraction) -> Any:
    """A new video stream of a container, with the first available encoder."""
    import av

    for name, options in _ENCODERS:
        try:
            return container.add_stream(name, rate=rate, options=options)
        except (av.codec.codec.UnknownCodecError, av.FFmpegError):
            continue
    raise ValueError(f"PyAV has none of the encoders {', '.join(name for name, _ in _ENCODERS)}")


def _write_mp4(path: Path, frames: Iterator[Tensor], fps: float) -> None:
    import av
    from av.video.reformatter import Colorspace, VideoReformatter

    first = next(frames)
    _, height, width = first.shape
    odd = (0, width % 2, 0, height % 2)
    reformatter = VideoReformatter()
    # Absolute, since FFmpeg interprets the part before a colon as a protocol.
    with av.open(os.path.abspath(path), "w", options={"movflags": "+faststart"}) as container:
        stream = _encoder(container, Fraction(fps).limit_denominator(60000))
        stream.width, stream.height = width + width % 2, height + height % 2
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        context.color_range = _LIMITED_RANGE
        for frame in itertools.chain([first], frames):
            if any(odd):
                frame = F.pad(frame.unsqueeze(0).float(), odd, mode="replicate").byte().squeeze(0)
            pixels = frame.permute(1, 2, 0).contiguous().numpy()
            picture = reformatter.reformat(
                av.VideoFrame.from_ndarray(pixels, format="rgb24"),
                format="yuv420p",
                dst_colorspace=Colorspace.ITU709,
                threads=1,
            )
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))


def _write_gif(path: Path, frames: Iterator[Tensor], fps: float) -> None:
    """Writes frame by frame, since pillow's own animation writer keeps all frames in memory."""
    from PIL.GifImagePlugin import getdata

    first = next(frames)
    _, height, width = first.shape
    if max(height, width) > 0xFFFF:
        raise ValueError(f"frames of {extent(first)}, expected at most 65535×65535 in a gif")
    with open(path, "wb") as file:
        screen = width.to_bytes(2, "little") + height.to_bytes(2, "little")
        file.write(b"GIF89a" + screen + b"\x00\x00\x00")
        file.write(b"\x21\xff\x0bNETSCAPE2.0\x03\x01\x00\x00\x00")
        shown = 0
        for index, frame in enumerate(itertools.chain([first], frames)):
            delay = max(_GIF_SHORTEST, round(100 * (index + 1) / fps) - shown)
            shown += delay
            picture = to_pillow(frame).quantize(256)
            file.writelines(getdata(picture, duration=10 * delay, include_color_table=True))
        file.write(b"\x3b")


@contextlib.contextmanager
def _replacing_folder(target: Path) -> Iterator[Path]:
    """A new folder beside `target`, which replaces it at the end and is removed on an error."""
    target = Path(os.path.realpath(target)) if target.is_symlink() else target
    if target.exists() and not target.is_dir():
        raise ValueError(f"{target}: a file, where a folder of frames is to be written")
    if target.is_dir():
        _check_replaceable(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = beside(target)
    old = part.with_suffix(".old")
    part.mkdir()
    try:
        yield part
        if target.is_dir():
            os.rename(target, old)
        try:
            os.rename(part, target)
        except BaseException:
            if old.is_dir():
                os.rename(old, target)
            raise
    except Exception as error:
        raise_if_full(target, part, error)
        raise
    finally:
        for folder in (part, old):
            shutil.rmtree(folder, ignore_errors=True)


def _check_replaceable(folder: Path) -> None:
    """Raises ValueError if a folder contains anything that `write` does not create."""
    others = sorted(name for name in os.listdir(folder) if not _FRAME_NAME.fullmatch(name))
    if others:
        raise ValueError(f"{folder}: it holds {others[0]!r}, so it is not replaced by a folder of frames")
