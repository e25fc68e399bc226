"""Renderings for the fused kernel: every width it is compiled for, tails, windows, activations."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from typing import Any

import torch
from random_inrs import SMALL, Widths, changed, distance, exact, random_inr
from torch import Tensor

from digan_fast import use_backend
from digan_fast.levels import Level, Window, flattened
from digan_fast.ops.render import render

op: Any = importlib.import_module("digan_fast.ops.render")
PRECISIONS = ("float32", "bfloat16", "float16", "tf32")
# Relative rounding errors, to nearest.
UNITS = {"float32": 2.0**-24, "bfloat16": 2.0**-9, "float16": 2.0**-12, "tf32": 2.0**-12}


@dataclass(frozen=True)
class Rendering:
    widths: Widths
    size: int
    window: Window
    videos: int = 1
    frames: int = 1
    options: dict[str, Any] = field(default_factory=dict)

    def levels(self) -> list[Level]:
        return random_inr(self.videos, self.frames, self.widths, **self.options)


RENDERINGS = {
    "one-pixel": Rendering(((1, (1,)),), 1, (0, 0, 1, 1), options={"side": 1, "colours": 1}),
    "one-level": Rendering(((20, (40, 40)),), 8, (0, 0, 8, 8)),
    "two-grids": Rendering(((20, (70, 40)), (5, (60, 40))), 16, (0, 0, 16, 16), 2, 2),
    "window": Rendering(((4, (24,)), (0, (30,)), (5, (40, 33))), 16, (3, -2, 5, 9), 2, 3, {"clamp": 1.5}),
    "repeated-pixels": Rendering(SMALL, 128, (5, 66, 39, 70), options={"colours": 4}),
    "wider-below": Rendering(((3, (150,)), (2, (20,))), 16, (0, 0, 16, 16)),
    "wider-above": Rendering(((3, (20,)), (2, (150,))), 16, (1, 1, 8, 9)),
    "more-features-than-channels": Rendering(
        ((150, (9, 7)),), 8, (0, 0, 8, 8), options={"activations": ("sine", "relu")}
    ),
    "512": Rendering(((9, (300, 512)),), 8, (0, 0, 8, 8)),
    "512-to-256": Rendering(((9, (300,)), (9, (256, 200))), 16, (0, 0, 16, 8)),
}


def arguments(levels: list[Level], size: int, window: Window, precision: str) -> tuple[Any, ...]:
    """Arguments of the op; for float16 the INR has that type, for tf32 torch's global setting is changed."""
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    if precision == "float16":
        levels = changed(levels, Tensor.half)
    return *flattened(levels), size, list(window), "bfloat16" if precision == "bfloat16" else "float32"


def error_and_bound(found: Tensor, levels: list[Level], case: Rendering, precision: str) -> tuple[float, float]:
    """Relative error (in norm, or a quarter of the largest) and its bound: twice torch's error, or three roundings."""
    if precision == "float16":
        levels = changed(levels, lambda tensor: tensor.half().float())
    right, own = exact(levels, case.size, case.window), 0.0
    if precision in ("float32", "bfloat16"):
        with use_backend("reference"):
            own = distance(render(levels, case.size, case.window, precision), right)
    assert found.shape == right.shape
    assert found.isfinite().all()
    worst = float((found.double() - right).abs().max() / right.abs().max())
    return max(distance(found, right), worst / 4), max(2 * own, 3 * UNITS[precision])


def check(name: str, precision: str) -> Tensor:
    """Renders a case; checks the error, and that the result has the INR's type."""
    case = RENDERINGS[name]
    levels = case.levels()
    args = arguments(levels, case.size, case.window, precision)
    assert op._why_not_cuda(*args) is None
    found: Tensor = op._cuda(*args)
    assert found.dtype == (torch.float16 if precision == "float16" else torch.float32)
    error, bound = error_and_bound(found, levels, case, precision)
    assert error <= bound, f"error {error:.2g}, bound {bound:.2g}"
    return found
