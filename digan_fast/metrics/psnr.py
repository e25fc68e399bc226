"""The peak signal-to-noise ratio of pictures in [−1, 1]."""

from __future__ import annotations

import math

from torch import Tensor

RANGE = 2.0  # of colours, from −1 to 1


def psnr(picture: Tensor, expected: Tensor) -> float:
    """``10·log10(RANGE² / MSE)`` in decibels over all pictures [N, C, H, W]; infinite for identical ones."""
    error = float((picture.double() - expected.double()).square().mean())
    return math.inf if error == 0 else 10 * math.log10(RANGE**2 / error)
