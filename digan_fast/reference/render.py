"""The INR of B videos on a window of their pictures: ancestors, tiles."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from digan_fast.reference import render_int8
from digan_fast.reference.activations import ACTIVATIONS, activate
from digan_fast.reference.coord_linear import coord_linear, upsample
from digan_fast.reference.linear_act import linear_act

# Frames × pixels evaluated at once.  On a CPU one activation of 256 channels is 8 MiB, so that it stays in L3; a GPU
# wants work for all of its multiprocessors.
TILE_PIXELS = 8192
DEVICE_TILE_PIXELS = 1 << 20

Window = tuple[int, int, int, int]


class Layer(NamedTuple):
    """``clamp(act(W·x + b)·gain, ±clamp)``: weight [B, O, I], bias [O]."""

    weight: Tensor
    bias: Tensor
    activation: str
    gain: float
    clamp: float | None


class Level(NamedTuple):
    """``side`` of its grid for the whole picture; frequency [B, K, 2] and phase [B, T, K], both None without waves."""

    side: int
    frequency: Tensor | None
    phase: Tensor | None
    layers: tuple[Layer, ...]
    to_rgb: Layer

    def frames(self, part: slice) -> Level:
        return self if self.phase is None else self._replace(phase=self.phase[:, part])


class Products(NamedTuple):
    """The ops that a rendering is made of, or their references: for layers, for a grid's first layer, for to-RGB.

    ``coloured(x, layer, to_rgb, keep)``, where there is one, makes of a level's last layer, or of x where the layer is
    None, the outputs and the colours at once; outputs that are not kept may be left out.
    """

    linear_act: Callable[..., Tensor]
    coord_linear: Callable[..., Tensor]
    to_rgb: Callable[..., Tensor]
    coloured: Callable[[Tensor, Layer | None, Layer, bool], tuple[Tensor, Tensor]] | None = None


PRODUCTS = Products(linear_act, coord_linear, linear_act)
INT8_PRODUCTS = Products(render_int8.linear_act, render_int8.coord_linear, linear_act)


def lowered(level: Level, precision: str) -> Level:
    """Weights and biases in ``precision``; sinusoids and to-RGB as they were.  int8 is the products' own."""
    if precision != "bfloat16":
        return level
    layers = (layer._replace(weight=layer.weight.bfloat16(), bias=layer.bias.bfloat16()) for layer in level.layers)
    return level._replace(layers=tuple(layers))


def evaluate(levels: Sequence[Level], size: int, window: Window, products: Products) -> Tensor:
    """The window [B, T, C, H, W] of pictures of side ``size``, every level on the ancestors of its pixels alone."""
    top, left, height, width = window
    image, _ = evaluate_with_activations(levels, size, window, products, keep=False)
    factor = size // levels[-1].side
    while factor > 1:
        factor //= 2
        row, rows = ancestors(top, height, factor)
        column, columns = ancestors(left, width, factor)
        image = upsample(image, (size // factor, row, column, rows, columns))
    return image.movedim(-1, 2)


def evaluate_with_activations(
    levels: Sequence[Level], size: int, window: Window, products: Products, keep: bool = True
) -> tuple[Tensor, Tensor]:
    """Colours [B, T, h, w, C] and, to ``keep``, what to-RGB read, of the last level, on the ancestors of the window."""
    top, left, height, width = window
    x = image = None
    for level in levels:
        factor = size // level.side
        row, rows = ancestors(top, height, factor)
        column, columns = ancestors(left, width, factor)
        grid = [level.side, row, column, rows, columns]
        layers = [*level.layers]
        if level.frequency is not None:
            first, *layers = layers
            below = 0 if x is None else x.shape[-1]
            base: Tensor | None = (
                None if x is None else products.linear_act(x, first.weight[..., :below], None, "linear", 1.0, None)
            )
            own = first._replace(weight=first.weight[..., below:])
            # coord_linear has the homogeneous activations alone.
            after = None if ACTIVATIONS[first.activation].homogeneous else first[2:]
            options = ("linear", 1.0, None) if after else own[2:]
            x = products.coord_linear(base, level.frequency, level.phase, own.weight, own.bias, grid, *options)
            x = activate(x, *after) if after else x
        last = layers.pop() if layers and products.coloured is not None else None
        for layer in layers:
            x = products.linear_act(x, *layer)
        assert x is not None
        if products.coloured is None:
            colours = products.to_rgb(x.to(level.to_rgb.weight.dtype), *level.to_rgb)
        else:
            x, colours = products.coloured(x, last, level.to_rgb, keep or level is not levels[-1])
        if image is not None and level.frequency is not None:
            image = upsample(image, grid)
        image = colours if image is None else image + colours
    assert image is not None
    assert x is not None
    return image, x


def ancestors(start: int, extent: int, factor: int) -> tuple[int, int]:
    """First and count of the cells, ``factor`` times coarser, under ``extent`` pixels from ``start``."""
    first = start // factor
    return first, -(-(start + extent) // factor) - first


def tiles(frames: int, window: Window, alignment: int, budget: int) -> Iterator[tuple[slice, Window]]:
    """Cut frames × window into parts of about ``budget`` pixels whose borders are multiples of ``alignment``."""
    top, left, height, width = window
    if height * width <= budget:
        together = budget // (height * width)
        for first in range(0, frames, together):
            yield slice(first, min(first + together, frames)), window
        return
    side = max(1, math.isqrt(budget) // alignment) * alignment
    for frame in range(frames):
        for row in range(top // side * side, top + height, side):
            for column in range(left // side * side, left + width, side):
                first_row, first_column = max(row, top), max(column, left)
                tile = (
                    first_row,
                    first_column,
                    min(row + side, top + height) - first_row,
                    min(column + side, left + width) - first_column,
                )
                yield slice(frame, frame + 1), tile


def assembled(
    frequencies: Sequence[Tensor],
    phases: Sequence[Tensor],
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    sides: Sequence[int],
    layers: Sequence[int],
    activations: Sequence[str],
    gains: Sequence[float],
    clamps: Sequence[float],
) -> list[Level]:
    """Levels from lists: ``layers[i]`` entries for the layers of level i, and one more for its to-RGB."""
    limits = [clamp if clamp < math.inf else None for clamp in clamps]
    entries = map(Layer, weights, biases, activations, gains, limits)
    levels = []
    for frequency, phase, side, count in zip(frequencies, phases, sides, layers, strict=True):
        own = tuple(next(entries) for _ in range(count))
        waves = frequency.shape[1] > 0
        levels.append(Level(side, frequency if waves else None, phase if waves else None, own, next(entries)))
    return levels


def flattened(levels: Sequence[Level]) -> tuple[list[Any], ...]:
    """The lists of :func:`assembled`."""
    like = levels[0].phase
    assert like is not None
    nothing = like.new_empty((like.shape[0], 0, 2)), like.new_empty((*like.shape[:2], 0))
    frequencies = [nothing[0] if level.frequency is None else level.frequency for level in levels]
    phases = [nothing[1] if level.phase is None else level.phase for level in levels]
    entries = [entry for level in levels for entry in (*level.layers, level.to_rgb)]
    weights, biases, activations, gains, limits = (list(column) for column in zip(*entries, strict=True))
    return (
        frequencies,
        phases,
        weights,
        biases,
        [level.side for level in levels],
        [len(level.layers) for level in levels],
        activations,
        gains,
        [math.inf if limit is None else limit for limit in limits],
    )


def render(*args: Any) -> Tensor:
    """See :mod:`digan_fast.ops.render` for the arguments; the work goes in tiles, so that memory is bounded."""
    *lists, size, window, precision = args
    levels = [lowered(level, precision) for level in assembled(*lists)]
    top, left, height, width = window
    products = INT8_PRODUCTS if precision == "int8" else PRODUCTS
    return in_tiles(levels, size, (top, left, height, width), products)


def in_tiles(levels: Sequence[Level], size: int, window: Window, products: Products) -> Tensor:
    phase = levels[0].phase
    assert phase is not None
    batch, frames = phase.shape[:2]
    top, left, height, width = window
    to_rgb = levels[-1].to_rgb.weight
    result = torch.empty((batch, frames, to_rgb.shape[1], height, width), dtype=to_rgb.dtype, device=to_rgb.device)
    budget = (TILE_PIXELS if to_rgb.device.type == "cpu" else DEVICE_TILE_PIXELS) // max(1, batch)
    for part, tile in tiles(frames, window, size // levels[0].side, budget):
        rows = slice(tile[0] - top, tile[0] - top + tile[2])
        columns = slice(tile[1] - left, tile[1] - left + tile[3])
        chosen = [level.frames(part) for level in levels]
        result[:, part, :, rows, columns] = evaluate(chosen, size, tile, products)
    return result
