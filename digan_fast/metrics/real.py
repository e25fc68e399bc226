"""The real clips of an evaluation: which there are, which are drawn, and their pixels."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, MutableMapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from digan_fast import video
from digan_fast.data.sources import Source, reason
from digan_fast.metrics.protocols import Protocol


class UnfitFrameError(ValueError):
    """A frame whose size is not what an evaluation expects, which is an error where a damaged video is left out."""


@dataclass(frozen=True)
class Reading:
    """How frames are read: their side, the crop (None: they have that side already), which, at what rate."""

    size: int
    crop: str | None = None
    frames: slice = field(default_factory=lambda: slice(None))
    fps: float | None = None
    snapshot: str = "the snapshot"

    def check(self, frame: Tensor, path: Path) -> None:
        """Raises UnfitFrameError, naming the file, for a frame that does not fit."""
        height, width = frame.shape[1:]
        expected = f"{self.size}×{self.size}, the resolution of {self.snapshot}"
        if self.crop is None and (height, width) != (self.size, self.size):
            raise UnfitFrameError(
                f"{path}: a frame of {width}×{height}, expected {expected}; --crop center, left or right crops and "
                "resizes, and is recorded"
            )
        if min(height, width) < self.size:
            raise UnfitFrameError(
                f"{path}: a frame of {width}×{height}, which would be enlarged, expected {expected} or more"
            )

    def prepared(self, frame: Tensor, path: Path) -> Tensor:
        """uint8 [3, size, size].  Raises what :meth:`check` raises."""
        self.check(frame, path)
        return frame if self.crop is None else video.square(frame, self.size, self.crop)

    def decoded(self, source: Source) -> Iterator[Tensor]:
        """The frames to use of a video, as they are."""
        part = self.frames
        return itertools.islice(source.frames(self.fps), part.start, part.stop, part.step)


@dataclass
class Listing:
    """Videos, the number of frames that may be used of each, and what was left out."""

    sources: list[Source]
    counts: list[int]
    left_out: list[str] = field(default_factory=list)

    def short(self, protocol: Protocol) -> list[str]:
        """A line about the videos that are shorter than a clip."""
        few = [source for source, count in zip(self.sources, self.counts, strict=True) if 0 < count < protocol.span]
        return [f"{len(few)} shorter than the {protocol.span} frames of a clip, such as {few[0].path}"] if few else []


@contextmanager
def decoders(workers: int) -> Iterator[ThreadPoolExecutor]:
    """Threads that decode videos; what has not begun when the block ends, by an error or Ctrl-C, is not begun."""
    pool = ThreadPoolExecutor(workers)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def survey_frames(sources: Sequence[Source], reading: Reading, workers: int, progress: bool) -> Listing:
    """Counts frames and checks the first one of every video.

    One that cannot be read is left out.  Raises UnfitFrameError, naming the file, for one whose frames do not fit.
    """
    with decoders(workers) as pool:
        counted = pool.map(lambda source: _count(source, reading), sources)
        bar = tqdm(counted, desc="counting frames", total=len(sources), unit="video", disable=not progress)
        counts = list(bar)
    listing = Listing(list(sources), [count if isinstance(count, int) else 0 for count in counts])
    listing.left_out += [count for count in counts if isinstance(count, str)]
    return listing


def _count(source: Source, reading: Reading) -> int | str:
    """The number of frames to use, or why the file cannot be read."""
    try:
        first = next(iter(source.frames()))
        count = source.count()
    except (ValueError, OSError) as error:
        return reason(source, error)
    reading.check(first, source.path)
    if reading.fps is not None and not source.path.is_dir():
        rate = source.rate()
        count = count if rate is None else int(count * reading.fps / rate)
    return len(range(count)[reading.frames])


def check_drawn(
    listing: Listing,
    protocol: Protocol,
    data: str,
    reading: Reading,
    workers: int,
    progress: bool,
    known: MutableMapping[Path, int | str],
) -> None:
    """Decodes every video that has a drawn clip, and draws again without the damaged ones, until all are sound.

    A damaged video counts no frame and is named in ``listing.left_out``; one that ends before its index promises counts
    the frames that it has.  Which videos these are depends on the files and the protocol alone.  known: what decoding
    found, by path, so that protocols share it.

    Raises UnfitFrameError, naming the file, for a frame that does not fit; ValueError if too few clips are left.
    """
    promised = list(listing.counts)
    ended: list[str] = []
    todo = _drawn_videos(listing, protocol, data)
    checked = set(todo)
    bar = tqdm(desc="checking videos", total=len(todo), unit="video", disable=not progress)
    with decoders(workers) as pool, bar:
        while todo:
            sources = [listing.sources[number] for number in todo]
            new = [
                (source, promised[number])
                for source, number in zip(sources, todo, strict=True)
                if source.path not in known
            ]
            results = pool.map(lambda each: _decodable(each[0], each[1], reading), new)
            for (source, _), found in zip(new, results, strict=True):
                known[source.path] = found
                bar.update()
            for source, number in zip(sources, todo, strict=True):
                found = known[source.path]
                if isinstance(found, str):
                    listing.counts[number] = 0
                    listing.left_out.append(found)
                elif found < promised[number]:
                    listing.counts[number] = found
                    ended.append(f"{source.path} ({found} of {promised[number]})")
            todo = [number for number in _drawn_videos(listing, protocol, data) if number not in checked]
            checked.update(todo)
            bar.total = len(checked)
    if ended:
        listing.left_out.append(f"{len(ended)} with fewer frames than their index promises, such as {ended[0]}")


def _drawn_videos(listing: Listing, protocol: Protocol, data: str) -> list[int]:
    found: list[int] = draw(listing, protocol, data).clips[:, 0].unique().tolist()
    return found


def _decodable(source: Source, count: int, reading: Reading) -> int | str:
    """How many of a video's ``count`` frames to use there are, or why one cannot be decoded."""
    found = 0
    try:
        for frame in itertools.islice(reading.decoded(source), count):
            reading.check(frame, source.path)
            found += 1
    except UnfitFrameError:
        raise
    except (ValueError, OSError) as error:
        return reason(source, error)
    return found


@dataclass(frozen=True)
class Draw:
    """Clips [U, 2] (video, first frame), ascending; those of each trial, and two sets without a common clip."""

    clips: Tensor
    trials: tuple[Tensor, ...]
    halves: tuple[Tensor, Tensor] | None


def draw(listing: Listing, protocol: Protocol, data: str) -> Draw:
    """The real clips of every trial.

    Raises ValueError, naming the data, if no video is long enough or there are too few clips.
    """
    span = protocol.span
    longest = max(listing.counts, default=0)
    unread = f"; {len(listing.left_out)} cannot be read: {listing.left_out[0]}" if listing.left_out else ""
    videos = f"{len(listing.counts)} video{'' if len(listing.counts) == 1 else 's'}"
    frames = f"{protocol.length} frames" + (f", {protocol.stride} apart" if protocol.stride > 1 else "")
    if longest < span:
        raise ValueError(
            f"{data}: the longest of {videos} has {longest} frames to use, expected {span} or more "
            f"for clips of {frames}{unread}"
        )
    chosen: list[Tensor] = []
    halves: tuple[Tensor, Tensor] | None = None
    for trial in range(protocol.trials):
        generator = torch.Generator().manual_seed(protocol.seed * 1_000_003 + trial)
        clips = _all_clips(listing.counts, protocol, span, generator)
        wanted = len(clips) if protocol.real is None else protocol.real
        if len(clips) < wanted and protocol.at_most:
            wanted = len(clips)
        if len(clips) < wanted or wanted < 2:
            raise ValueError(
                f"{data}: {len(clips)} clips of {frames} in {videos}, expected "
                f"{max(2, wanted)} for the protocol {protocol.title}; --real takes fewer, and the protocol's printed "
                f"name says so{unread}"
            )
        order = torch.randperm(len(clips), generator=generator)
        chosen.append(clips[order[:wanted]])
        if trial == 0 and len(clips) >= 4:
            half = min(wanted, len(clips) // 2)
            halves = clips[order[:half]], clips[order[half : 2 * half]]
    sets = [*chosen, *(halves or ())]
    unique, numbers = torch.cat(sets).unique(dim=0, return_inverse=True)
    parts = numbers.split([len(part) for part in sets])
    return Draw(unique, parts[: len(chosen)], (parts[-2], parts[-1]) if halves else None)


def _all_clips(counts: Sequence[int], protocol: Protocol, span: int, generator: torch.Generator) -> Tensor:
    """[M, 2]: video and first frame of every clip that the rule allows."""
    found = []
    group = protocol.length * protocol.stride
    for number, count in enumerate(counts):
        free = count - span + 1
        if free < 1:
            continue
        if protocol.clips == "one":
            starts = torch.randint(free, (1,), generator=generator)
        elif protocol.clips == "every":
            starts = torch.arange(free)
        elif protocol.clips == "disjoint":
            starts = torch.arange(0, free, group)
        else:
            starts = (torch.arange(count // group)[:, None] * group + torch.arange(protocol.stride)).flatten()
        found.append(torch.stack((torch.full_like(starts, number), starts), 1))
    return torch.cat(found)


def clip_names(listing: Listing, clips: Iterable[Sequence[int]]) -> list[str]:
    return [f"{listing.sources[number].path}, the clip from frame {start}" for number, start in clips]
