"""The pixels of real clips, each video decoded once however many blocks its clips are in."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from digan_fast.data.sources import Source
from digan_fast.metrics.protocols import Protocol
from digan_fast.metrics.real import Draw, Listing, Reading


class ClipReader:
    """Clips of one video, read in ascending order while the video is decoded from its start.

    ``starts``: the first frames of all clips that may be read; what later ones share with those read before is kept.
    """

    def __init__(self, source: Source, starts: Sequence[int], protocol: Protocol, reading: Reading) -> None:
        self._path = source.path
        self._reading = reading
        self._offsets = range(0, protocol.length * protocol.stride, protocol.stride)
        self._needed = {start + offset for start in starts for offset in self._offsets}
        self._decoded = enumerate(reading.decoded(source))
        self._passed = 0
        self._frames: dict[int, Tensor] = {}

    def read(self, starts: Sequence[int]) -> Tensor:
        """uint8 [N, T, 3, size, size]: the clips that begin at some frames, ascending, none before those read so far.

        Raises ValueError, naming the file, if it is damaged, has fewer frames, or one that does not fit.
        """
        first, last = starts[0], starts[-1] + self._offsets[-1]
        self._frames = {index: frame for index, frame in self._frames.items() if index >= first}
        for index, frame in itertools.islice(self._decoded, max(0, last + 1 - self._passed)):
            self._passed = index + 1
            if index >= first and index in self._needed:
                self._frames[index] = self._reading.prepared(frame, self._path)
        if self._passed <= last:
            raise ValueError(
                f"{self._path}: it ends before frame {last}, which was there when the videos were checked: "
                "has it been replaced?"
            )
        clips = [[self._frames[start + offset] for offset in self._offsets] for start in starts]
        return torch.stack([torch.stack(frames) for frames in clips])


class ClipDecoder:
    """Decodes the drawn clips in threads; blocks of clips are submitted in ascending order."""

    def __init__(
        self, pool: ThreadPoolExecutor, listing: Listing, drawn: Draw, protocol: Protocol, reading: Reading
    ) -> None:
        self._pool = pool
        self._listing = listing
        self._videos, self._starts = (column.contiguous() for column in drawn.clips.unbind(1))
        self._protocol = protocol
        self._reading = reading
        self._number = -1
        self._reader: ClipReader | None = None
        self._before: Future[Tensor] | None = None

    def submit(self, clips: Sequence[Sequence[int]]) -> list[Future[Tensor]]:
        """The clips (video, first frame) of a block, one task per video."""
        return [
            self._submit(number, [start for _, start in same])
            for number, same in itertools.groupby(clips, key=lambda clip: clip[0])
        ]

    def _submit(self, number: int, starts: list[int]) -> Future[Tensor]:
        if self._reader is None or number != self._number:
            bounds = torch.searchsorted(self._videos, torch.tensor([number, number + 1])).tolist()
            every = self._starts[slice(*bounds)].tolist()
            source = self._listing.sources[number]
            self._number, self._reader = number, ClipReader(source, every, self._protocol, self._reading)
            self._before = None
        self._before = self._pool.submit(_read_after, self._before, self._reader, starts)
        return self._before


def _read_after(before: Future[Tensor] | None, reader: ClipReader, starts: Sequence[int]) -> Tensor:
    """Waits for the part of the same video before it, which a pool begins first."""
    if before is not None:
        before.result()
    return reader.read(starts)
