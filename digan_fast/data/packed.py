"""A packed file: the decoded frames of a data set, each of which can be read by itself.

Layout, little-endian: `MAGIC`, zeros up to byte 64; the frames of all videos, one after another, each a JPEG or raw
uint8 [3, R, R]; padding to a multiple of 8; for JPEG, the position of each frame, and of their end, as uint64; the
CRC-32 of each frame as uint32; the index, JSON; a footer of 64 bytes: where the positions and the index begin, the
bytes of the index and their CRC-32, each a uint64, and `MAGIC` again.  The footer is written last: a file without one
is known to be incomplete.  The index says where the CRC-32 of the frames begin; files of earlier versions have none.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy
import torch
from torch import Tensor

from digan_fast.data.sources import Source

MAGIC: Final = b"digan_fast.Pack/1\n"
FIRST_FRAME: Final = 64
ENCODINGS: Final = ("raw", "jpeg")
_FOOTER: Final = struct.Struct("<QQQQ32s")
_POSITION: Final = struct.Struct("<Q")
_CHECKSUM: Final = struct.Struct("<I")


@dataclass(frozen=True)
class PackedVideo:
    """A video of a packed file.

    name: its path below the root of the data.  label: its class.  part: of its set.  first: the number of its first
    frame among all frames of the file.  rate: frames per second, if known.  width, height: of the original, as shown.
    crc32: of its encoded frames.
    """

    name: str
    label: str | None
    part: str | None
    first: int
    frames: int
    rate: float | None
    width: int
    height: int
    crc32: int


def is_pack(path: Path) -> bool:
    """Whether a file begins as a packed one."""
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        return file.read(len(MAGIC)) == MAGIC


class Pack:
    """A packed file, open for reading; memory holds its index only, and the rest is read as it is needed.

    Frames are read, not mapped: where a failing disk raises an OSError here, it kills a process that maps its files.
    Every frame that is read is compared with its checksum.  A pack may be pickled and used by several threads and
    processes; where it is unpickled, and while it is read, the file must have the same index.

    broken: why videos that were to be packed could not be read; ``left_out`` lists them too.

    Raises ValueError, naming the file, if it is none, is incomplete or its index is damaged.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).absolute()
        self._file = open(self.path, "rb", buffering=0)  # noqa: SIM115 - held as long as the pack
        self._opened_as = self._known_as = self._extent()
        self._positions, index = self._index()
        read: dict[str, Any] = json.loads(index)
        self.index_sha256 = hashlib.sha256(index).hexdigest()
        self.record: dict[str, Any] = read["record"]
        self.left_out: list[str] = read["left_out"]
        self.broken: list[str] = read.get("broken", [])
        self._checksums: int | None = read.get("checksums_at")
        self.videos = [PackedVideo(**each) for each in read["videos"]]
        self.resolution: int = self.record["frames"]["resolution"]
        self.encoding: str = self.record["frames"]["encoding"]

    @property
    def classes(self) -> list[str]:
        return sorted({each.label for each in self.videos if each.label is not None})

    @property
    def frame_count(self) -> int:
        return sum(each.frames for each in self.videos)

    @functools.cached_property
    def frames_sha256(self) -> str:
        """Of how frames are encoded and of each video's name, class, part, frames and checksum.

        The same for every copy, and for the same frames packed again.
        """
        videos = [[each.name, each.label, each.part, each.frames, each.crc32] for each in self.videos]
        return hashlib.sha256(json.dumps([self.resolution, self.encoding, videos]).encode()).hexdigest()

    def frames(self, video: int, numbers: Sequence[int]) -> Tensor:
        """uint8 [len(numbers), 3, R, R]: frames of a video by their numbers within it.

        Raises IndexError for a number that the video does not have; ValueError or OSError, naming file and video, for a
        frame that is damaged or cannot be read.
        """
        pixels = numpy.empty((len(numbers), 3, self.resolution, self.resolution), numpy.uint8)
        for place, number in enumerate(numbers):
            pixels[place] = self.decoded(self.encoded(video, number), video, number)
        return torch.from_numpy(pixels)

    def encoded(self, video: int, number: int) -> bytes:
        """A frame as it lies in the file.  Raises what :meth:`frames` raises."""
        entry = self.videos[video]
        if not 0 <= number < entry.frames:
            raise IndexError(f"{self.path}: frame {number} of {entry.name}, which has {entry.frames}")
        frame = entry.first + number
        self._check_not_replaced()
        try:
            begin, end = self._span(frame, frame + 1)
            # A damaged position may ask for any number of bytes.
            if not FIRST_FRAME <= begin <= end <= self._positions:
                raise self._damaged(video, number, f"bytes {begin} to {end} are no part of the file's frames")
            content = self._bytes(begin, end - begin)
            if self._checksums is None:
                return content
            recorded = self._bytes(self._checksums + _CHECKSUM.size * frame, _CHECKSUM.size)
        except OSError as error:
            why = f"frame {number} cannot be read: {error}{self._overwritten()}"
            raise OSError(f"{self.path / entry.name}: {why}") from error
        if zlib.crc32(content) != _CHECKSUM.unpack(recorded)[0]:
            raise self._damaged(video, number, "it has another checksum than recorded")
        return content

    def decoded(self, content: bytes, video: int, number: int) -> numpy.ndarray[Any, Any]:
        """uint8 [3, R, R] of what :meth:`encoded` returned.  Raises ValueError, naming the frame, if it is damaged."""
        if self.encoding == "raw":
            return numpy.frombuffer(content, numpy.uint8).reshape(3, self.resolution, self.resolution)
        from PIL import Image

        try:
            with Image.open(io.BytesIO(content), formats=("JPEG",)) as image:
                return numpy.asarray(image).transpose(2, 0, 1)
        except (ValueError, OSError) as error:
            raise self._damaged(video, number, str(error)) from error

    def sources(self) -> list[Source]:
        """The videos as sources of data."""
        return [
            PackedSource(self.path / each.name, each.label, each.part, archive=self.path, number=number)
            for number, each in enumerate(self.videos)
        ]

    def bytes_of(self, video: int) -> int:
        """The encoded frames of a video, in bytes."""
        entry = self.videos[video]
        begin, end = self._span(entry.first, entry.first + entry.frames)
        return end - begin

    def _index(self) -> tuple[int, bytes]:
        """Where the positions begin, and the index.  Raises ValueError, naming the file, if it has none."""
        size = self._extent()[0]
        if size < len(MAGIC) or self._bytes(0, len(MAGIC)) != MAGIC:
            raise ValueError(f"{self.path}: not a packed file; digan-fast data pack writes them")
        if size < FIRST_FRAME + _FOOTER.size:
            raise ValueError(f"{self.path}: incomplete, it ends after {size} bytes")
        positions, at, length, crc, mark = _FOOTER.unpack(self._bytes(size - _FOOTER.size, _FOOTER.size))
        if mark.rstrip(b"\0") != MAGIC or at + length + _FOOTER.size != size:
            raise ValueError(f"{self.path}: incomplete or cut off, its last bytes are no footer")
        index = self._bytes(at, length)
        if zlib.crc32(index) != crc:
            raise ValueError(f"{self.path}: damaged, its index has another checksum than recorded")
        return positions, index

    def _check_not_replaced(self) -> None:
        """Raises ValueError if another packed file was written over this one: its frames have checksums that fit them.

        What else was written, or cut off, the checksum of a frame shows.
        """
        extent = self._extent()
        if extent == self._known_as:
            return
        try:
            index = self._index()[1]
        except (ValueError, OSError):
            return
        if hashlib.sha256(index).hexdigest() != self.index_sha256:
            raise ValueError(f"{self.path}: another packed file was written over it after it was opened")
        self._known_as = extent

    def _damaged(self, video: int, number: int, why: str) -> ValueError:
        return ValueError(
            f"{self.path / self.videos[video].name}: frame {number} is damaged: {why}{self._overwritten()}"
        )

    def _overwritten(self) -> str:
        """What to add to an error if something else wrote to the file since it was opened."""
        if self._extent() == self._opened_as:
            return ""
        return f"; {self.path.name} was written to or cut off after it was opened"

    def _extent(self) -> tuple[int, int]:
        """The file's bytes, and when it was last written to."""
        status = os.fstat(self._file.fileno())
        return status.st_size, status.st_mtime_ns

    def _span(self, first: int, end: int) -> tuple[int, int]:
        """Where the encoded frames from ``first`` up to ``end`` begin and end in the file."""
        if self.encoding == "raw":
            size = 3 * self.resolution**2
            return FIRST_FRAME + first * size, FIRST_FRAME + end * size
        return self._position(first), self._position(end)

    def _position(self, frame: int) -> int:
        content = self._bytes(self._positions + _POSITION.size * frame, _POSITION.size)
        return int(_POSITION.unpack(content)[0])

    def _bytes(self, at: int, count: int) -> bytes:
        """Raises OSError if the file ends before, since it was cut off after it was opened."""
        parts: list[bytes] = []
        while count > 0:
            part = _read_at(self._file, at, count)
            if not part:
                raise OSError(f"{self.path.name} ends before byte {at}")
            parts.append(part)
            at += len(part)
            count -= len(part)
        return b"".join(parts)

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopened, (self.path, self.index_sha256)

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            self._file.close()


def _reopened(path: Path, index_sha256: str) -> Pack:
    found = Pack(path)
    if found.index_sha256 != index_sha256:
        raise ValueError(f"{path}: another packed file than before, it was replaced while it was in use")
    return found


def _read_at(file: Any, at: int, count: int) -> bytes:
    if hasattr(os, "pread"):
        return os.pread(file.fileno(), count, at)
    # Windows has no reads at a position; a handle of its own leaves those of other threads where they are.
    with open(file.name, "rb", buffering=0) as own:
        own.seek(at)
        return own.read(count)


def opened(path: Path) -> Pack:
    """The packed file, opened once in a process unless it is replaced."""
    status = path.stat()
    return _opened(path, status.st_ino, status.st_mtime_ns)


@functools.lru_cache(maxsize=4)
def _opened(path: Path, *identity: int) -> Pack:
    return Pack(path)


@dataclass(frozen=True)
class PackedSource(Source):
    """A video of a packed file; ``path`` is the file's followed by the video's name."""

    archive: Path = Path()
    number: int = 0

    def frames(self, fps: float | None = None) -> Iterator[Tensor]:
        """Raises ValueError if ``fps`` is given, since packed frames have no times, or if the video is damaged."""
        if fps is not None:
            raise ValueError(f"{self.path}: packed frames have no times, which frames per second need")
        pack = opened(self.archive)
        entry = pack.videos[self.number]
        crc = 0
        for number in range(entry.frames):
            content = pack.encoded(self.number, number)
            crc = zlib.crc32(content, crc)
            yield torch.from_numpy(pack.decoded(content, self.number, number).copy())
        if crc != entry.crc32:
            raise ValueError(f"{self.path}: damaged, its frames have another checksum than recorded")

    def count(self) -> int:
        return opened(self.archive).videos[self.number].frames

    def rate(self) -> float | None:
        return opened(self.archive).videos[self.number].rate

    def files(self) -> list[tuple[Path, int, int]]:
        return [(self.path, opened(self.archive).bytes_of(self.number), self.archive.stat().st_mtime_ns)]


def write_tail(
    file: BinaryIO, about: dict[str, Any], videos: list[PackedVideo], positions: bytes, checksums: bytes
) -> None:
    """Completes a file that holds the frames, at whose end it stands: positions, checksums, index, footer.

    about: what the index holds of ``record``, ``left_out`` and ``broken``.
    """
    file.write(bytes(-file.tell() % _POSITION.size))
    positions_at = file.tell()
    file.write(positions)
    checksums_at = file.tell()
    file.write(checksums)
    index_at = file.tell()
    whole = {**about, "videos": [asdict(each) for each in videos], "checksums_at": checksums_at}
    index = json.dumps(whole).encode()
    file.write(index)
    file.write(_FOOTER.pack(positions_at, index_at, len(index), zlib.crc32(index), MAGIC))
