"""PSNR and SSIM against known values for constants, negatives and noise."""

from __future__ import annotations

import math

import pytest
import torch

from digan_fast.metrics.psnr import psnr
from digan_fast.metrics.ssim import ssim


def test_psnr_and_ssim() -> None:
    x = torch.rand(2, 3, 24, 20) * 2 - 1
    assert psnr(x, x) == math.inf
    assert ssim(x, x) == 1
    assert psnr(x + 0.02, x) == pytest.approx(40, abs=1e-4)  # 20·log10(2/0.02)
    # For constants, scaled to a = ¾ and b = ½, only the means matter: (2ab + C1)/(a² + b² + C1), C1 = 0.01².
    a, b = torch.full((1, 1, 11, 11), 0.5), torch.full((1, 1, 11, 11), 0.0)
    assert ssim(a, b) == pytest.approx((0.75 + 1e-4) / (0.8125 + 1e-4), rel=1e-9)
    # The covariance of a picture and its negative is minus the variance.
    assert ssim(-x, x) < 0
    noise = torch.randn_like(x)
    near, far = (ssim(x + noise * sigma, x) for sigma in (0.05, 0.5))
    assert 0 < far < near < 1
    assert ssim(x, x + noise) == pytest.approx(ssim(x + noise, x))
    with pytest.raises(ValueError, match="at least 11×11 pixels"):
        ssim(x[..., :10], x[..., :10])
