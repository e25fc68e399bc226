"""A rendering in tiles, so that its memory is bounded, and the last layer of a level joined with its to-RGB."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from digan_fast.levels import Layer, Level, Window
from digan_fast.reference.render import Products, assembled, evaluate, lowered, products_of

# Frames × pixels evaluated at once.  On a CPU one activation of 256 channels is 8 MiB, so that it stays in L3; a GPU
# wants work for all of its multiprocessors.
TILE_PIXELS = 8192
DEVICE_TILE_PIXELS = 1 << 20


@dataclass(frozen=True)
class JoinedProducts(Products):
    """``joined(x, layer, to_rgb, keep)`` makes of a level's last layer the outputs and the colours at once.

    The layer is None where x is what to-RGB reads; outputs that are not kept may be left out.
    """

    joined: Callable[[Tensor, Layer | None, Layer, bool], tuple[Tensor, Tensor]]

    def coloured(self, x: Tensor, layers: Sequence[Layer], to_rgb: Layer, keep: bool) -> tuple[Tensor, Tensor]:
        for layer in layers[:-1]:
            x = self.linear_act(x, layer.weight, layer.bias, *layer.options)
        return self.joined(x, layers[-1] if layers else None, to_rgb, keep)


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


def render(*args: Any) -> Tensor:
    """:func:`digan_fast.reference.render.render` in tiles."""
    *lists, size, window, precision = args
    levels = [lowered(level, precision) for level in assembled(*lists)]
    top, left, height, width = window
    return in_tiles(levels, size, (top, left, height, width), products_of(precision))


def in_tiles(levels: Sequence[Level], size: int, window: Window, products: Products) -> Tensor:
    """The window [B, T, C, H, W] of pictures of side ``size``."""
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
