"""Resamples frames by time: those that a player shows at evenly spaced times."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from torch import Tensor

# Gaps between frames within these shares of the median are the rounding of a constant rate.
_EVEN: Final = (0.5, 1.5)


def varies(times: Sequence[float]) -> bool:
    """Whether the frames at these ascending times, in seconds, have no constant rate."""
    if len(times) < 3:
        return False
    usual = usual_gap(times)
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    return min(gaps) < _EVEN[0] * usual or max(gaps) > _EVEN[1] * usual


def usual_gap(times: Sequence[float]) -> float:
    """The median gap, in seconds, between two or more ascending times."""
    gaps = sorted(later - earlier for earlier, later in itertools.pairwise(times))
    return gaps[len(gaps) // 2]


def resampled(frames: Iterable[tuple[Tensor, float]], fps: float, last: float) -> Iterator[Tensor]:
    """Frames at a constant rate from (frame, its time in seconds, ascending); the last is shown for ``last`` seconds.

    Like FFmpeg's fps filter: a frame begins at the nearest of the new times and stays until the next one begins.
    """
    shown: Tensor | None = None
    start = begin = 0.0
    count = 0
    for frame, time in frames:
        if shown is None:
            start = time
        else:
            for _ in range(count, _moment(time - start, fps)):
                yield shown
                count += 1
        shown, begin = frame, time
    if shown is not None:
        for _ in range(count, max(_moment(begin - start + last, fps), 1)):
            yield shown


def _moment(time: float, fps: float) -> int:
    """The index of the moment nearest to a time, rounded half up."""
    return int(time * fps + 0.5)
