"""Features of real and of generated clips, block by block, on disk."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Final

import torch
from torch import Tensor

from digan_fast.data.sources import fingerprint
from digan_fast.files import why_not_writable
from digan_fast.metrics.decoding import ClipDecoder, ClipReader
from digan_fast.metrics.features import FeatureNetwork
from digan_fast.metrics.generated import class_numbers, draw_labels, generate, rounded
from digan_fast.metrics.moments import MOST_ROWS
from digan_fast.metrics.protocols import FAKE_FIELDS, REAL_FIELDS, Protocol
from digan_fast.metrics.real import (
    Draw,
    Listing,
    check_drawn,
    clip_names,
    decoders,
    draw,
    survey_frames,
)
from digan_fast.metrics.store import BLOCK, Store
from digan_fast.metrics.work import Data, Subject, Work

# Blocks whose videos are decoded ahead.
_AHEAD: Final = 2


class RealFeatures:
    """Features of the real clips of every trial, cached beside the data."""

    def __init__(self, data: Data, protocol: Protocol, network: FeatureNetwork, work: Work) -> None:
        self.data = data
        self.protocol = protocol
        self.network = network
        self.work = work
        self.store = Store(data.cache / f"{network.name}-{protocol.key(REAL_FIELDS)}")
        self.listing: Listing = work.processes.from_first(self._list)
        self.draw: Draw = draw(self.listing, protocol, str(data.root))
        work.leave_out([*self.listing.left_out, *self.listing.short(protocol)])

    def first(self) -> Tensor:
        """The first clip, uint8 [1, T, 3, H, W], its features tried."""
        clips = self.draw.clips[:1].tolist()
        ((number, start),) = clips
        pixels = ClipReader(self.listing.sources[number], [start], self.protocol, self.data.reading).read([start])
        tried = self.network(pixels, clip_names(self.listing, clips))
        _check_rows("real", len(self.draw.trials[0]), tried)
        return pixels

    def compute(self) -> None:
        """Computes this process's missing blocks."""
        clips = self.draw.clips
        title = f"real clips, {self.network.name}"
        with decoders(self.work.workers) as pool, self.work.blocks(self.store, len(clips), title) as (blocks, bar):
            decoder = ClipDecoder(pool, self.listing, self.draw, self.protocol, self.data.reading)
            tasks = deque(decoder.submit(_part(clips, block)) for block in blocks[:_AHEAD])
            for index, block in enumerate(blocks):
                tasks += [decoder.submit(_part(clips, later)) for later in blocks[index + _AHEAD :][:1]]
                self._finish(block, tasks.popleft())
                bar.update(len(block))

    def _finish(self, block: range, tasks: list[Future[Tensor]]) -> None:
        with self.work.timed("waiting for decoding"):
            pixels = torch.cat([task.result() for task in tasks])
        names = clip_names(self.listing, _part(self.draw.clips, block))
        with self.work.timed("features of real clips"):
            self.store.write(block.start // BLOCK, _rows(self.network, pixels, names, self.work.batch))

    def _list(self) -> Listing:
        """The frame counts: from the cache if the files have not changed; what is stale there is removed."""
        data, work = self.data, self.work
        listed, timed = fingerprint(data.root, data.sources)
        described = {**data.described, "frames": repr(data.reading.frames), "fps": data.reading.fps}
        record = self.store.record()
        if record is not None and {"counts", "left_out"} <= record.keys():
            changed = "files" if record.get("files") != timed else "options that choose them"
            if record.get("files") == timed and record.get("described") == described:
                self.work.say(f"real features: {self.store.folder}")
                return Listing(data.sources, record["counts"], record["left_out"])
            self.work.say(f"real features: {self.store.folder} is stale, the data's {changed} changed; computed anew")
        reason = why_not_writable(self.store.folder)
        if reason is not None:
            raise self._unwritable(reason)
        with work.timed("counting frames"):
            listing = survey_frames(data.sources, data.reading, work.workers, work.shows)
        with work.timed("checking videos"):
            root = str(data.root)
            check_drawn(listing, self.protocol, root, data.reading, work.workers, work.shows, data.decodable)
        record = {
            "protocol": self.protocol.to_json(),
            "files": timed,
            "file_list_sha256": listed,
            "described": described,
            "counts": listing.counts,
            "left_out": listing.left_out,
        }
        try:
            self.store.begin(record)
        except OSError as error:
            raise self._unwritable(error.strerror or str(error)) from error
        return listing

    def _unwritable(self, reason: str) -> OSError:
        return OSError(
            f"{self.store.folder}: features of real clips cannot be kept there: {reason}; --cache names another folder"
        )


class FakeFeatures:
    """Features of the generated clips of every trial; trial t has the seeds after those of trial t − 1."""

    def __init__(
        self, subject: Subject, protocol: Protocol, network: FeatureNetwork, labels: Sequence[str | None], work: Work
    ) -> None:
        self.subject = subject
        self.protocol = protocol
        self.network = network
        self.work = work
        self.labels = class_numbers(subject.generator, labels, subject.name)
        self.store = Store(work.scratch / f"{network.name}-{protocol.key(FAKE_FIELDS)}")
        self.count = protocol.trials * protocol.fake

    def first(self) -> Tensor:
        """The first few videos, [B, T, 3, H, W], the features of one tried."""
        pictures = self._pictures(range(min(4, self.count)))
        tried = self.network(rounded(pictures[:1], self.protocol.rounding), [self._name(0)])
        _check_rows("fake", self.protocol.fake, tried)
        return pictures

    def compute(self) -> None:
        """Computes this process's missing blocks."""
        with self.work.blocks(self.store, self.count, f"generated, {self.network.name}") as (blocks, bar):
            for block in blocks:
                self.store.write(block.start // BLOCK, self._features(block))
                bar.update(len(block))

    def _features(self, block: range) -> Tensor:
        """[n, R, D]."""
        rows = []
        for first in range(block.start, block.stop, self.work.batch):
            numbers = range(first, min(block.stop, first + self.work.batch))
            with self.work.timed("generating"):
                pixels = rounded(self._pictures(numbers), self.protocol.rounding).cpu()
            with self.work.timed("features of generated clips"):
                rows.append(self.network(pixels, [self._name(number) for number in numbers]))
        return torch.cat(rows)

    def trial(self, trial: int) -> Tensor:
        """The numbers of a trial's clips."""
        return torch.arange(trial * self.protocol.fake, (trial + 1) * self.protocol.fake)

    def begin(self) -> None:
        """Keeps what a killed evaluation of the same weights left, removes anything else."""
        self.work.processes.from_first(self._begin)

    def _begin(self) -> None:
        key = {"weights": self.subject.sha256, "labels": self.labels}
        if self.store.record() != key:
            self.store.begin(key)

    def _pictures(self, numbers: range) -> Tensor:
        seeds = [self.protocol.seed + number for number in numbers]
        labels = draw_labels(self.subject.generator, seeds, self.labels)
        return generate(self.subject.generator, seeds, self.protocol, labels, self.subject.name)

    def _name(self, number: int) -> str:
        return f"{self.subject.name}, seed {self.protocol.seed + number}"


def _check_rows(name: str, clips: int, tried: Tensor) -> None:
    """Raises ValueError for more rows than the moments of a set add exactly; tried: features of one clip."""
    rows = tried.shape[1]
    if clips * rows > MOST_ROWS:
        raise ValueError(f"{name}: {clips} clips of {rows} rows of features each, expected at most {MOST_ROWS} rows")


def _part(clips: Tensor, block: range) -> list[list[int]]:
    found: list[list[int]] = clips[block.start : block.stop].tolist()
    return found


def _rows(network: FeatureNetwork, pixels: Tensor, names: list[str], batch: int) -> Tensor:
    parts = range(0, len(pixels), batch)
    return torch.cat([network(pixels[first : first + batch], names[first : first + batch]) for first in parts])
