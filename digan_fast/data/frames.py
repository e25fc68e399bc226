"""Parts of videos, and frames that grow in memory."""

from __future__ import annotations

import numpy
import torch
from torch import Tensor


def frame_range(text: str) -> slice:
    """``START:STOP`` as a slice, either end left out at will.  Raises ValueError for anything else."""
    try:
        start, stop = (int(part) if part else None for part in text.split(":"))
    except ValueError:
        raise ValueError(f"frames: {text!r}, expected START:STOP") from None
    first = start or 0
    if first < 0 or (stop is not None and stop <= first):
        raise ValueError(f"frames: {text!r}, expected START:STOP with 0 ≤ START < STOP")
    return slice(start, stop)


class Frames:
    """A growing uint8 [N, 3, H, W] held in memory once: the C library moves large blocks by remapping their pages."""

    def __init__(self, height: int, width: int) -> None:
        self._array = numpy.empty((0, 3, height, width), numpy.uint8)
        self._count = 0

    def append(self, frame: Tensor) -> None:
        if self._count == len(self._array):
            self._resize(self._count + max(16, self._count // 8))
        self._array[self._count] = frame.numpy()
        self._count += 1

    def tensor(self) -> Tensor:
        """All frames; nothing is appended afterwards."""
        self._resize(self._count)
        return torch.from_numpy(self._array)

    def __len__(self) -> int:
        return self._count

    def _resize(self, count: int) -> None:
        self._array.resize((count, *self._array.shape[1:]), refcheck=False)
