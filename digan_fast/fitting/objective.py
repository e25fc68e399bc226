"""How far a projected video is from its clip: pixels, gradients at several scales, motion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

_SCALES: Final = 3
# The least energy of a term, as a share of that of the pixels: where little moves, the noise of its frames would
# otherwise outweigh the picture.
_LEAST: Final = 0.01
# That of the pixels, for a clip of one colour.
_LEAST_PIXELS: Final = 1e-6


@dataclass(frozen=True)
class Objective:
    """The sum of three shares of the clip's energy that are not explained, each with a weight.

    Pixels, [−1, 1], about the clip's mean; spatial gradients at scales 1, ½, ¼; differences between consecutive frames.
    The energy of gradients and of differences counts as at least 1 % of that of the pixels.
    A video in which nothing moves explains none of the last, however close its frames are: a projection without this
    term collapses to nearly one frame.
    """

    pixels: float = 1.0
    gradients: float = 0.5
    differences: float = 0.5

    def __call__(self, found: Tensor, clip: Tensor) -> Tensor:
        """``found`` and ``clip``: frames [T, 3, H, W] in order of time."""
        error = found - clip
        energy = _mean_square(clip - clip.mean()).clamp(min=_LEAST_PIXELS)
        least = _LEAST * energy
        loss = self.pixels * _mean_square(error) / energy + self.differences * _share(error, clip, 0, least)
        for scale in range(_SCALES):
            if min(error.shape[-2:]) < 2:
                break
            for dim in (-1, -2):
                loss = loss + self.gradients / (2 * _SCALES) * _share(error, clip, dim, least)
            if scale + 1 < _SCALES:
                error, clip = F.avg_pool2d(error, 2), F.avg_pool2d(clip, 2)
        return loss


def _share(error: Tensor, clip: Tensor, dim: int, least: Tensor) -> Tensor:
    """The energy of the error's differences along ``dim``, as a share of that of the clip's."""
    return _mean_square(error.diff(dim=dim)) / torch.maximum(_mean_square(clip.diff(dim=dim)), least)


def _mean_square(values: Tensor) -> Tensor:
    return values.square().mean()
