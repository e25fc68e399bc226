"""Renderings of small random INRs: pictures and windows, with last levels that the fused kernel supports or not."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from cases import kernel
from random_inrs import Widths, changed, random_inr
from torch import Tensor

from digan_fast.kernels import _configurations
from digan_fast.kernels import render as fused
from digan_fast.levels import Level, Window, flattened
from digan_fast.reference import render as reference

WIDE: Widths = ((4, (24,)), (5, (40, 40, 40)))
# name: widths, other arguments of random_inr, size, window, and whether the last level is fused.
RENDERS: dict[str, tuple[Widths, dict[str, Any], int, Window, bool]] = {
    "whole": (WIDE, {}, 16, (0, 0, 16, 16), True),
    "window": (WIDE, {"clamp": 1.5}, 16, (2, -3, 5, 9), True),
    "one level": (((20, (70, 70)),), {}, 8, (0, 0, 8, 8), True),
    "one layer": (((3, (12,)), (3, (100,))), {"activations": ("relu",)}, 16, (1, 1, 4, 4), True),
    "repeated": (WIDE, {}, 32, (1, 2, 7, 5), False),
    "unlike layers": (WIDE, {"activations": ("lrelu", "relu")}, 16, (0, 0, 4, 4), False),
    "wide": (((4, (24, 150)),), {}, 8, (2, 1, 5, 6), False),
    "unlike widths": (((4, (24,)), (5, (40, 24))), {}, 16, (0, 0, 4, 4), False),
}


def _rendered(levels: list[Level], size: int, window: Window, precision: str) -> Tensor:
    return reference.render(*flattened(levels), size, list(window), precision)


def check_render(monkeypatch: pytest.MonkeyPatch, name: str, precision: str, unit: float = 2.0**-20) -> None:
    """At most twice the error of torch in the same precision, relative to the largest colour, as for single ops."""
    widths, named, size, window, is_fused = RENDERS[name]
    levels = random_inr(2, 3, widths, **named)
    seen: list[Level] = []
    stock = fused.render_last_level
    monkeypatch.setattr(_configurations, "FUSED", {80, 90})
    monkeypatch.setattr(fused, "render_last_level", lambda level, *rest: seen.append(level) or stock(level, *rest))
    found = kernel("render")(*flattened(levels), size, list(window), precision)
    exact = _rendered(changed(levels, Tensor.double), size, window, "float32")
    own = _rendered(levels, size, window, precision)
    assert found.shape == exact.shape
    assert found.dtype == torch.float32
    error, other = (found - exact).abs(), (own - exact).abs()
    bound = 2 * other.max() + unit * exact.abs().max()
    assert error.max() <= bound, f"error {error.max():.3g}, bound {bound:.3g}"
    assert error.square().mean().sqrt() <= 2 * other.square().mean().sqrt() + unit * exact.abs().max()
    assert bool(seen) == (is_fused and precision == "bfloat16")
