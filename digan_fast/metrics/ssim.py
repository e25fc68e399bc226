"""The structural similarity of pictures in [−1, 1]."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from digan_fast.metrics.psnr import RANGE

WINDOW, SIGMA = 11, 1.5
K1, K2 = 0.01, 0.03


def ssim(picture: Tensor, expected: Tensor) -> float:
    """The mean structural similarity of pictures [N, C, H, W], per channel; 1 for identical ones.

    Wang, Bovik, Sheikh, Simoncelli, "Image quality assessment: from error visibility to structural similarity", IEEE
    Transactions on Image Processing 13 (4), 2004: an 11×11 Gaussian window with σ = 1.5 wherever it fits entirely,
    K1 = 0.01, K2 = 0.03.  It compares means as intensities starting at 0, so colours are mapped to [0, 1] first.
    """
    if min(picture.shape[-2:]) < WINDOW:
        raise ValueError(f"picture: shape {tuple(picture.shape)}, expected at least {WINDOW}×{WINDOW} pixels")
    channels = picture.shape[1]
    offset = torch.arange(WINDOW, dtype=torch.float64) - WINDOW // 2
    line = torch.exp(-offset.square() / (2 * SIGMA**2))
    down = (line / line.sum()).view(1, 1, -1, 1).expand(channels, -1, -1, -1)

    def mean(values: Tensor) -> Tensor:
        return F.conv2d(F.conv2d(values, down, groups=channels), down.mT, groups=channels)

    x, y = ((colours.double() + 1) / RANGE for colours in (picture, expected))
    mean_x, mean_y = mean(x), mean(y)
    variance_x, variance_y = mean(x * x) - mean_x**2, mean(y * y) - mean_y**2
    covariance = mean(x * y) - mean_x * mean_y
    c1, c2 = K1**2, K2**2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    structure = (2 * covariance + c2) / (variance_x + variance_y + c2)
    return float((luminance * structure).mean())
