"""Rendering in tiles, which bounds its memory, with the last layer of a level joined with its to-RGB."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from digan_fast.levels import Layer, Level, Window, assembled
from digan_fast.reference.render import Products, evaluate, lowered, products_of

# Frames × pixels evaluated at once.  On a CPU, one activation of 256 channels is 8 MiB, so it stays in L3; a GPU
# needs work for all of its multiprocessors.
TILE_PIXELS = 8192
DEVICE_TILE_PIXELS = 1 << 20


@dataclass(frozen=True)
class JoinedProducts(Products):
    """``joined(x, layer, to_rgb, keep)`` computes the outputs of a level's last layer and the colours at once.

    The layer is None if x is the input of to-RGB; outputs that are not kept may be omitted.
    """

    joined: Callable[[Tensor, Layer | None, Layer, bool], tuple[Tensor, Tensor]]

    def coloured(self, x: Tensor, layers: Sequence[Layer], to_rgb: Layer, keep: bool) -> tuple[Tensor, Tensor]:
        for layer in layers[:-1]:
            x = self.linear_act(x, layer.weight, layer.bias, *layer.options)
        return self.joined(x, layers[-1] if layers else None, to_rgb, keep)


def tiles(frames: int, window: Window, alignment: int, budget: int) -> Iterator[tuple[slice, Window]]:
    """Cut frames × window into parts of about ``budget`` pixels, with edges at multiples of ``alignment``."""
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


def in_parts(
    out: Tensor,
    levels: Sequence[Level],
    size: int,
    window: Window,
    budget: int,
    run: Callable[[Sequence[Level], Window], Tensor],
) -> Tensor:
    """Assembles ``out`` [B, T, C, H, W] from parts of about ``budget`` pixels: ``run(levels at some times, tile)``.

    If one part is the whole, it is the result of ``run`` itself.
    """
    top, left = window[:2]
    parts = list(tiles(out.shape[1], window, size // levels[0].side, budget))
    if len(parts) == 1:
        return run(levels, window)
    for frames, tile in parts:
        rows = slice(tile[0] - top, tile[0] - top + tile[2])
        columns = slice(tile[1] - left, tile[1] - left + tile[3])
        out[:, frames, :, rows, columns] = run([level.frames(frames) for level in levels], tile)
    return out


def render(*args: Any) -> Tensor:
    """:func:`digan_fast.reference.render.render` in tiles."""
    *lists, size, window, precision = args
    levels = [lowered(level, precision) for level in assembled(*lists)]
    top, left, height, width = window
    return in_tiles(levels, size, (top, left, height, width), products_of(precision))


def in_tiles(levels: Sequence[Level], size: int, window: Window, products: Products) -> Tensor:
    """The window [B, T, C, H, W] of pictures of side ``size``."""
    phase, to_rgb = levels[0].phase, levels[-1].to_rgb.weight
    assert phase is not None
    out = to_rgb.new_empty((*phase.shape[:2], to_rgb.shape[1], *window[2:]))
    budget = (TILE_PIXELS if to_rgb.device.type == "cpu" else DEVICE_TILE_PIXELS) // max(1, len(out))
    return in_parts(out, levels, size, window, budget, lambda some, tile: evaluate(some, size, tile, products))
