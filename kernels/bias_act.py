"""``y = clamp(act(x + b)·gain, ±clamp)`` and its gradients: one pass each, every byte moved once.

A tensor is rows × columns: the bias is per column if its dimension is the last in memory, else per row.  Fast if
columns are a multiple of 16 elements and 64 or more; any shape works.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from digan_fast.kernels._activations import finished, pre_activation_gradient
from digan_fast.kernels._launch import limits, on_device
from digan_fast.reference.activations import ACTIVATIONS


@triton.jit
def _tile(rows, columns, TILE_ROWS: tl.constexpr, TILE_COLUMNS: tl.constexpr):
    """This program's rows [R, 1], columns [1, C], elements, and which of them exist; a row's tiles are adjacent."""
    tiles = tl.cdiv(columns, TILE_COLUMNS)
    row = (tl.program_id(0) // tiles * TILE_ROWS + tl.arange(0, TILE_ROWS))[:, None]
    column = (tl.program_id(0) % tiles * TILE_COLUMNS + tl.arange(0, TILE_COLUMNS))[None, :]
    return row, column, row.to(tl.int64) * columns + column, (row < rows) & (column < columns)


@triton.jit
def _biased(x, bias, row, column, inside, channels, BIAS_OF_ROWS: tl.constexpr):
    if BIAS_OF_ROWS:
        b = tl.load(bias + row % channels)
    else:
        b = tl.load(bias + column, mask=column < channels, other=0.0)
    return x + b.to(tl.float32)


@triton.jit
def _forward(
    out, x, bias, rows, columns, channels, gain, clamp,
    ACTIVATION: tl.constexpr, CLAMPED: tl.constexpr, BIASED: tl.constexpr, BIAS_OF_ROWS: tl.constexpr,
    TILE_ROWS: tl.constexpr, TILE_COLUMNS: tl.constexpr,
):  # fmt: skip
    row, column, at, inside = _tile(rows, columns, TILE_ROWS, TILE_COLUMNS)
    z = tl.load(x + at, mask=inside, other=0.0).to(tl.float32)
    if BIASED:
        z = _biased(z, bias, row, column, inside, channels, BIAS_OF_ROWS)
    y = finished(z, gain, clamp, ACTIVATION, CLAMPED)
    tl.store(out + at, y.to(out.dtype.element_ty), mask=inside)


@triton.jit
def _backward(
    dx, sums, grad, x, bias, out, rows, columns, channels, gain, clamp,
    ACTIVATION: tl.constexpr, CLAMPED: tl.constexpr, BIASED: tl.constexpr, BIAS_OF_ROWS: tl.constexpr,
    FROM_OUTPUT: tl.constexpr, TILE_ROWS: tl.constexpr, TILE_COLUMNS: tl.constexpr,
):  # fmt: skip
    # sums: dx summed over this tile's columns [rows, column tiles], or over its rows [row tiles, columns].
    row, column, at, inside = _tile(rows, columns, TILE_ROWS, TILE_COLUMNS)
    found = tl.load(grad + at, mask=inside, other=0.0).to(tl.float32)
    y = found
    if CLAMPED or (FROM_OUTPUT and ACTIVATION != "linear"):
        y = tl.load(out + at, mask=inside, other=0.0).to(tl.float32)
    z = y
    if not FROM_OUTPUT:
        z = tl.load(x + at, mask=inside, other=0.0).to(tl.float32)
        if BIASED:
            z = _biased(z, bias, row, column, inside, channels, BIAS_OF_ROWS)
    found = pre_activation_gradient(found, z, y, gain, clamp, ACTIVATION, CLAMPED)
    found = found.to(dx.dtype.element_ty)
    tl.store(dx + at, found, mask=inside)
    found = found.to(tl.float32)
    tiles = tl.cdiv(columns, TILE_COLUMNS)
    if BIAS_OF_ROWS:
        row = tl.program_id(0) // tiles * TILE_ROWS + tl.arange(0, TILE_ROWS)
        at = row.to(tl.int64) * tiles + tl.program_id(0) % tiles
        tl.store(sums + at, tl.sum(found, 1), mask=row < rows)
    else:
        column = tl.program_id(0) % tiles * TILE_COLUMNS + tl.arange(0, TILE_COLUMNS)
        at = (tl.program_id(0) // tiles).to(tl.int64) * columns + column
        tl.store(sums + at, tl.sum(found, 0), mask=column < columns)


def _view(shape: torch.Size, dim: int, itemsize: int) -> tuple[int, int, bool, int, int]:
    """Rows and columns of a contiguous tensor, whether the bias is per row, and the tile: 16 bytes × 4 per thread."""
    inner = math.prod(shape[dim + 1 :])
    of_rows = inner > 1
    columns = inner if of_rows else shape[dim]
    elements = 2048 if itemsize == 4 else 4096
    width = min(triton.next_power_of_2(columns), elements // 4)
    return math.prod(shape) // max(1, columns), columns, of_rows, elements // width, width


def _arguments(like: Tensor, dim: int, activation: str, gain: float, clamp: float | None) -> tuple[Any, ...]:
    rows, columns, of_rows, tile_rows, tile_columns = _view(like.shape, dim, like.element_size())
    limit, clamped = limits(clamp, like.dtype)
    named = {"ACTIVATION": activation, "CLAMPED": clamped, "BIAS_OF_ROWS": of_rows}
    named |= {"TILE_ROWS": tile_rows, "TILE_COLUMNS": tile_columns, "num_warps": 4, "enable_fp_fusion": True}
    grid = (triton.cdiv(rows, tile_rows), triton.cdiv(columns, tile_columns))
    return grid, (rows, columns, like.shape[dim], gain, limit), named


def _is_last(tensor: Tensor, dim: int) -> bool:
    """Whether a picture's channels are last in memory."""
    last = tensor.ndim == 4 and tensor.is_contiguous(memory_format=torch.channels_last)
    return dim == 1 and last and not tensor.is_contiguous()


def bias_act(x: Tensor, bias: Tensor | None, dim: int, activation: str, gain: float, clamp: float | None) -> Tensor:
    if _is_last(x, dim):
        return bias_act(x.movedim(1, 3), bias, 3, activation, gain, clamp).movedim(3, 1)
    x, bias = x.contiguous(), None if bias is None else bias.contiguous()
    out = torch.empty_like(x)
    if out.numel():
        tiles, sizes, named = _arguments(x, dim, activation, gain, clamp)
        with on_device(x):
            _forward[(tiles[0] * tiles[1],)](out, x, bias, *sizes, BIASED=bias is not None, **named)
    return out


def bias_act_backward(
    grad: Tensor,
    x: Tensor | None,
    bias: Tensor | None,
    out: Tensor,
    dim: int,
    activation: str,
    gain: float,
    clamp: float | None,
) -> tuple[Tensor, Tensor]:
    if _is_last(out, dim):
        last = None if x is None else x.movedim(1, 3)
        dx, dbias = bias_act_backward(grad.movedim(1, 3), last, bias, out.movedim(1, 3), 3, activation, gain, clamp)
        return dx.movedim(3, 1), dbias
    grad, out = grad.contiguous(), out.contiguous()
    from_output = ACTIVATIONS[activation].homogeneous
    x = None if x is None or from_output else x.contiguous()
    bias = None if bias is None or from_output else bias.contiguous()
    dx, channels = torch.empty_like(out), out.shape[dim]
    if not out.numel():
        return dx, grad.new_zeros(channels)
    tiles, sizes, named = _arguments(out, dim, activation, gain, clamp)
    rows, columns = sizes[:2]
    shape = (rows // channels, channels, tiles[1]) if named["BIAS_OF_ROWS"] else (tiles[0], columns, 1)
    sums = torch.empty(shape, dtype=torch.float32, device=out.device)
    named |= {"BIASED": bias is not None, "FROM_OUTPUT": from_output}
    with on_device(out):
        _backward[(tiles[0] * tiles[1],)](dx, sums, grad, x, bias, out, *sizes, **named)
    return dx, sums.sum((0, 2)).to(out.dtype)
