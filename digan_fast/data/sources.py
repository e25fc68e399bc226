"""One video of a data set, wherever its frames lie, and the hash of a list of videos."""

from __future__ import annotations

import functools
import hashlib
import os
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from digan_fast import video
from digan_fast.video.pictures import from_pillow, is_image_name, open_image


@dataclass(frozen=True)
class Source:
    """A video file or a folder of frames, and the name of its class if the tree has classes.

    ``part``: which part of a published set it belongs to, ``train`` or ``test``, if that is known.
    """

    path: Path
    label: str | None
    part: str | None = None

    def frames(self, fps: float | None = None) -> Iterator[Tensor]:
        """uint8 [3, H, W] each, as players show them; ``fps`` resamples by time what has times.

        Raises what :func:`digan_fast.video.iter_frames` raises.
        """
        return video.iter_frames(self.path, None if self.path.is_dir() else fps)

    def count(self) -> int:
        """The number of frames, without decoding those of a video file."""
        return video.frame_count(self.path)

    def rate(self) -> float | None:
        """Frames per second; None for a folder, or if none is recorded."""
        return video.frame_rate(self.path)

    def files(self) -> list[tuple[Path, int, int]]:
        """Path, bytes and time of modification in nanoseconds of every file that is read."""
        if not self.path.is_dir():
            found = [self.path]
        else:
            with os.scandir(self.path) as entries:
                found = sorted(Path(entry.path) for entry in entries if is_image_name(entry.name))
        statuses = [path.stat() for path in found]
        return [(path, each.st_size, each.st_mtime_ns) for path, each in zip(found, statuses, strict=True)]


@dataclass(frozen=True)
class ZippedFrames(Source):
    """A folder of frames within a zip file; ``path`` is the zip's followed by the folder's name in it."""

    archive: Path = Path()
    members: tuple[str, ...] = ()

    def frames(self, fps: float | None = None) -> Iterator[Tensor]:
        """Raises ValueError, naming the frame, if one is damaged."""
        for name in self.members:
            place = self.archive / name
            try:
                with opened_zip(self.archive).open(name) as file, open_image(place, file) as image:
                    frame = from_pillow(image)
            except (zipfile.BadZipFile, KeyError, NotImplementedError, RuntimeError) as error:
                raise ValueError(f"{place}: damaged or not an image: {error}") from error
            yield frame

    def count(self) -> int:
        return len(self.members)

    def rate(self) -> float | None:
        return None

    def files(self) -> list[tuple[Path, int, int]]:
        changed = self.archive.stat().st_mtime_ns
        found = [opened_zip(self.archive).getinfo(name) for name in self.members]
        return [(self.archive / each.filename, each.file_size, changed) for each in found]


@functools.lru_cache(maxsize=1)
def opened_zip(path: Path) -> zipfile.ZipFile:
    """The zip file, its list of contents read once in a process.  Raises ValueError if it is not one."""
    try:
        return zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise ValueError(f"data: {path}: {error}; the parts of a split archive are joined by zip -s 0") from error


def reason(source: Source, error: Exception) -> str:
    """Why a video cannot be read, with its path once."""
    return str(error) if str(source.path) in str(error) else f"{source.path}: {error}"


def name_of(source: Source, root: Path) -> str:
    """A video's path below the root of its data, with ``/``."""
    base = root.parent if source.path == root else root
    return source.path.absolute().relative_to(base.absolute()).as_posix()


def fingerprint(root: Path, sources: Sequence[Source]) -> tuple[str, str]:
    """Two SHA-256: of the list of files and their sizes, the same for every copy; and of their times as well."""
    listed, timed, _ = fingerprints(root, sources)
    return listed, timed


def fingerprints(root: Path, sources: Sequence[Source]) -> tuple[str, str, list[str]]:
    """What :func:`fingerprint` returns, and the second of each video by itself."""
    listed, timed, each = hashlib.sha256(), hashlib.sha256(), []
    for source in sources:
        base = root.parent if source.path == root and not root.is_dir() else root
        own = hashlib.sha256()
        for path, size, changed in source.files():
            # A packed file's paths are absolute, whatever its own is.
            line = f"{path.absolute().relative_to(base.absolute()).as_posix()}\0{size}\n".encode()
            listed.update(line)
            timed.update(line + str(changed).encode())
            own.update(line + str(changed).encode())
        each.append(own.hexdigest())
    return listed.hexdigest(), timed.hexdigest(), each
