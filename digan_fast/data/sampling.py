"""Which pairs of frames training sees: a pure function of the seed and of a pair's number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy

CLIPS: Final = ("every", "disjoint", "interleaved", "one")
# Seeds of other random numbers drawn by Philox from the same key would repeat these; this tells them apart.
_PAIRS: Final = 0x7061697273
_Ints = numpy.ndarray[Any, numpy.dtype[numpy.int64]]


@dataclass(frozen=True)
class Drawn:
    """Pairs [B]: the video of each, its two frames in the video, ascending, and whether it is mirrored.

    gaps: how many frames of the clip lie between the two, of ``length - 1``.
    """

    videos: _Ints
    first: _Ints
    second: _Ints
    gaps: _Ints
    mirrored: numpy.ndarray[Any, numpy.dtype[numpy.bool_]]


@dataclass(frozen=True)
class DrawnClips:
    """Clips [B]: the video of each, its frames [B, T] in the video, and whether it is mirrored."""

    videos: _Ints
    frames: _Ints
    mirrored: numpy.ndarray[Any, numpy.dtype[numpy.bool_]]


@dataclass(frozen=True)
class Sampler:
    """Draws pairs of frames from clips of ``length`` frames, ``stride`` apart, of videos with ``counts`` frames.

    Pair number n of a run is the same whatever drew it: which pairs a step sees depends on the pairs seen before it and
    on (rank, world) alone, so a run needs no state of the sampler to be resumed, with other workers or another world.

    clips: the clips of a video.  ``every``: one beginning at every frame, so that a video weighs as many as it has, as
    published for UCF-101.  ``disjoint``: without common frames.  ``interleaved``: groups of ``length·stride`` frames,
    each in ``stride`` clips of every stride-th frame; with length 16 and stride 4, those published for TaiChi.
    ``one``: of every video the same weight, beginning at any frame.
    mirror: half of the pairs are flipped.
    rank, world: this process among those that share a batch.  Pairs are dealt out in turn, so that the groups of the
    minibatch deviation, which take every n-th pair of a batch, are the same in one process and in several.

    Raises ValueError for an argument out of bounds.
    """

    counts: Sequence[int]
    length: int = 16
    stride: int = 1
    clips: str = "every"
    mirror: bool = True
    seed: int = 0
    rank: int = 0
    world: int = 1
    # The clips of each video, and those of all videos up to and including it.
    _clips: _Ints = field(init=False, repr=False, compare=False)
    _ends: _Ints = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.length < 2 or self.stride < 1:
            raise ValueError(f"clip length, stride: {self.length}, {self.stride}, expected at least 2 and 1")
        if self.clips not in CLIPS:
            raise ValueError(f"clips: {self.clips!r}, expected one of {', '.join(CLIPS)}")
        if not 0 <= self.rank < self.world:
            raise ValueError(f"rank, world: {self.rank}, {self.world}, expected a rank from 0 to the world, without it")
        object.__setattr__(self, "_clips", self._clips_of(numpy.asarray(self.counts, numpy.int64)))
        object.__setattr__(self, "_ends", numpy.cumsum(self._clips))
        if not len(self):
            raise ValueError(f"clips: no video has the {self.span} frames of a clip, {self.clips}")

    def __len__(self) -> int:
        """The number of clips."""
        return int(self._ends[-1]) if len(self._ends) else 0

    def clips_of(self, video: int) -> int:
        return int(self._clips[video])

    @property
    def span(self) -> int:
        """The frames from a clip's first to its last."""
        return (self.length - 1) * self.stride + 1

    def draw(self, seen: int, batch: int) -> Drawn:
        """The pairs of this process in the step that begins after ``seen`` pairs of the run, ``batch`` of them."""
        uniform = self._numbers(seen, batch)
        videos, starts = self._clip(uniform[:, 0], uniform[:, 1])
        # Inverse distribution functions: √u for Beta(2, 1), 1 − √u for Beta(1, 2).
        times = numpy.stack((numpy.sqrt(uniform[:, 2]), 1 - numpy.sqrt(uniform[:, 3])), axis=1)
        index = numpy.sort(numpy.minimum((times * self.length).astype(numpy.int64), self.length - 1), axis=1)
        frames = starts[:, None] + index * self.stride
        mirrored = (uniform[:, 4] < 0.5) & self.mirror
        return Drawn(videos, frames[:, 0], frames[:, 1], index[:, 1] - index[:, 0], mirrored)

    def draw_clips(self, seen: int, batch: int) -> DrawnClips:
        """The whole clips that the pairs of :meth:`draw` come from."""
        uniform = self._numbers(seen, batch)
        videos, starts = self._clip(uniform[:, 0], uniform[:, 1])
        frames = starts[:, None] + numpy.arange(self.length) * self.stride
        return DrawnClips(videos, frames, (uniform[:, 4] < 0.5) & self.mirror)

    def _numbers(self, seen: int, batch: int) -> numpy.ndarray[Any, numpy.dtype[numpy.float64]]:
        """The uniform numbers [B, 5] of this process's part of a step."""
        numbers = seen + self.rank + self.world * numpy.arange(batch, dtype=numpy.int64)
        return numpy.stack([_uniform(self.seed, int(number)) for number in numbers])

    def _clip(self, first: Any, second: Any) -> tuple[_Ints, _Ints]:
        """Video and first frame of the clips at two uniform numbers in [0, 1) each."""
        if self.clips == "one":
            usable = numpy.flatnonzero(self._clips)
            videos = usable[(first * len(usable)).astype(numpy.int64)]
            return videos, (second * self._clips[videos]).astype(numpy.int64)
        chosen = (first * len(self)).astype(numpy.int64)
        videos = numpy.searchsorted(self._ends, chosen, side="right")
        within = chosen - (self._ends[videos] - self._clips[videos])
        group = self.length * self.stride
        if self.clips == "disjoint":
            return videos, within * group
        if self.clips == "interleaved":
            return videos, within // self.stride * group + within % self.stride
        return videos, within

    def _clips_of(self, counts: _Ints) -> _Ints:
        """The number of clips of videos with so many frames."""
        free = numpy.maximum(counts - self.span + 1, 0)
        group = self.length * self.stride
        if self.clips == "disjoint":
            return -(-free // group)
        if self.clips == "interleaved":
            return counts // group * self.stride
        return free


def _uniform(seed: int, number: int) -> numpy.ndarray[Any, numpy.dtype[numpy.float64]]:
    """Five numbers in [0, 1) of a pair.  Philox counts blocks in its lowest word; the pair's number is the second."""
    philox = numpy.random.Philox(key=[seed, _PAIRS], counter=[0, number, 0, 0])
    return numpy.random.Generator(philox).random(5)
