"""Reads images and animations with pillow as viewers show them: rotated by EXIF, over black, 16 bits reduced to 8."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

import torch
from torch import Tensor

if TYPE_CHECKING:
    from PIL.Image import Image

IMAGE_SUFFIXES: Final = (
    ".png", ".jpg", ".jpeg", ".jfif", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".tga",
    ".avif",
)  # fmt: skip
ANIMATED_SUFFIXES: Final = (".png", ".apng", ".webp", ".avif")
# Bytes to search for the chunk that marks an animation, which precedes the image data.
_HEAD: Final = 1 << 16


def is_image_name(name: str) -> bool:
    """Whether a file of this name is a frame of its folder; hidden files are not."""
    return Path(name).suffix.lower() in IMAGE_SUFFIXES and not name.startswith(".")


def is_animated(path: Path) -> bool:
    """Whether a file is an animated PNG, WebP or AVIF, by its first bytes; False if it cannot be read."""
    if path.suffix.lower() not in ANIMATED_SUFFIXES:
        return False
    try:
        with open(path, "rb") as file:
            head = file.read(32)
            if head.startswith(b"\x89PNG"):
                head += file.read(_HEAD)
                control = head.find(b"acTL")
                return control > 0 and (head.find(b"IDAT") < 0 or control < head.find(b"IDAT"))
    except OSError:
        return False
    if head[:4] == b"RIFF" and head[8:16] == b"WEBPVP8X":
        return bool(head[20] & 2)
    return head[4:12] == b"ftypavis"


def from_pillow(image: Image) -> Tensor:
    """uint8 [3, H, W] of an image as viewers show it.

    Raises ValueError for floating-point images, whose range is unknown.
    """
    import numpy
    from PIL import Image as pillow
    from PIL import ImageOps

    image = ImageOps.exif_transpose(image)
    if image.mode == "F":
        raise ValueError("a picture of floating-point numbers, expected 8 or 16 bits")
    if image.mode.startswith("I"):
        levels = numpy.asarray(image).astype(numpy.int64)
        if levels.size and (levels.min() < 0 or levels.max() > 0xFFFF):
            raise ValueError("a grey picture of 32 bits, expected 8 or 16")
        grey = torch.from_numpy(((levels * 255 + 0x7FFF) // 0xFFFF).astype(numpy.uint8))
        return grey.expand(3, -1, -1).contiguous()
    if image.has_transparency_data:
        over = image.convert("RGBA")
        image = pillow.alpha_composite(pillow.new("RGBA", over.size, (0, 0, 0, 255)), over)
    return torch.from_numpy(numpy.array(image.convert("RGB"))).permute(2, 0, 1).contiguous()


@contextlib.contextmanager
def open_image(path: Path, content: IO[bytes] | None = None) -> Iterator[Image]:
    """Opens an image with pillow; errors inside the block become a ValueError with the path.

    `content` is read instead of the file, of which `path` is then only the name.
    """
    import PIL.Image

    try:
        with PIL.Image.open(path if content is None else content) as image:
            yield image
    except (FileNotFoundError, PermissionError):
        raise
    except Exception as error:  # Damaged files also make pillow raise struct.error, IndexError, …
        raise ValueError(f"{os.fspath(path)}: damaged or not an image: {error}") from error


def animation(path: Path) -> Iterator[Tensor]:
    """The frames of a gif, an animated WebP or PNG."""
    with open_image(path) as image:
        for index in range(getattr(image, "n_frames", 1)):
            image.seek(index)
            yield from_pillow(image)


def durations(path: Path) -> list[float]:
    """The duration of each frame of an animation, in seconds; all 0 if none is recorded.

    If only some frames lack a duration, they last a tenth of a second, as in browsers.
    """
    with open_image(path) as image:
        found = []
        for index in range(getattr(image, "n_frames", 1)):
            image.seek(index)
            if index == 0 or image.format in ("WEBP", "AVIF"):
                image.load()  # These formats provide a frame's duration only once it is decoded.
            found.append(float(image.info.get("duration", 0)) / 1000)
        return [seconds or 0.1 for seconds in found] if any(found) else found
