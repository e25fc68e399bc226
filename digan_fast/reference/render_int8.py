"""Layers in int8, with the same integers as the compiled renderer (csrc/cpu/render/block_int8_kernel.cpp).

Weights w ≈ s·q, q in ±127, a scale for each row; activations x ≈ s·(q − z), q and z in 0 … 255, a scale and a zero for
each pixel; sines and cosines with the scale 1/127.  Products are sums of integers, exact here in float64 up to 2⁵³.
A pixel or a row of weights that is not finite has the scale NaN, which propagates to its results.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from digan_fast.reference.activations import ACTIVATIONS, activate, activate_product
from digan_fast.reference.coord_linear import coordinates, upsample

# Slightly fewer than 255 levels, so that the largest number is never rounded to 256.
_LEVELS = 254.99
_SMALLEST_RANGE = 1e-30


def quantised_rows(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Integers q [B, O, I] in ±127 and the scales [B, O] of the rows of weight [B, O, I]."""
    largest = weight.abs().amax(-1, keepdim=True).clamp(min=_SMALLEST_RANGE)
    return (weight * (127 / largest)).round(), (largest / 127 + (0 * weight).sum(-1, keepdim=True)).squeeze(-1)


def quantised_pixels(x: Tensor) -> tuple[Tensor, Tensor]:
    """Integers q − z [..., I] and the scales [..., 1] of x [..., I]."""
    low = x.amin(-1, keepdim=True).clamp(max=0)
    high = x.amax(-1, keepdim=True).clamp(min=0)
    wide = (high - low).clamp(min=_SMALLEST_RANGE)
    levels = _LEVELS / wide
    zero = (-low * levels).round()
    # z + round(x·levels), with ties to the even sum, as in a floating-point sum.
    return (x * levels + zero).round() - zero, wide * (1 / _LEVELS)


def features(frequency: Tensor, phase: Tensor, grid: Sequence[int]) -> Tensor:
    """sin θ and cos θ, [B, T, H, W, 2K], for θ = F·(x, y) + φ in float64, each axis' rounded to φ's type."""
    x, y = coordinates(grid, frequency.double())
    across = x[:, None] * frequency[:, None, None, :, 0] + phase.unsqueeze(2).double()
    down = y[:, None] * frequency[:, None, :, 1]
    sin_x, cos_x = (feature.to(phase.dtype).unsqueeze(2) for feature in (across.sin(), across.cos()))
    sin_y, cos_y = (feature.to(phase.dtype)[:, None, :, None] for feature in (down.sin(), down.cos()))
    return torch.cat((sin_y * cos_x + cos_y * sin_x, cos_y * cos_x - sin_y * sin_x), -1)


def _product(integers: Tensor, scale: Tensor | float, weight: Tensor) -> Tensor:
    """[B, ..., O] of integers [B, ..., I] with their scale, and weight [B, O, I]."""
    rows, row_scale = quantised_rows(weight)
    sums = torch.bmm(integers.flatten(1, -2).double(), rows.double().transpose(1, 2))
    sums = sums.to(weight.dtype).view(*integers.shape[:-1], weight.shape[1])
    return sums * scale * row_scale.view(len(weight), *(1,) * (integers.ndim - 2), -1)


def linear_act(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    activation: str,
    gain: float,
    clamp: float | None,
) -> Tensor:
    """:func:`digan_fast.reference.linear_act.linear_act` for x [B, ..., I] of float32 or float64."""
    integers, scale = quantised_pixels(x)
    inside = gain if ACTIVATIONS[activation].homogeneous else 1.0
    z = _product(integers, scale, weight * inside)
    if bias is not None:
        z = z + bias * inside
    return _activated(z, activation, gain, clamp)


def coord_linear(
    base: Tensor | None,
    frequency: Tensor,
    phase: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    grid: Sequence[int],
    activation: str,
    gain: float,
    clamp: float | None,
) -> Tensor:
    """:func:`digan_fast.reference.coord_linear.coord_linear`; the phases are in the features, not in the weights."""
    inside = gain if ACTIVATIONS[activation].homogeneous else 1.0
    found = features(frequency, phase, grid)
    z = _product((found * 127).round(), 1 / 127, weight * inside)
    if base is not None:
        z = z + upsample(base, grid) * inside
    if bias is not None:
        z = z + bias * inside
    return _activated(z, activation, gain, clamp)


def _activated(z: Tensor, activation: str, gain: float, clamp: float | None) -> Tensor:
    if ACTIVATIONS[activation].homogeneous:
        return activate_product(z, activation, clamp)
    return activate(z, activation, gain, clamp)
