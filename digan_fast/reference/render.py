"""The INRs of B videos on a window of their pictures.

The definition is written once, over :class:`Products`: `render` evaluates it with the reference products, backends with
their ops.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from digan_fast.levels import Layer, Level, Window, assembled
from digan_fast.reference import render_int8
from digan_fast.reference.activations import ACTIVATIONS, activate
from digan_fast.reference.coord_linear import coord_linear, upsample
from digan_fast.reference.linear_act import linear_act


@dataclass(frozen=True)
class Products:
    """The ops of a rendering, or their references: for layers, for a grid's first layer, for to-RGB."""

    linear_act: Callable[..., Tensor]
    coord_linear: Callable[..., Tensor]
    to_rgb: Callable[..., Tensor]

    def coloured(self, x: Tensor, layers: Sequence[Layer], to_rgb: Layer, keep: bool) -> tuple[Tensor, Tensor]:
        """The outputs of a level's layers, and its colours; without ``keep``, the outputs may be omitted."""
        for layer in layers:
            x = self.linear_act(x, layer.weight, layer.bias, *layer.options)
        return x, self.to_rgb(x, to_rgb.weight, to_rgb.bias, *to_rgb.options)


PRODUCTS = Products(linear_act, coord_linear, linear_act)
INT8_PRODUCTS = Products(render_int8.linear_act, render_int8.coord_linear, linear_act)


def products_of(precision: str) -> Products:
    return INT8_PRODUCTS if precision == "int8" else PRODUCTS


def lowered(level: Level, precision: str) -> Level:
    """Weights and biases in ``precision``; sinusoids and to-RGB are unchanged.  int8 is left to the products."""
    dtype = {"bfloat16": torch.bfloat16, "float16": torch.float16}.get(precision)
    if dtype is None:
        return level
    layers = (replace(layer, weight=layer.weight.to(dtype), bias=layer.bias.to(dtype)) for layer in level.layers)
    return replace(level, layers=tuple(layers))


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
    """The last level's colours [B, T, h, w, C] and, with ``keep``, its to-RGB input, on the ancestors of the window."""
    top, left, height, width = window
    x = image = None
    for level in levels:
        if x is not None:
            x = x.to(level.layers[0].weight.dtype)
        factor = size // level.side
        row, rows = ancestors(top, height, factor)
        column, columns = ancestors(left, width, factor)
        grid = [level.side, row, column, rows, columns]
        layers = [*level.layers]
        if level.frequency is not None and level.phase is not None:
            first, *layers = layers
            below = 0 if x is None else x.shape[-1]
            base: Tensor | None = (
                None if x is None else products.linear_act(x, first.weight[..., :below], None, "linear", 1.0, None)
            )
            own = replace(first, weight=first.weight[..., below:])
            # coord_linear supports only homogeneous activations.
            after = None if ACTIVATIONS[first.activation].homogeneous else first.options
            options = ("linear", 1.0, None) if after else own.options
            x = products.coord_linear(base, level.frequency, level.phase, own.weight, own.bias, grid, *options)
            x = activate(x, *after) if after else x
        assert x is not None
        x, colours = products.coloured(x, layers, level.to_rgb, keep or level is not levels[-1])
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


def render(*args: Any) -> Tensor:
    """See :mod:`digan_fast.ops.render` for the arguments."""
    *lists, size, window, precision = args
    levels = [lowered(level, precision) for level in assembled(*lists)]
    return evaluate(levels, size, tuple(window), products_of(precision))
