"""Packs a data set: decodes every video once, in worker processes, into one file; a killed packing goes on."""

from __future__ import annotations

import functools
import hashlib
import io
import itertools
import json
import os
import shutil
import time
import zlib
from array import array
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy
import PIL
from torch import Tensor
from tqdm import tqdm

from digan_fast import video
from digan_fast.data.finding import Findings
from digan_fast.data.packed import ENCODINGS, FIRST_FRAME, MAGIC, Pack, PackedVideo, is_pack, write_tail
from digan_fast.data.sources import Source, fingerprints, name_of, reason
from digan_fast.data.workers import CrashedError, abandoned, in_order
from digan_fast.files import raise_if_full, take_lock, why_not_writable
from digan_fast.video.frames import to_pillow

# Seconds of work between entries of the journal, which is what a power failure or a kill may cost.
_JOURNAL: Final = 2.0
_SHOWN: Final = 3


@dataclass(frozen=True)
class Preparation:
    """How frames become those of a packed file.

    resolution, crop: of the square, as in :func:`digan_fast.video.square`.  first, stop: the frames to use of each
    video.  fps: resamples by time.  encoding: ``raw``, exact, or ``jpeg`` of a ``quality`` from 1 to 100 without
    subsampling of colours.  shortest: the frames that a video needs.
    """

    resolution: int
    crop: str = "center"
    first: int = 0
    stop: int | None = None
    fps: float | None = None
    encoding: str = "raw"
    quality: int = 95
    shortest: int = 1

    def check(self) -> None:
        """Raises ValueError, its message beginning with the field's name."""
        if not 1 <= self.resolution <= 1 << 14:
            raise ValueError(f"resolution: {self.resolution}, expected 1 to {1 << 14}")
        if self.encoding not in ENCODINGS:
            raise ValueError(f"encoding: {self.encoding!r}, expected one of {', '.join(ENCODINGS)}")
        if not 1 <= self.quality <= 100:
            raise ValueError(f"quality: {self.quality}, expected 1 to 100")

    def described(self) -> dict[str, Any]:
        return {**asdict(self), "quality": self.quality if self.encoding == "jpeg" else None}

    def encoded(self, frame: Tensor) -> bytes:
        """A frame [3, R, R] as its bytes in the file."""
        if self.encoding == "raw":
            return frame.numpy().tobytes()
        buffer = io.BytesIO()
        to_pillow(frame).save(buffer, "JPEG", quality=self.quality, subsampling=0)
        return buffer.getvalue()


@dataclass
class _Part:
    """What a worker made of a video: its entry in the index but for ``first``, and each frame's bytes and CRC-32."""

    frames: int = 0
    rate: float | None = None
    width: int = 0
    height: int = 0
    crc32: int = 0
    # All videos' are held until the end: 8 and 4 bytes per frame, where lists of integers hold 36 and 40.
    sizes: array[int] = field(default_factory=lambda: array("Q"))
    checksums: array[int] = field(default_factory=lambda: array("I"))
    broken: str | None = None

    def plain(self) -> dict[str, Any]:
        return {**vars(self), "sizes": self.sizes.tolist(), "checksums": self.checksums.tolist()}

    @staticmethod
    def of(plain: dict[str, Any]) -> _Part:
        return _Part(**{**plain, "sizes": array("Q", plain["sizes"]), "checksums": array("I", plain["checksums"])})


def pack(
    root: Path,
    found: Findings,
    how: Preparation,
    described: dict[str, Any],
    out: Path,
    *,
    workers: int = 0,
    progress: bool = True,
    strict: bool = False,
    replace: bool = False,
) -> Pack:
    """Packs the videos found at ``root`` into the file ``out``, and opens it.

    The bytes depend on the videos and on ``how``, not on ``workers`` or interruptions.  Until it is complete, a hidden
    folder beside ``out`` holds what is done, with which the same call goes on after a kill, up to the first video whose
    files have changed.  If ``out`` has been packed already from the same files in the same way, it is opened as it is.
    Videos that cannot be read or are too short are left out and listed in the file.

    described: the set's record, kept in the file.
    strict: a video that cannot be read is an error, as is an ``out`` packed without one; what was done is kept.
    replace: an ``out`` of other contents is replaced.

    Raises ValueError if no video can be used, if ``out`` exists with other contents, or if another process packs it;
    OSError, naming ``out``, if the disk is full, after which the same call goes on as after a kill.
    """
    how.check()
    why = why_not_writable(out.parent)
    if why is not None:
        raise ValueError(f"out: {out.parent} cannot be written to: {why}")
    listed, timed, each_timed = fingerprints(root, found.sources)
    names = [[name_of(each, root), each.label, each.part] for each in found.sources]
    options = _sha256([described, how.described()])
    record = {**described, "file_list_sha256": listed, "frames": how.described()}
    record["plan_sha256"] = plan = _sha256([record, timed, names])
    record["pillow"] = PIL.__version__ if how.encoding == "jpeg" else None
    done = _complete(out) if is_pack(out) else None
    if done is not None and done.record["plan_sha256"] == plan:
        if strict and done.broken:
            raise ValueError(f"data: {done.broken[0]}; {out} was packed without it")
        return done
    if out.exists() and not replace:
        raise ValueError(f"out: {out} exists with other contents; remove it or name another file")
    work = out.with_name(f".{out.name}.packing")
    work.mkdir(parents=True, exist_ok=True)
    with open(work / "lock", "a+", encoding="utf-8") as lock:
        try:
            take_lock(lock)
        except BlockingIOError:
            raise ValueError(f"out: another process packs {out}") from None
        try:
            packing = _Packing(work, found.sources, names, how, strict)
            packing.go_on(options, list(map(_sha256, zip(names, each_timed, strict=True))), replace)
            packing.run(workers, progress)
            packing.finish(record, found.left_out, out)
        except _UnusableError as error:
            if not error.is_kept:
                shutil.rmtree(work, ignore_errors=True)
            raise ValueError(str(error)) from None
        except OSError as error:
            raise_if_full(out, work, error)
            raise
    shutil.rmtree(work, ignore_errors=True)
    return Pack(out)


def _complete(path: Path) -> Pack | None:
    try:
        return Pack(path)
    except ValueError:
        return None


def _sha256(plain: Any) -> str:
    return hashlib.sha256(json.dumps(plain).encode()).hexdigest()


class _UnusableError(ValueError):
    """No video can be used, or one cannot and all were asked for; ``is_kept``: what was packed before remains."""

    def __init__(self, message: str, is_kept: bool) -> None:
        super().__init__(message)
        self.is_kept = is_kept


class _Packing:
    """The folder of a packing: ``frames``, the packed file so far; ``journal``, a line for the options and one for each
    video done, which names the video and its files; ``N.part``, the frames of a video whose turn has not come.
    """

    def __init__(self, work: Path, sources: list[Source], names: list[Any], how: Preparation, strict: bool) -> None:
        self.work, self.sources, self.names, self.how, self.strict = work, sources, names, how, strict
        self.parts: list[_Part] = []
        self.keys: list[str] = []

    def go_on(self, options: str, keys: list[str], replace: bool) -> None:
        """Takes up the videos done before, up to the first that is another now.  ``keys``: what each video is.

        Raises ValueError if none was packed with these options from these files, unless they may be replaced.
        """
        for leftover in self.work.glob("*.part"):
            leftover.unlink()
        self.keys = keys
        path = self.work / "journal"
        text = path.read_text(encoding="utf-8") if path.exists() and (self.work / "frames").exists() else ""
        header, *lines = text.split("\n")[:-1] or [""]
        if header == json.dumps(options):
            entries = zip(map(json.loads, lines), keys, strict=False)
            same = itertools.takewhile(lambda pair: pair[0]["video"] == pair[1], entries)
            self.parts = [_Part.of(entry["part"]) for entry, _ in same]
        if lines and not self.parts and not replace:
            raise ValueError(
                f"out: {self.work} holds {len(lines)} videos of another packing, with other options, another "
                "first video or by another version; remove that folder to begin again"
            )
        for part in self.parts:  # Before anything of a packing that was not strict is removed.
            self._check(part)
        if not self.parts:
            (self.work / "frames").write_bytes(MAGIC.ljust(FIRST_FRAME, b"\0"))
        whole = "".join(f"{line}\n" for line in (json.dumps(options), *lines[: len(self.parts)]))
        if whole != text:
            path.write_text(whole, encoding="utf-8")

    def run(self, workers: int, progress: bool) -> None:
        """Packs the videos that remain."""
        todo = list(enumerate(self.sources))[len(self.parts) :]
        count = len(self.sources)
        results = in_order(functools.partial(_decoded, how=self.how, work=self.work), todo, workers)
        with (
            open(self.work / "frames", "r+b") as frames,
            open(self.work / "journal", "a", encoding="utf-8") as journal,
            tqdm(desc="packing", total=count, initial=len(self.parts), unit="video", disable=not progress) as bar,
        ):
            frames.truncate(self._end())
            frames.seek(0, os.SEEK_END)
            pending: list[dict[str, Any]] = []
            written = time.monotonic()
            for (number, source), result in results:
                part = _Part(broken=reason(source, result)) if isinstance(result, CrashedError) else result
                if self.strict and part.broken is not None:
                    _kept(frames, journal, pending)
                self._check(part)
                path = self.work / f"{number}.part"
                if self._is_used(part):
                    with open(path, "rb") as decoded:
                        shutil.copyfileobj(decoded, frames, 1 << 20)
                path.unlink(missing_ok=True)
                pending.append({"video": self.keys[number], "part": part.plain()})
                self.parts.append(part)
                bar.update()
                bar.set_postfix_str(f"{frames.tell() / 2**20:.0f} MiB", refresh=False)
                if time.monotonic() - written > _JOURNAL or len(self.parts) == count:
                    _kept(frames, journal, pending)
                    written = time.monotonic()

    def _check(self, part: _Part) -> None:
        if part.broken is not None and self.strict:
            raise _UnusableError(f"data: {part.broken}", is_kept=bool(self.parts))

    def finish(self, record: dict[str, Any], left_out: list[str], out: Path) -> None:
        """Writes the index, then gives the file its name."""
        used = [(name, part) for name, part in zip(self.names, self.parts, strict=True) if self._is_used(part)]
        firsts = itertools.accumulate((part.frames for _, part in used), initial=0)
        videos = [
            PackedVideo(name, label, of, first, part.frames, part.rate, part.width, part.height, part.crc32)
            for ((name, label, of), part), first in zip(used, firsts, strict=False)
        ]
        sizes = [FIRST_FRAME, *itertools.chain.from_iterable(part.sizes for _, part in used)]
        positions = b"" if self.how.encoding == "raw" else numpy.cumsum(sizes, dtype="<u8").tobytes()
        checksums = numpy.fromiter(itertools.chain.from_iterable(part.checksums for _, part in used), "<u4").tobytes()
        about = {"record": record, "left_out": [*left_out, *self._left_out()], "broken": self._broken()}
        with open(self.work / "frames", "r+b") as file:
            file.truncate(self._end())
            file.seek(0, os.SEEK_END)
            write_tail(file, about, videos, positions, checksums)
            file.flush()
            os.fsync(file.fileno())
        os.replace(self.work / "frames", out)

    def _is_used(self, part: _Part) -> bool:
        return part.broken is None and part.frames >= self.how.shortest

    def _end(self) -> int:
        """The bytes of the file with the frames of the videos done."""
        used = [part for part in self.parts if self._is_used(part)]
        if self.how.encoding == "raw":
            return FIRST_FRAME + sum(part.frames for part in used) * 3 * self.how.resolution**2
        return FIRST_FRAME + sum(sum(part.sizes) for part in used)

    def _broken(self) -> list[str]:
        return [part.broken for part in self.parts if part.broken is not None]

    def _left_out(self) -> list[str]:
        """A line for each broken video, and one for the short ones.  Raises _UnusableError if no video is left."""
        broken = self._broken()
        short = [
            f"{source.path} ({part.frames})"
            for source, part in zip(self.sources, self.parts, strict=True)
            if part.broken is None and not self._is_used(part)
        ]
        lines = list(broken)
        if short:
            more = f" and {len(short) - _SHOWN} more" if len(short) > _SHOWN else ""
            listed = ", ".join(short[:_SHOWN])
            lines.append(f"{len(short)} shorter than the {self.how.shortest} frames of a clip: {listed}{more}")
        if len(broken) + len(short) == len(self.parts):
            why = f"no video has the {self.how.shortest} frames of a clip among those to use"
            if broken:
                why = f"{why}; {len(broken)} of {len(self.parts)} cannot be read: {broken[0]}"
            raise _UnusableError(f"data: {why}", is_kept=False)
        return lines


def _kept(frames: BinaryIO, journal: Any, pending: list[dict[str, Any]]) -> None:
    """Frames first, then the lines that vouch for them."""
    frames.flush()
    os.fsync(frames.fileno())
    journal.writelines(json.dumps(line) + "\n" for line in pending)
    journal.flush()
    os.fsync(journal.fileno())
    pending.clear()


def _decoded(task: tuple[int, Source], how: Preparation, work: Path) -> _Part:
    """Decodes a video into its file of frames, one frame in memory at a time."""
    number, source = task
    part = _Part()
    with open(work / f"{number}.part", "wb") as file:
        for frame in _prepared(source, how, part):
            if abandoned():
                raise KeyboardInterrupt
            content = how.encoded(frame)
            file.write(content)
            part.crc32 = zlib.crc32(content, part.crc32)
            part.checksums.append(zlib.crc32(content))
            part.frames += 1
            if how.encoding != "raw":
                part.sizes.append(len(content))
    return part


def _prepared(source: Source, how: Preparation, part: _Part) -> Iterator[Tensor]:
    """The frames to use; what is wrong with the video, and what it is, is noted in the part."""
    try:
        for frame in itertools.islice(source.frames(how.fps), how.first, how.stop):
            if part.frames == 0:
                part.height, part.width = frame.shape[1:]
            yield video.square(frame, how.resolution, how.crop)
        rate = source.rate()
        part.rate = rate if how.fps is None or rate is None else how.fps
    except (ValueError, OSError) as error:
        part.broken = reason(source, error)
