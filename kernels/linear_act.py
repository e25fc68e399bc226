"""``y = clamp(act(x·Wᵀ + b)·gain, ±clamp)``, one weight set per video, and its gradients.

Bias, activation, gain and clamp are applied to the accumulator, and so is a rendering's to-RGB: a tile stores its
sums over the tile's outputs.  The gradient by z is computed where the output's gradient and the output are read and
never stored (except for ``sine``, whose derivative needs z: once).  Sums over rows are computed in parts and added in
a fixed order, so results are the same in every run.  Fast if inputs and outputs are multiples of 16.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from digan_fast.kernels._activations import finished, gradient_tile, pre_activation_gradient
from digan_fast.kernels._configurations import splits, tile
from digan_fast.kernels._launch import limits, on_device, precision
from digan_fast.kernels._products import product
from digan_fast.levels import Layer
from digan_fast.reference import linear_act as reference
from digan_fast.reference.activations import ACTIVATIONS


@triton.jit
def block_of(rows, columns, TILE_ROWS: tl.constexpr, TILE_COLUMNS: tl.constexpr):
    """This program's rows, columns and batch entry; blocks of the same rows are consecutive."""
    across, down = tl.cdiv(columns, TILE_COLUMNS), tl.cdiv(rows, TILE_ROWS)
    block = tl.program_id(0)
    row = block // across % down * TILE_ROWS + tl.arange(0, TILE_ROWS)
    column = block % across * TILE_COLUMNS + tl.arange(0, TILE_COLUMNS)
    return row, column, (block // across // down).to(tl.int64)


@triton.jit
def _forward(
    out, x, weight, bias, grad, y, rgb, rgb_bias, parts, videos, rows, outputs, inputs, colours, x_video, bias_video,
    gain, clamp, rgb_gain, ACTIVATION: tl.constexpr, CLAMPED: tl.constexpr, BIASED: tl.constexpr,
    GRADIENT: tl.constexpr, STORED: tl.constexpr, COLOURED: tl.constexpr,
    PRECISION: tl.constexpr, TILE_ROWS: tl.constexpr, TILE_COLUMNS: tl.constexpr, TILE_DEPTH: tl.constexpr,
):  # fmt: skip
    # out[b, m, o] = act(Σ_i x[b, m, i]·weight[b, o, i] + bias[o]); with GRADIENT grad·act'(…) where y is not clamped.
    # parts[s, b, m, c] = Σ_o out[b, m, o]·rgb[b, c, o]·rgb_gain over the outputs of column tile s; one has the bias.
    m, o, video = block_of(rows, outputs, TILE_ROWS, TILE_COLUMNS)
    i = tl.arange(0, TILE_DEPTH)
    x_at = x + video * x_video + m[:, None].to(tl.int64) * inputs + i[None, :]
    weight_at = weight + (video * outputs + o[None, :]) * inputs + i[:, None]
    total = tl.zeros((TILE_ROWS, TILE_COLUMNS), tl.float32)
    for start in range(0, inputs, TILE_DEPTH):
        left = tl.load(x_at, mask=(m[:, None] < rows) & (i[None, :] < inputs - start), other=0.0)
        right = tl.load(weight_at, mask=(o[None, :] < outputs) & (i[:, None] < inputs - start), other=0.0)
        total = product(left.to(right.dtype), right, total, PRECISION)
        x_at += TILE_DEPTH
        weight_at += TILE_DEPTH
    if BIASED:
        total += tl.load(bias + video * bias_video + o, mask=o < outputs, other=0.0).to(tl.float32)[None, :]
    at = (video * rows + m[:, None]) * outputs + o[None, :]
    inside = (m[:, None] < rows) & (o[None, :] < outputs)
    if GRADIENT:
        dy = tl.load(grad + at, mask=inside, other=0.0).to(tl.float32)
        before = dy
        if CLAMPED:
            before = tl.load(y + at, mask=inside, other=0.0).to(tl.float32)
        result = pre_activation_gradient(dy, total, before, gain, clamp, ACTIVATION, CLAMPED)
    else:
        result = finished(total, gain, clamp, ACTIVATION, CLAMPED)
    stored = result.to(out.dtype.element_ty)
    if STORED:
        tl.store(out + at, stored, mask=inside)
    if COLOURED:
        column = tl.program_id(0) % tl.cdiv(outputs, TILE_COLUMNS)
        part = (column * videos + video) * rows + m
        for colour in range(colours):
            mixing = tl.load(rgb + (video * colours + colour) * outputs + o, mask=o < outputs, other=0.0)
            found = tl.sum(stored.to(tl.float32) * mixing.to(tl.float32)[None, :], 1)
            found += tl.where(column == 0, tl.load(rgb_bias + colour).to(tl.float32), 0.0)
            tl.store(parts + part * colours + colour, found * rgb_gain, mask=m < rows)


@triton.jit
def _backward_x(
    dx, grad, out, weight, rows, outputs, inputs, gain, clamp,
    ACTIVATION: tl.constexpr, CLAMPED: tl.constexpr, PRECISION: tl.constexpr,
    TILE_ROWS: tl.constexpr, TILE_COLUMNS: tl.constexpr, TILE_DEPTH: tl.constexpr,
):  # fmt: skip
    # dx[b, m, i] = Σ_o dz[b, m, o]·weight[b, o, i].
    m, i, video = block_of(rows, inputs, TILE_ROWS, TILE_COLUMNS)
    o = tl.arange(0, TILE_DEPTH)
    at = (video * rows + m[:, None]) * outputs + o[None, :]
    weight_at = weight + (video * outputs + o[:, None]) * inputs + i[None, :]
    total = tl.zeros((TILE_ROWS, TILE_COLUMNS), tl.float32)
    for start in range(0, outputs, TILE_DEPTH):
        inside = (m[:, None] < rows) & (o[None, :] < outputs - start)
        dz = gradient_tile(grad, out, at + start, inside, gain, clamp, ACTIVATION, CLAMPED)
        right = tl.load(weight_at, mask=(o[:, None] < outputs - start) & (i[None, :] < inputs), other=0.0)
        total = product(dz.to(right.dtype), right, total, PRECISION)
        weight_at += TILE_DEPTH * inputs
    at = (video * rows + m[:, None]) * inputs + i[None, :]
    tl.store(dx + at, total.to(dx.dtype.element_ty), mask=(m[:, None] < rows) & (i[None, :] < inputs))


@triton.jit
def _backward_weight(
    dweight, dbias, grad, out, x, videos, rows, outputs, inputs, x_video, part_rows, gain, clamp,
    ACTIVATION: tl.constexpr, CLAMPED: tl.constexpr, PRECISION: tl.constexpr,
    TILE_ROWS: tl.constexpr, TILE_COLUMNS: tl.constexpr, TILE_DEPTH: tl.constexpr,
):  # fmt: skip
    # dweight[s, b, o, i] = Σ_m dz[b, m, o]·x[b, m, i] and dbias[s, b, o] = Σ_m dz[b, m, o] over the rows of part s.
    o, i, video = block_of(outputs, inputs, TILE_ROWS, TILE_COLUMNS)
    part = tl.program_id(1)
    first = part * part_rows
    m = first + tl.arange(0, TILE_DEPTH)
    end = tl.minimum(rows, first + part_rows)
    at = (video * rows + m[:, None]) * outputs + o[None, :]
    x_at = x + video * x_video + m[:, None].to(tl.int64) * inputs + i[None, :]
    total = tl.zeros((TILE_ROWS, TILE_COLUMNS), tl.float32)
    sums = tl.zeros((TILE_ROWS,), tl.float32)
    for start in range(first, end, TILE_DEPTH):
        exists = m[:, None] - first < end - start
        dz = gradient_tile(grad, out, at, exists & (o[None, :] < outputs), gain, clamp, ACTIVATION, CLAMPED)
        right = tl.load(x_at, mask=exists & (i[None, :] < inputs), other=0.0)
        rounded = dz.to(right.dtype)
        total = product(tl.trans(rounded), right, total, PRECISION)
        sums += tl.sum(rounded.to(tl.float32), 0)
        at += TILE_DEPTH * outputs
        x_at += TILE_DEPTH * inputs
    row = (part * videos + video) * outputs
    inside = (o[:, None] < outputs) & (i[None, :] < inputs)
    tl.store(dweight + (row + o[:, None]) * inputs + i[None, :], total.to(dweight.dtype.element_ty), mask=inside)
    tl.store(dbias + row + o, sums, mask=(o < outputs) & (tl.program_id(0) % tl.cdiv(inputs, TILE_COLUMNS) == 0))


def _rows(x: Tensor) -> Tensor:
    """x as [B, M, I] with contiguous rows; one set of rows may be expanded over the videos."""
    flat = x.flatten(1, -2) if x.ndim > 2 else x
    return flat if flat[0].is_contiguous() else flat.contiguous()


def _run_forward(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    activation: str,
    gain: float,
    clamp: float | None,
    grad: Tensor | None = None,
    y: Tensor | None = None,
    to_rgb: Layer | None = None,
    keep: bool = True,
) -> tuple[Tensor, Tensor]:
    """From x [B, M, I]: y, or the gradient by z if y and its gradient are given, [B, M, O]; to-RGB's sums [S, B, M, C].

    x may be narrower than the weights, whose type the products and y have; y is empty unless ``keep``.
    """
    batch, rows, inputs = x.shape
    outputs, dtype, colours = weight.shape[1], weight.dtype, 0 if to_rgb is None else to_rgb.weight.shape[1]
    rgb, rgb_bias = (None, None) if to_rgb is None else (to_rgb.weight.contiguous(), to_rgb.bias.contiguous())
    out = torch.empty((batch, rows, outputs if keep else 0), dtype=dtype, device=x.device)
    how = precision(dtype)
    chosen = tile("product", dtype, how, rows, outputs, inputs)
    limit, clamped = limits(clamp, dtype)
    parts = x.new_empty((triton.cdiv(outputs, chosen.columns), batch, rows, colours), dtype=torch.float32)
    grid = (triton.cdiv(rows, chosen.rows) * triton.cdiv(outputs, chosen.columns) * batch,)
    bias_video = outputs if bias is not None and bias.ndim == 2 else 0
    _forward[grid](
        out, x, weight, bias, grad, y, rgb, rgb_bias, parts, batch, rows, outputs, inputs, colours, x.stride(0),
        bias_video, gain, limit, 1.0 if to_rgb is None else to_rgb.gain, ACTIVATION=activation, CLAMPED=clamped,
        BIASED=bias is not None, GRADIENT=grad is not None, STORED=keep, COLOURED=rgb is not None, PRECISION=how,
        **chosen.named(),
    )  # fmt: skip
    return out, parts


def linear_act(
    x: Tensor, weight: Tensor, bias: Tensor | None, activation: str, gain: float, clamp: float | None
) -> Tensor:
    shape = (*x.shape[:-1], weight.shape[1])
    if 0 in (*shape, x.shape[-1]):
        return reference.linear_act(x, weight, bias, activation, gain, clamp)
    bias = None if bias is None else bias.contiguous()
    with on_device(x):
        return _run_forward(_rows(x), weight.contiguous(), bias, activation, gain, clamp)[0].view(shape)


def coloured(x: Tensor, layer: Layer | None, to_rgb: Layer, keep: bool) -> tuple[Tensor, Tensor]:
    """A layer's outputs, if ``keep``, and their to-RGB's colours, in to-RGB's type; without a layer, those of x."""
    if layer is None or to_rgb.activation != "linear" or to_rgb.clamp is not None:
        x = x if layer is None else linear_act(x, layer.weight, layer.bias, *layer.options)
        with on_device(x):
            weight, bias = to_rgb.weight.contiguous(), to_rgb.bias.contiguous()
            colours, _ = _run_forward(_rows(x), weight, bias, *to_rgb.options)
        return x, colours.view((*x.shape[:-1], -1))
    with on_device(x):
        weight, bias = layer.weight.contiguous(), layer.bias.contiguous()
        y, parts = _run_forward(_rows(x), weight, bias, *layer.options, to_rgb=to_rgb, keep=keep)
        colours = parts[0] if len(parts) == 1 else parts.sum(0)
    shape = x.shape[:-1]
    return y.view((*shape, y.shape[-1])), colours.to(to_rgb.weight.dtype).view((*shape, -1))


def linear_act_backward(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    out: Tensor,
    activation: str,
    gain: float,
    clamp: float | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of x, weight [B, O, I] and bias, [O] if there is none."""
    if 0 in (*x.shape, weight.shape[1]):
        return reference.linear_act_backward(grad, x, weight, bias, out, activation, gain, clamp)
    flat, weight = _rows(x), weight.contiguous()
    grad, out = grad.flatten(1, -2).contiguous(), out.flatten(1, -2).contiguous()
    bias = None if bias is None else bias.contiguous()
    with on_device(x):
        if not ACTIVATIONS[activation].homogeneous:
            grad, _ = _run_forward(flat, weight, bias, activation, gain, clamp, grad, out)
            activation, gain, clamp = "linear", 1.0, None
        kept = None if activation == "linear" and clamp is None else out
        dx = _run_backward_x(grad, weight, kept, activation, gain, clamp)
        dweight, dbias = _run_backward_weight(grad, flat, weight, kept, activation, gain, clamp)
    over = 0 if bias is not None and bias.ndim == 2 else (0, 1)
    return dx.view(x.shape), dweight, dbias.sum(over).to(grad.dtype)


def _run_backward_x(grad: Tensor, weight: Tensor, out: Tensor | None, activation: str, *options: Any) -> Tensor:
    batch, rows, outputs = grad.shape
    inputs, how, (gain, clamp) = weight.shape[2], precision(grad.dtype), options
    dx = torch.empty((batch, rows, inputs), dtype=grad.dtype, device=grad.device)
    limit, clamped = limits(clamp, grad.dtype)
    chosen = tile("gradient", grad.dtype, how, rows, inputs, outputs)
    grid = (triton.cdiv(rows, chosen.rows) * triton.cdiv(inputs, chosen.columns) * batch,)
    _backward_x[grid](
        dx, grad, out, weight, rows, outputs, inputs, gain, limit,
        ACTIVATION=activation, CLAMPED=clamped, PRECISION=how, **chosen.named(),
    )  # fmt: skip
    return dx


def _run_backward_weight(
    grad: Tensor, x: Tensor, weight: Tensor, out: Tensor | None, activation: str, *options: Any
) -> tuple[Tensor, Tensor]:
    """The gradient of the weight, and the sums [parts, B, O] for that of the bias."""
    batch, rows, outputs = grad.shape
    inputs, how, (gain, clamp) = weight.shape[2], precision(grad.dtype), options
    limit, clamped = limits(clamp, grad.dtype)
    chosen = tile("gradient", grad.dtype, how, outputs, inputs, rows)
    blocks = triton.cdiv(outputs, chosen.rows) * triton.cdiv(inputs, chosen.columns) * batch
    parts = splits(blocks, rows, chosen.depth)
    part_rows = triton.cdiv(triton.cdiv(rows, parts), chosen.depth) * chosen.depth
    parts = triton.cdiv(rows, part_rows)
    kind = weight.dtype if parts == 1 else torch.float32
    dweight = torch.empty((parts, *weight.shape), dtype=kind, device=x.device)
    dbias = torch.empty((parts, batch, outputs), dtype=torch.float32, device=x.device)
    _backward_weight[blocks, parts](
        dweight, dbias, grad, out, x, batch, rows, outputs, inputs, x.stride(0), part_rows, gain, limit,
        ACTIVATION=activation, CLAMPED=clamped, PRECISION=how, **chosen.named(),
    )  # fmt: skip
    return (dweight[0] if parts == 1 else dweight.sum(0).to(weight.dtype)), dbias
