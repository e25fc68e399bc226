"""Random INRs of any shape, as arguments of the op ``render``."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from digan_fast import use_backend
from digan_fast.levels import Coordinates, Layer, Level, Window, walk
from digan_fast.ops.render import render

# For each level: its number of sinusoids (0 if it stays on the grid below), and the outputs of its layers.
Widths = Sequence[tuple[int, Sequence[int]]]

SMALL: Widths = ((5, (7, 6)), (0, (9,)), (3, (8, 5)), (4, (6,)))
# DIGAN's grid of 32² and the levels above it, at 128².
PUBLISHED: Widths = ((128, (512, 512)), (128, (512, 256)))


def random_inr(
    videos: int,
    frames: int,
    widths: Widths,
    side: int = 8,
    colours: int = 3,
    activations: Sequence[str] = ("lrelu",),
    clamp: float | None = None,
    seed: int = 0,
) -> list[Level]:
    """Levels in float32 with activations of magnitude 1; layers cycle through the activation functions."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    def layer(inputs: int, outputs: int, activation: str) -> Layer:
        gain = math.sqrt(2) if activation in ("lrelu", "relu") else 1.2
        weight = normal(videos, outputs, inputs) / math.sqrt(inputs)
        return Layer(weight, normal(outputs) / 4, activation, gain, clamp)

    levels: list[Level] = []
    channels = count = 0
    for sinusoids, outputs in widths:
        if levels and sinusoids:
            side *= 2
        channels += 2 * sinusoids
        layers = []
        for width in outputs:
            layers.append(layer(channels, width, activations[count % len(activations)]))
            channels, count = width, count + 1
        waves = None
        if sinusoids:
            waves = Coordinates(normal(videos, sinusoids, 2) * 10, normal(videos, frames, sinusoids) * 3)
        to_rgb = replace(layer(channels, colours, "linear"), gain=1.0)
        levels.append(Level(side, waves, tuple(layers), to_rgb))
    return levels


def changed(levels: Sequence[Level], change: Callable[[Tensor], Tensor]) -> list[Level]:
    """Every tensor replaced by ``change(tensor)``."""
    found: list[Level] = walk(list(levels), "", lambda _, tensor: change(tensor))
    return found


def native(levels: Sequence[Level], size: int, window: Window | None = None, precision: str = "float32") -> Tensor:
    with use_backend("native"):
        return render(levels, size, window or (0, 0, size, size), precision)


def lowered(levels: Sequence[Level], size: int, window: Window | None = None) -> Tensor:
    """The reference in bfloat16."""
    with use_backend("reference"):
        return render(levels, size, window or (0, 0, size, size), "bfloat16")


def exact(levels: Sequence[Level], size: int, window: Window | None = None) -> Tensor:
    """The reference in float64 (which every backend uses for it)."""
    return render(changed(levels, Tensor.double), size, window or (0, 0, size, size), "float32")


def size_of_summands(levels: Sequence[Level]) -> float:
    """The magnitude of a colour if no summands cancelled: the root of the sum of their squares."""
    squares = changed(levels, lambda t: t.double().square())
    total = x = None
    for level in squares:
        videos = level.to_rgb.weight.shape[0]
        if level.frequency is not None:
            waves = torch.ones(videos, 2 * level.frequency.shape[1], dtype=torch.float64)
            x = waves if x is None else torch.cat((x, waves), 1)
        for layer in (*level.layers, level.to_rgb):
            assert x is not None
            y = (torch.einsum("bi,boi->bo", x, layer.weight) + layer.bias) * layer.gain**2
            x = x if layer is level.to_rgb else y
        total = y if total is None else total + y
    assert total is not None
    return float(total.mean().sqrt())


def distance(found: Tensor, expected: Tensor) -> float:
    """‖found − expected‖/‖expected‖; 0 if both are zero."""
    difference = float((found.double() - expected.double()).norm())
    return difference / float(expected.double().norm()) if difference else 0.0
