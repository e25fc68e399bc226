"""Batches of sinusoidal coordinate MLPs (SIREN, arXiv 2006.09661), and the ways to evaluate them in PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import vmap

from digan_fast import functional

FREQUENCY = 30.0
Layers = list[tuple[Tensor, Tensor]]
Form = Callable[[Tensor, Layers], Tensor]


@dataclass(frozen=True)
class Shape:
    """``sets`` MLPs of D inputs, ``hidden`` layers of ``width`` and 3 outputs, at ``points`` points."""

    sets: int
    points: int
    dimensions: int
    width: int
    hidden: int

    @property
    def flops(self) -> float:
        """Of the products, forward."""
        extents = [self.dimensions, *[self.width] * self.hidden, 3]
        return 2.0 * self.sets * self.points * sum(a * b for a, b in pairwise(extents))

    def __str__(self) -> str:
        sets = "one weight set" if self.sets == 1 else f"{self.sets:,} weight sets"
        return f"{self.hidden}×{self.width}, {sets} × {self.points:,} points"

    def tensors(self) -> tuple[Tensor, Layers]:
        points = torch.rand(self.points, self.dimensions) * 2 - 1
        return points, siren(self.sets, self.width, self.hidden, self.dimensions)


def siren(sets: int, width: int, hidden: int, dimensions: int = 2) -> Layers:
    """Weights [B, O, I] and biases [B, O], drawn as in the paper's section 3.2."""
    layers = []
    for index, (inputs, outputs) in enumerate(pairwise([dimensions, *[width] * hidden, 3])):
        bound = 1 / inputs if index == 0 else (6 / inputs) ** 0.5 / FREQUENCY
        weight = torch.empty(sets, outputs, inputs).uniform_(-bound, bound)
        layers.append((weight, torch.empty(sets, outputs).uniform_(-bound, bound)))
    return layers


def ours(points: Tensor, layers: Layers, precision: str = "float32") -> Tensor:
    weights, biases = zip(*layers, strict=True)
    return functional.coord_mlp(points, functional.mlp_layers(weights, biases, omega=FREQUENCY), precision=precision)


def written(points: Tensor, layers: Layers) -> Tensor:
    """torch.bmm + sin: points [N, D] to colours [B, N, 3]."""
    x = points.expand(len(layers[0][0]), -1, -1)
    for index, (weight, bias) in enumerate(layers):
        x = torch.baddbmm(bias.unsqueeze(1), x, weight.transpose(1, 2))
        if index + 1 < len(layers):
            x = (FREQUENCY * x).sin()
    return x


def _one(points: Tensor, *flat: Tensor) -> Tensor:
    x = points
    for index, (weight, bias) in enumerate(zip(flat[::2], flat[1::2], strict=True)):
        x = F.linear(x, weight, bias)
        if 2 * index + 2 < len(flat):
            x = (FREQUENCY * x).sin()
    return x


def mapped(points: Tensor, layers: Layers) -> Tensor:
    """torch.func.vmap over the function of one MLP."""
    flat = [tensor for layer in layers for tensor in layer]
    return vmap(_one, (None, *[0] * len(flat)))(points, *flat)


def looped(points: Tensor, layers: Layers) -> Tensor:
    """One MLP after the other."""
    return torch.stack(
        [_one(points, *(each[b] for layer in layers for each in layer)) for b in range(len(layers[0][0]))]
    )


def gradients(form: Form, points: Tensor, layers: Layers, probe: Tensor) -> Tensor:
    """Forward and backward: the gradients of all weights and biases, in a row."""
    alive = [tensor.requires_grad_() for layer in layers for tensor in layer]
    return torch.cat([each.flatten() for each in torch.autograd.grad(form(points, layers), alive, probe)])


def lowered(layers: Layers) -> Layers:
    return [(weight.detach().bfloat16(), bias.detach().bfloat16()) for weight, bias in layers]


def shapes(quick: bool, training: bool) -> Sequence[Shape]:
    """The three of the tables. A training step of the largest would take minutes: it has fewer sets or points."""
    if quick:
        return Shape(2, 64, 2, 16, 2), Shape(1, 64, 3, 16, 2), Shape(4, 16, 4, 8, 1)
    if training:
        return Shape(16, 16_384, 2, 256, 3), Shape(1, 1 << 16, 3, 512, 5), Shape(1024, 1024, 4, 64, 2)
    return Shape(64, 16_384, 2, 256, 3), Shape(1, 1 << 18, 3, 512, 5), Shape(4096, 1024, 4, 64, 2)


class Modulated:
    """One SIREN with a scale and a shift of each hidden layer for each sample (FiLM), [B, hidden, width]."""

    def __init__(self, shape: Shape) -> None:
        self.points, self.layers = replace(shape, sets=1).tensors()
        drawn = torch.randn(2, shape.sets, shape.hidden, shape.width) / 10
        self.scale, self.shift = (drawn[0] + 1).requires_grad_(), drawn[1].requires_grad_()

    def ours(self) -> Tensor:
        *hidden, (weight, bias) = self.layers
        layers = [
            functional.MLPLayer(*pair, "sine", FREQUENCY, self.scale[:, i], self.shift[:, i])
            for i, pair in enumerate(hidden)
        ]
        return functional.coord_mlp(self.points, [*layers, functional.MLPLayer(weight, bias)])

    def written(self) -> Tensor:
        *hidden, (weight, bias) = self.layers
        x = self.points.expand(len(self.scale), -1, -1)
        for i, (own, offset) in enumerate(hidden):
            z = F.linear(x, own[0], offset[0])
            x = (FREQUENCY * (self.scale[:, i, None] * z + self.shift[:, i, None])).sin()
        return F.linear(x, weight[0], bias[0])

    def gradients(self, form: Callable[[], Tensor], probe: Tensor) -> Tensor:
        """Those by the modulations, concatenated."""
        return torch.cat([g.flatten() for g in torch.autograd.grad(form(), (self.scale, self.shift), probe)])
