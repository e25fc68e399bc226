"""How close a network's frames are to a clip's, as 8-bit values."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

_PEAK: Final = 255.0


@dataclass(frozen=True)
class Quality:
    """Peak signal-to-noise ratios in decibels over all frames of a clip.

    ``psnr`` is that of the frames, ``differences`` that of the differences between consecutive frames, and ``still``
    what ``differences`` would be if nothing moved: motion has been reproduced if ``differences`` is larger.
    """

    psnr: float
    differences: float
    still: float

    def __str__(self) -> str:
        return (
            f"{self.psnr:.2f} dB, frame differences {self.differences:.2f} dB "
            f"(a still picture would have {self.still:.2f} dB)"
        )


class _Mean:
    """The mean of squares over all tensors given, in float64."""

    def __init__(self) -> None:
        self.total = 0.0
        self.count = 0

    def add(self, values: Tensor) -> None:
        self.total += float(values.double().square().sum())
        self.count += values.numel()

    def psnr(self) -> float:
        mean = self.total / max(1, self.count)
        return math.inf if mean == 0 else 10 * math.log10(_PEAK**2 / mean)


class Measuring:
    """Passes pairs of frames on, and measures them on the way; holds two frames."""

    def __init__(self) -> None:
        self._frames, self._differences, self._still = _Mean(), _Mean(), _Mean()
        self._last: tuple[Tensor, Tensor] | None = None

    def watched(self, pairs: Iterable[tuple[Tensor, Tensor]]) -> Iterator[tuple[Tensor, Tensor]]:
        """The same pairs of frames, uint8 [3, H, W]: the network's, the clip's."""
        for found, expected in pairs:
            error, given = found.to(torch.int16) - expected.to(torch.int16), expected.to(torch.int16)
            self._frames.add(error)
            if self._last is not None:
                self._differences.add(error - self._last[0])
                self._still.add(given - self._last[1])
            self._last = error, given
            yield found, expected

    def quality(self) -> Quality:
        return Quality(self._frames.psnr(), self._differences.psnr(), self._still.psnr())


def measure(found: Iterable[Tensor], expected: Iterable[Tensor]) -> Quality:
    """The quality of frames, uint8 [3, H, W] each, against those expected.  Raises ValueError if one has more."""
    measuring = Measuring()
    for _ in measuring.watched(zip(found, expected, strict=True)):
        pass
    return measuring.quality()
