"""How far a projected video is from its clip: pixels, gradients at several scales, motion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch.nn.functional as F
from torch import Tensor

_SCALES: Final = 3
# Energies below this count as none, so that a clip without motion does not divide by zero.
_LEAST: Final = 1e-6


@dataclass(frozen=True)
class Objective:
    """The sum of three shares of the clip's energy that are not explained, each with a weight.

    Pixels, [−1, 1], about the clip's mean; spatial gradients at scales 1, ½, ¼; differences between consecutive frames.
    A video in which nothing moves explains none of the last, however close its frames are: a projection without this
    term collapses to nearly one frame.
    """

    pixels: float = 1.0
    gradients: float = 0.5
    differences: float = 0.5

    def __call__(self, found: Tensor, clip: Tensor) -> Tensor:
        """``found`` and ``clip``: frames [T, 3, H, W] in order of time."""
        error = found - clip
        loss = self.pixels * _share(error, clip - clip.mean())
        loss = loss + self.differences * _share(error.diff(dim=0), clip.diff(dim=0))
        for scale in range(_SCALES):
            if min(error.shape[-2:]) < 2:
                break
            for dim in (-1, -2):
                share = _share(error.diff(dim=dim), clip.diff(dim=dim))
                loss = loss + self.gradients / (2 * _SCALES) * share
            if scale + 1 < _SCALES and min(error.shape[-2:]) >= 2:
                error, clip = F.avg_pool2d(error, 2), F.avg_pool2d(clip, 2)
        return loss


def _share(error: Tensor, energy: Tensor) -> Tensor:
    return error.square().mean() / energy.square().mean().clamp(min=_LEAST)
