"""``functional.coord_mlp`` against the obvious PyTorch code: a SIREN (arXiv 2006.09661) with many weight sets."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.harness import Effort, Form, Row, error_against, race, report
from digan_fast import functional

SETS, POINTS, WIDTH, HIDDEN = 64, 16_384, 256, 3
FREQUENCY = 30.0
# Relative in norm, against torch.bmm + sin in float32; written out in bfloat16, the first layer's phases of up to 30
# are rounded too.
BOUND = 1e-4
BFLOAT16_BOUND = 2e-2
ALL_BFLOAT16_BOUND = 2e-1

Layers = list[tuple[Tensor, Tensor]]


def siren(sets: int, width: int) -> Layers:
    """Weights [B, O, I] and biases [B, O] of 2 → width ×3 → 3, drawn as in the paper's section 3.2."""
    extents = [2, *[width] * HIDDEN, 3]
    layers = []
    for index, (inputs, outputs) in enumerate(pairwise(extents)):
        bound = 1 / inputs if index == 0 else (6 / inputs) ** 0.5 / FREQUENCY
        weight = torch.empty(sets, outputs, inputs).uniform_(-bound, bound)
        layers.append((weight, torch.empty(sets, outputs).uniform_(-bound, bound)))
    return layers


def written(points: Tensor, layers: Layers) -> Tensor:
    """torch.bmm + sin: points [N, 2] to colours [B, N, 3]."""
    x = points.expand(len(layers[0][0]), -1, -1)
    for index, (weight, bias) in enumerate(layers):
        x = torch.baddbmm(bias.unsqueeze(1), x, weight.transpose(1, 2))
        if index + 1 < len(layers):
            x = (FREQUENCY * x).sin()
    return x


def ours(points: Tensor, layers: Layers, precision: str = "float32") -> Tensor:
    weights, biases = zip(*layers, strict=True)
    return functional.coord_mlp(points, functional.mlp_layers(weights, biases, omega=FREQUENCY), precision=precision)


@pytest.mark.skipif(not hasattr(functional, "coord_mlp"), reason="functional has no coord_mlp")
@torch.no_grad()
def test_siren(benchmark: Any, quick: bool, effort: Effort) -> None:
    sets, count, width = (2, 64, 16) if quick else (SETS, POINTS, WIDTH)
    torch.manual_seed(4)
    layers = siren(sets, width)
    points = torch.rand(count, 2) * 2 - 1
    expected = written(points, layers)
    flops = 2.0 * count * sum(weight.numel() for weight, _ in layers)
    low_points, low = points.bfloat16(), [(weight.bfloat16(), bias.bfloat16()) for weight, bias in layers]
    compiled, low_compiled = torch.compile(written), torch.compile(written)
    check = error_against(expected)
    forms = [
        Form("ours", lambda: ours(points, layers), check, BOUND, flops),
        Form("torch.bmm + sin", lambda: written(points, layers), check, BOUND),
        Form("torch.compile", lambda: compiled(points, layers), check, BOUND),
        Form("ours, bfloat16", lambda: ours(points, layers, "bfloat16"), check, BFLOAT16_BOUND, flops, "bfloat16"),
        Form("torch.bmm + sin, bfloat16", lambda: written(low_points, low), check, ALL_BFLOAT16_BOUND),
        Form("torch.compile, bfloat16", lambda: low_compiled(low_points, low), check, ALL_BFLOAT16_BOUND),
    ]
    times = race(benchmark, forms, effort)
    rows = []
    for precision, own, suffix, least in (
        ("float32", "ours", "", {"torch.bmm + sin": 3.0, "torch.compile": 2.3}),
        ("bfloat16", "ours, bfloat16", ", bfloat16", {"torch.bmm + sin": None, "torch.compile": None}),
    ):
        work = f"coord_mlp, SIREN {HIDDEN}×{width}, {sets} weight sets × {count:,} points, {precision}"
        rows += [
            Row(work, f"speed-up over {name}{suffix}", times.ratio(f"{name}{suffix}", own), "×", target)
            for name, target in least.items()
        ]
        rows.append(Row(work, f"of the roofline ({times.unit(precision)})", times.share(own), "%"))
    report(benchmark, rows)
