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
BOUND = 1e-4

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


def ours(points: Tensor, layers: Layers) -> Tensor:
    weights, biases = zip(*layers, strict=True)
    return functional.coord_mlp(points, weights, biases, omega=FREQUENCY)


@pytest.mark.skipif(not hasattr(functional, "coord_mlp"), reason="functional has no coord_mlp")
@torch.no_grad()
def test_siren(benchmark: Any, quick: bool, effort: Effort) -> None:
    sets, count, width = (2, 64, 16) if quick else (SETS, POINTS, WIDTH)
    torch.manual_seed(4)
    layers = siren(sets, width)
    points = torch.rand(count, 2) * 2 - 1
    expected = written(points, layers)
    flops = 2.0 * count * sum(weight.numel() for weight, _ in layers)
    compiled = torch.compile(written)
    check = error_against(expected)
    forms = [
        Form("ours", lambda: ours(points, layers), check, BOUND, flops),
        Form("torch.bmm + sin", lambda: written(points, layers), check, BOUND),
        Form("torch.compile of it", lambda: compiled(points, layers), check, BOUND),
    ]
    times = race(benchmark, forms, effort)
    work = f"coord_mlp, SIREN {HIDDEN}×{width}, {sets} weight sets × {count:,} points, float32"
    rows = [
        Row(work, f"speed-up over {name}", times.ratio(name, "ours"), "×", least)
        for name, least in (("torch.bmm + sin", 3.0), ("torch.compile of it", 2.0))
    ]
    report(benchmark, [*rows, Row(work, "of the roofline", times.share("ours"), "%")])
