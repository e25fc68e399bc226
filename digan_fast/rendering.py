"""Evaluating the levels of an INR on a window: ancestors, tiles."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, SupportsIndex

from torch import Tensor

from digan_fast.reference.coord_linear import upsample

if TYPE_CHECKING:
    from digan_fast.inr import Level

# Frames × pixels evaluated at once without gradients: one activation of 256 channels is 8 MiB, so that it stays in L3.
TILE_PIXELS = 8192

Window = tuple[int, int, int, int]


def evaluate(levels: Sequence[Level], times: Tensor, resolution: int, size: int, window: Window) -> Tensor:
    """The window [B, T, C, H, W] of a picture of side ``size``, where ``resolution`` is the side at scale 1.

    Every level is evaluated on the ancestors of the window's pixels alone.
    """
    top, left, height, width = window
    x = image = None
    factor = 1
    for level in levels:
        side = level.side * size // resolution
        factor = size // side
        row, rows = _ancestors(top, height, factor)
        column, columns = _ancestors(left, width, factor)
        grid = (side, row, column, rows, columns)
        x = level.first_layer(x, times, grid)
        for layer in level.layers[1:]:
            x = layer(x)
        colours = level.to_rgb(x.to(level.to_rgb.weight.dtype))
        if image is not None and level.coordinates is not None:
            image = upsample(image, grid)
        image = colours if image is None else image + colours
    assert image is not None
    while factor > 1:
        factor //= 2
        row, rows = _ancestors(top, height, factor)
        column, columns = _ancestors(left, width, factor)
        image = upsample(image, (size // factor, row, column, rows, columns))
    return image.movedim(-1, 2)


def _ancestors(start: int, extent: int, factor: int) -> tuple[int, int]:
    """First and count of the cells, ``factor`` times coarser, under ``extent`` pixels from ``start``."""
    first = start // factor
    return first, -(-(start + extent) // factor) - first


def checked_window(window: Window | None, size: int) -> Window:
    if window is None:
        return (0, 0, size, size)
    whole = len(window) == 4 and all(isinstance(extent, SupportsIndex) for extent in window)
    if not whole or window[2] < 1 or window[3] < 1:
        raise ValueError(f"window: {window}, expected integers (top, left, height ≥ 1, width ≥ 1)")
    top, left, height, width = (operator.index(extent) for extent in window)
    return (top, left, height, width)


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
