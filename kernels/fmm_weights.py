"""``W ∘ (1 + L·R/√r)``, rows normalised (or tanh, sigmoid), and its gradients; arithmetic in float32 throughout.

The modulation L·R has low rank (r ≤ 256) and is recomputed wherever it is needed, never stored.  A row's norm, and in
the backward its product with the gradient, take a first pass over the row's tiles.  No sum is split, so results are
the same in every run.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from digan_fast.kernels._launch import on_device, precision
from digan_fast.kernels.linear_act import block_of
from digan_fast.reference import fmm_weights as reference


@triton.jit
def _factor(left, right, video, o, i, outputs, inputs, rank, scale, ACTIVATION: tl.constexpr, PRECISION: tl.constexpr,
            TILE_RANK: tl.constexpr):  # fmt: skip
    """1 + act(L·R/√r) and act'(…), [outputs, inputs]."""
    r = tl.arange(0, TILE_RANK)
    thin = tl.load(
        left + (video * outputs + o[:, None]) * rank + r[None, :],
        mask=(o[:, None] < outputs) & (r[None, :] < rank), other=0.0,
    )  # fmt: skip
    flat = tl.load(
        right + (video * rank + r[:, None]) * inputs + i[None, :],
        mask=(r[:, None] < rank) & (i[None, :] < inputs), other=0.0,
    )  # fmt: skip
    m = tl.dot(thin.to(tl.float32), flat.to(tl.float32), input_precision=PRECISION) * scale
    slope = tl.full(m.shape, 1.0, tl.float32)
    if ACTIVATION == "tanh" or ACTIVATION == "sigmoid":
        # tanh z = 2σ(2z) − 1; only its sum with 1 is used, so its cancellation near 0 does not matter.
        steep: tl.constexpr = 2.0 if ACTIVATION == "tanh" else 1.0
        s = 1.0 / (1.0 + tl.exp(-steep * m))
        m = steep * s - (1.0 if ACTIVATION == "tanh" else 0.5)
        slope = steep * steep * s * (1.0 - s)
    return m + 1.0, slope


@triton.jit
def _modulated(weight, o, i, outputs, inputs):
    inside = (o[:, None] < outputs) & (i[None, :] < inputs)
    at = o[:, None].to(tl.int64) * inputs + i[None, :]
    return tl.load(weight + at, mask=inside, other=0.0).to(tl.float32), at, inside


@triton.jit
def _forward(
    out, weight, left, right, outputs, inputs, rank, scale, ACTIVATION: tl.constexpr, PRECISION: tl.constexpr,
    TILE_ROWS: tl.constexpr, TILE_COLUMNS: tl.constexpr, TILE_RANK: tl.constexpr,
):  # fmt: skip
    o, _column, video = block_of(outputs, 1, TILE_ROWS, 1)
    total = tl.zeros((TILE_ROWS,), tl.float32)
    if ACTIVATION == "demod":
        for start in range(0, inputs, TILE_COLUMNS):
            i = start + tl.arange(0, TILE_COLUMNS)
            factor, _slope = _factor(
                left, right, video, o, i, outputs, inputs, rank, scale, ACTIVATION, PRECISION, TILE_RANK
            )
            shared, at, inside = _modulated(weight, o, i, outputs, inputs)
            v = shared * factor
            total += tl.sum(v * v, 1)
    norm = tl.sqrt(total) + 1e-8
    for start in range(0, inputs, TILE_COLUMNS):
        i = start + tl.arange(0, TILE_COLUMNS)
        factor, _slope = _factor(
            left, right, video, o, i, outputs, inputs, rank, scale, ACTIVATION, PRECISION, TILE_RANK
        )
        shared, at, inside = _modulated(weight, o, i, outputs, inputs)
        v = shared * factor
        if ACTIVATION == "demod":
            v = v / norm[:, None]
        tl.store(out + video * outputs * inputs + at, v.to(out.dtype.element_ty), mask=inside)


@triton.jit
def _raw_gradient(grad, rows, video, o, at, inside, v, outputs, inputs, ACTIVATION: tl.constexpr):
    """The gradient with respect to V = W ∘ (1 + M); for V/(‖V‖ + ε) it is g/n − V·a, n and a in ``rows`` [B, O, 2]."""
    g = tl.load(grad + video * outputs * inputs + at, mask=inside, other=0.0).to(tl.float32)
    if ACTIVATION == "demod":
        n = tl.load(rows + (video * outputs + o) * 2, mask=o < outputs, other=1.0)
        a = tl.load(rows + (video * outputs + o) * 2 + 1, mask=o < outputs, other=0.0)
        g = g / n[:, None] - v * a[:, None]
    return g


@triton.jit
def _backward_left(
    dleft, rows, grad, weight, left, right, outputs, inputs, rank, scale,
    ACTIVATION: tl.constexpr, PRECISION: tl.constexpr,
    TILE_ROWS: tl.constexpr, TILE_COLUMNS: tl.constexpr, TILE_RANK: tl.constexpr,
):  # fmt: skip
    # dleft[b, o, r] = Σ_i dM[b, o, i]·right[b, r, i]; rows[b, o] = n = ‖V‖ + ε and a = ⟨g, V⟩/(‖V‖·n²).
    o, _column, video = block_of(outputs, 1, TILE_ROWS, 1)
    r = tl.arange(0, TILE_RANK)
    squares = tl.zeros((TILE_ROWS,), tl.float32)
    along = tl.zeros((TILE_ROWS,), tl.float32)
    if ACTIVATION == "demod":
        for start in range(0, inputs, TILE_COLUMNS):
            i = start + tl.arange(0, TILE_COLUMNS)
            factor, _slope = _factor(
                left, right, video, o, i, outputs, inputs, rank, scale, ACTIVATION, PRECISION, TILE_RANK
            )
            shared, at, inside = _modulated(weight, o, i, outputs, inputs)
            v = shared * factor
            g = tl.load(grad + video * outputs * inputs + at, mask=inside, other=0.0).to(tl.float32)
            squares += tl.sum(v * v, 1)
            along += tl.sum(g * v, 1)
    norm = tl.sqrt(squares)
    n = norm + 1e-8
    a = along / (tl.where(norm > 0.0, norm, 1.0) * n) / n
    total = tl.zeros((TILE_ROWS, TILE_RANK), tl.float32)
    for start in range(0, inputs, TILE_COLUMNS):
        i = start + tl.arange(0, TILE_COLUMNS)
        factor, slope = _factor(
            left, right, video, o, i, outputs, inputs, rank, scale, ACTIVATION, PRECISION, TILE_RANK
        )
        shared, at, inside = _modulated(weight, o, i, outputs, inputs)
        g = tl.load(grad + video * outputs * inputs + at, mask=inside, other=0.0).to(tl.float32)
        if ACTIVATION == "demod":
            g = g / n[:, None] - shared * factor * a[:, None]
        across = tl.load(
            right + (video * rank + r[None, :]) * inputs + i[:, None],
            mask=(r[None, :] < rank) & (i[:, None] < inputs), other=0.0,
        )  # fmt: skip
        total = tl.dot(g * shared * slope * scale, across.to(tl.float32), total, input_precision=PRECISION)
    at = (video * outputs + o[:, None]) * rank + r[None, :]
    tl.store(dleft + at, total.to(dleft.dtype.element_ty), mask=(o[:, None] < outputs) & (r[None, :] < rank))
    tl.store(rows + (video * outputs + o) * 2, n, mask=o < outputs)
    tl.store(rows + (video * outputs + o) * 2 + 1, a, mask=o < outputs)


@triton.jit
def _backward_right(
    dright, rows, grad, weight, left, right, outputs, inputs, rank, scale,
    ACTIVATION: tl.constexpr, PRECISION: tl.constexpr,
    TILE_ROWS: tl.constexpr, TILE_COLUMNS: tl.constexpr, TILE_RANK: tl.constexpr,
):  # fmt: skip
    # dright[b, r, i] = Σ_o left[b, o, r]·dM[b, o, i].
    i, _column, video = block_of(inputs, 1, TILE_COLUMNS, 1)
    r = tl.arange(0, TILE_RANK)
    total = tl.zeros((TILE_RANK, TILE_COLUMNS), tl.float32)
    for start in range(0, outputs, TILE_ROWS):
        o = start + tl.arange(0, TILE_ROWS)
        factor, slope = _factor(
            left, right, video, o, i, outputs, inputs, rank, scale, ACTIVATION, PRECISION, TILE_RANK
        )
        shared, at, inside = _modulated(weight, o, i, outputs, inputs)
        g = _raw_gradient(grad, rows, video, o, at, inside, shared * factor, outputs, inputs, ACTIVATION)
        down = tl.load(
            left + (video * outputs + o[None, :]) * rank + r[:, None],
            mask=(o[None, :] < outputs) & (r[:, None] < rank), other=0.0,
        )  # fmt: skip
        total = tl.dot(down.to(tl.float32), g * shared * slope * scale, total, input_precision=PRECISION)
    at = (video * rank + r[:, None]) * inputs + i[None, :]
    tl.store(dright + at, total.to(dright.dtype.element_ty), mask=(r[:, None] < rank) & (i[None, :] < inputs))


@triton.jit
def _backward_weight(
    dweight, rows, grad, weight, left, right, videos, outputs, inputs, rank, scale,
    ACTIVATION: tl.constexpr, PRECISION: tl.constexpr,
    TILE_ROWS: tl.constexpr, TILE_COLUMNS: tl.constexpr, TILE_RANK: tl.constexpr,
):  # fmt: skip
    # dweight[o, i] = Σ_b g[b, o, i]·(1 + M[b, o, i]).
    o, i, first = block_of(outputs, inputs, TILE_ROWS, TILE_COLUMNS)
    shared, at, inside = _modulated(weight, o, i, outputs, inputs)
    total = tl.zeros((TILE_ROWS, TILE_COLUMNS), tl.float32)
    for _ in range(videos):
        factor, _slope = _factor(
            left, right, first, o, i, outputs, inputs, rank, scale, ACTIVATION, PRECISION, TILE_RANK
        )
        g = _raw_gradient(grad, rows, first, o, at, inside, shared * factor, outputs, inputs, ACTIVATION)
        total += g * factor
        first += 1
    tl.store(dweight + at, total.to(dweight.dtype.element_ty), mask=inside)


# Sixteen rows of a layer's weights by 64 inputs; DIGAN's rank is 10.
_TILE = {"TILE_ROWS": 16, "TILE_COLUMNS": 64, "num_warps": 4, "num_stages": 2, "enable_fp_fusion": True}


def _named(left: Tensor, activation: str) -> dict[str, object]:
    rank = max(16, triton.next_power_of_2(left.shape[2]))
    return {**_TILE, "TILE_RANK": rank, "ACTIVATION": activation, "PRECISION": precision(left.dtype)}


def fmm_weights(weight: Tensor, left: Tensor, right: Tensor, activation: str) -> Tensor:
    batch, outputs, rank = left.shape
    inputs = weight.shape[1]
    if 0 in (batch, outputs, rank, inputs):
        return reference.fmm_weights(weight, left, right, activation)
    weight, left, right = weight.contiguous(), left.contiguous(), right.contiguous()
    out = torch.empty((batch, outputs, inputs), dtype=weight.dtype, device=weight.device)
    with on_device(weight):
        _forward[(triton.cdiv(outputs, 16) * batch,)](
            out, weight, left, right, outputs, inputs, rank, rank**-0.5, **_named(left, activation)
        )
    return out


def fmm_weights_backward(
    grad: Tensor, weight: Tensor, left: Tensor, right: Tensor, out: Tensor, activation: str
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of weight [O, I], left [B, O, r] and right [B, r, I]."""
    batch, outputs, rank = left.shape
    inputs = weight.shape[1]
    if 0 in (batch, outputs, rank, inputs):
        return reference.fmm_weights_backward(grad, weight, left, right, activation)
    grad, weight, left, right = grad.contiguous(), weight.contiguous(), left.contiguous(), right.contiguous()
    dweight, dleft, dright = torch.empty_like(weight), torch.empty_like(left), torch.empty_like(right)
    rows = torch.empty((batch, outputs, 2), dtype=torch.float32, device=weight.device)
    sizes, named = (outputs, inputs, rank, rank**-0.5), _named(left, activation)
    down, across = triton.cdiv(outputs, 16), triton.cdiv(inputs, 64)
    with on_device(weight):
        _backward_left[(down * batch,)](dleft, rows, grad, weight, left, right, *sizes, **named)
        _backward_right[(across * batch,)](dright, rows, grad, weight, left, right, *sizes, **named)
        _backward_weight[(down * across,)](
            dweight, rows, grad, weight, left, right, batch, *sizes, **named | {"num_warps": 2}
        )
    return dweight, dleft, dright
