"""``act(W·[sin θ, cos θ] + up(base) + b)·gain``, θ = F·(x, y) + φ(t): sines are computed in registers, never stored.

A tile is pixels of one frame by outputs; its sines and cosines, the left operands, are computed from the coordinates,
so that only base, weights and output move.  With a base, pixels are ordered in fours, the children of one base pixel,
so that a tile reads each of its base pixels once.  Backward: dW = dzᵀ·[S, C] recomputes the sines;
dθ = (dz·W_s)∘C − (dz·W_c)∘S is summed over a tile's pixels, by itself and times x and y, before it is stored.  All
sums have a fixed order.  Fast if sinusoids and outputs are multiples of 16.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from digan_fast.kernels._activations import finished, gradient_tile, sin_cos
from digan_fast.kernels._configurations import splits, tile
from digan_fast.kernels._launch import limits, on_device, precision
from digan_fast.kernels._products import product
from digan_fast.kernels.linear_act import block_of
from digan_fast.reference import coord_linear as reference


@triton.jit
def place(row, column, left, bottom, scale):
    """The coordinates of pixels of the rectangle: x to the right, y upwards, in [−1, 1) inside the picture."""
    x = tl.fma((left + column).to(tl.float32), scale, -1.0)
    y = tl.fma((bottom - row).to(tl.float32), scale, -1.0)
    return x, y


@triton.jit
def pixels_of(m, height, width, row_offset, column_offset, base_width, BASED: tl.constexpr):
    """Row and column of pixels m, and which exist: row by row, or the children of base pixel m // 4 in turn."""
    if BASED:
        row = m // 4 // base_width * 2 + m % 4 // 2 - row_offset
        column = m // 4 % base_width * 2 + m % 2 - column_offset
    else:
        row, column = m // width, m % width
    return row, column, (row >= 0) & (row < height) & (column >= 0) & (column < width)


@triton.jit
def repeated(above):
    """[M/4, C] → [M, C]: repeats each base pixel's row for its four children."""
    four = tl.broadcast_to(above[:, None, :], (above.shape[0], 4, above.shape[1]))
    return tl.reshape(four, (above.shape[0] * 4, above.shape[1]))


@triton.jit
def features_of(x, y, frequency, phases, video, k, sinusoids):
    """sin θ and cos θ, [pixels, sinusoids], from columns x and y and phases [1 or pixels, sinusoids]."""
    at = frequency + (video * sinusoids + k) * 2
    across = tl.load(at, mask=k < sinusoids, other=0.0).to(tl.float32)[None, :]
    up = tl.load(at + 1, mask=k < sinusoids, other=0.0).to(tl.float32)[None, :]
    return sin_cos(tl.fma(y[:, None], up, tl.fma(x[:, None], across, phases)))


@triton.jit
def _forward(
    out, base, frequency, phase, weight, bias, frames, outputs, sinusoids, left, bottom, height, width, scale,
    row_offset, column_offset, base_height, base_width, gain, clamp,
    ACTIVATION: tl.constexpr, CLAMPED: tl.constexpr, BASED: tl.constexpr, BIASED: tl.constexpr,
    PRECISION: tl.constexpr, TILE_ROWS: tl.constexpr, TILE_COLUMNS: tl.constexpr, TILE_DEPTH: tl.constexpr,
):  # fmt: skip
    pixels, above = height * width, base_height * base_width
    m, o, frame = block_of(above * 4 if BASED else pixels, outputs, TILE_ROWS, TILE_COLUMNS)
    video = frame // frames
    row, column, exists = pixels_of(m, height, width, row_offset, column_offset, base_width, BASED)
    x, y = place(row, column, left, bottom, scale)
    k = tl.arange(0, TILE_DEPTH)
    weight_at = weight + (video * outputs + o[None, :]) * sinusoids * 2 + k[:, None]
    total = tl.zeros((TILE_ROWS, TILE_COLUMNS), tl.float32)
    for start in range(0, sinusoids, TILE_DEPTH):
        inside = (k[:, None] < sinusoids - start) & (o[None, :] < outputs)
        by_sine = tl.load(weight_at, mask=inside, other=0.0)
        by_cosine = tl.load(weight_at + sinusoids, mask=inside, other=0.0)
        at = start + k
        phases = tl.load(phase + frame * sinusoids + at, mask=at < sinusoids, other=0.0).to(tl.float32)[None, :]
        sine, cosine = features_of(x, y, frequency, phases, video, at, sinusoids)
        total = product(sine.to(by_sine.dtype), by_sine, total, PRECISION)
        total = product(cosine.to(by_sine.dtype), by_cosine, total, PRECISION)
        weight_at += TILE_DEPTH
    if BASED:
        a, _o, _frame = block_of(above, outputs, TILE_ROWS // 4, TILE_COLUMNS)
        inside = (a[:, None] < above) & (o[None, :] < outputs)
        at = (frame * above + a[:, None]) * outputs + o[None, :]
        total += repeated(tl.load(base + at, mask=inside, other=0.0)).to(tl.float32)
    if BIASED:
        total += tl.load(bias + o, mask=o < outputs, other=0.0).to(tl.float32)[None, :]
    inside = exists[:, None] & (o[None, :] < outputs)
    at = (frame * pixels + (row * width + column)[:, None]) * outputs + o[None, :]
    tl.store(out + at, finished(total, gain, clamp, ACTIVATION, CLAMPED).to(out.dtype.element_ty), mask=inside)


@triton.jit
def _backward_base(
    dbase, grad, out, outputs, height, width, row_offset, column_offset, base_height, base_width, gain, clamp,
    ACTIVATION: tl.constexpr, CLAMPED: tl.constexpr, TILE_ROWS: tl.constexpr, TILE_COLUMNS: tl.constexpr,
):  # fmt: skip
    # dbase[n, i, j, o] = Σ dz over the up to four children of base pixel (i, j).
    pixels = base_height * base_width
    m, o, frame = block_of(pixels, outputs, TILE_ROWS, TILE_COLUMNS)
    exists = (m[:, None] < pixels) & (o[None, :] < outputs)
    total = tl.zeros((TILE_ROWS, TILE_COLUMNS), tl.float32)
    for child in tl.static_range(4):
        row = m // base_width * 2 + child // 2 - row_offset
        column = m % base_width * 2 + child % 2 - column_offset
        inside = ((row >= 0) & (row < height) & (column >= 0) & (column < width))[:, None] & exists
        at = ((frame * height + row) * width + column)[:, None] * outputs + o[None, :]
        total += gradient_tile(grad, out, at, inside, gain, clamp, ACTIVATION, CLAMPED)
    at = (frame * pixels + m[:, None]) * outputs + o[None, :]
    tl.store(dbase + at, total.to(dbase.dtype.element_ty), mask=exists)


@triton.jit
def _backward_weight(
    dweight, dbias, grad, out, frequency, phase, videos, frames, outputs, sinusoids, left, bottom, height, width, scale,
    part_rows, gain, clamp, ACTIVATION: tl.constexpr, CLAMPED: tl.constexpr, PRECISION: tl.constexpr,
    TILE_ROWS: tl.constexpr, TILE_COLUMNS: tl.constexpr, TILE_DEPTH: tl.constexpr,
):  # fmt: skip
    # dweight[s, b, o, k] = Σ_m dz[b, m, o]·sin θ[b, m, k], with cos θ at K + k; m over the frames' pixels in part s.
    o, k, video = block_of(outputs, sinusoids, TILE_ROWS, TILE_COLUMNS)
    pixels = height * width
    rows = frames * pixels
    part = tl.program_id(1)
    first = part * part_rows
    end = tl.minimum(rows, first + part_rows)
    by_sine = tl.zeros((TILE_ROWS, TILE_COLUMNS), tl.float32)
    by_cosine = tl.zeros((TILE_ROWS, TILE_COLUMNS), tl.float32)
    sums = tl.zeros((TILE_ROWS,), tl.float32)
    for start in range(first, end, TILE_DEPTH):
        m = start + tl.arange(0, TILE_DEPTH)
        exists = m[:, None] < end
        at = (video * rows + m[:, None]) * outputs + o[None, :]
        dz = gradient_tile(grad, out, at, exists & (o[None, :] < outputs), gain, clamp, ACTIVATION, CLAMPED)
        rounded = dz.to(grad.dtype.element_ty)
        sums += tl.sum(rounded.to(tl.float32), 0)
        x, y = place(m % pixels // width, m % width, left, bottom, scale)
        phases = phase + (video * frames + (m // pixels)[:, None]) * sinusoids + k[None, :]
        phases = tl.load(phases, mask=exists & (k[None, :] < sinusoids), other=0.0).to(tl.float32)
        sine, cosine = features_of(x, y, frequency, phases, video, k, sinusoids)
        across = tl.trans(rounded)
        by_sine = product(across, sine.to(rounded.dtype), by_sine, PRECISION)
        by_cosine = product(across, cosine.to(rounded.dtype), by_cosine, PRECISION)
    row = (part * videos + video) * outputs
    inside = (o[:, None] < outputs) & (k[None, :] < sinusoids)
    to = dweight + (row + o[:, None]) * sinusoids * 2 + k[None, :]
    tl.store(to, by_sine.to(dweight.dtype.element_ty), mask=inside)
    tl.store(to + sinusoids, by_cosine.to(dweight.dtype.element_ty), mask=inside)
    tl.store(dbias + row + o, sums, mask=(o < outputs) & (tl.program_id(0) % tl.cdiv(sinusoids, TILE_COLUMNS) == 0))


@triton.jit
def _backward_theta(
    sums, grad, out, frequency, phase, weight, frames, outputs, sinusoids, left, bottom, height, width, scale,
    gain, clamp, ACTIVATION: tl.constexpr, CLAMPED: tl.constexpr, PRECISION: tl.constexpr,
    TILE_ROWS: tl.constexpr, TILE_COLUMNS: tl.constexpr, TILE_DEPTH: tl.constexpr,
):  # fmt: skip
    # sums[n, pixel tile, 3, k] = Σ_m dθ, Σ_m dθ·x, Σ_m dθ·y over the tile's pixels.
    pixels = height * width
    m, k, frame = block_of(pixels, sinusoids, TILE_ROWS, TILE_COLUMNS)
    video = frame // frames
    o = tl.arange(0, TILE_DEPTH)
    at = (frame * pixels + m[:, None]) * outputs + o[None, :]
    weight_at = weight + (video * outputs + o[:, None]) * sinusoids * 2 + k[None, :]
    by_sine = tl.zeros((TILE_ROWS, TILE_COLUMNS), tl.float32)
    by_cosine = tl.zeros((TILE_ROWS, TILE_COLUMNS), tl.float32)
    for start in range(0, outputs, TILE_DEPTH):
        inside = (m[:, None] < pixels) & (o[None, :] < outputs - start)
        exists = (o[:, None] < outputs - start) & (k[None, :] < sinusoids)
        right_sine = tl.load(weight_at, mask=exists, other=0.0)
        right_cosine = tl.load(weight_at + sinusoids, mask=exists, other=0.0)
        dz = gradient_tile(grad, out, at + start, inside, gain, clamp, ACTIVATION, CLAMPED).to(right_sine.dtype)
        by_sine = product(dz, right_sine, by_sine, PRECISION)
        by_cosine = product(dz, right_cosine, by_cosine, PRECISION)
        weight_at += TILE_DEPTH * sinusoids * 2
    x, y = place(m // width, m % width, left, bottom, scale)
    phases = tl.load(phase + frame * sinusoids + k, mask=k < sinusoids, other=0.0).to(tl.float32)[None, :]
    sine, cosine = features_of(x, y, frequency, phases, video, k, sinusoids)
    dtheta = by_sine * cosine - by_cosine * sine
    tiles = tl.cdiv(pixels, TILE_ROWS)
    block = tl.program_id(0) // tl.cdiv(sinusoids, TILE_COLUMNS) % tiles
    to = sums + (frame * tiles + block) * 3 * sinusoids + k
    tl.store(to, tl.sum(dtheta, 0), mask=k < sinusoids)
    tl.store(to + sinusoids, tl.sum(dtheta * x[:, None], 0), mask=k < sinusoids)
    tl.store(to + 2 * sinusoids, tl.sum(dtheta * y[:, None], 0), mask=k < sinusoids)


def rectangle(grid: Sequence[int]) -> tuple[Any, ...]:
    """Left, bottom, height, width and the step of the coordinates."""
    side, top, left, height, width = grid
    return left, side - 1 - top, height, width, 2 / side


def _ancestors(base: Tensor | None, grid: Sequence[int]) -> tuple[int, int, int, int]:
    """Where the rectangle begins within its upsampled ancestors, and the ancestors' extents."""
    return (grid[1] % 2, grid[2] % 2, *(base.shape[2:4] if base is not None else (1, 1)))


def _is_empty(phase: Tensor, weight: Tensor, grid: Sequence[int]) -> bool:
    return 0 in (*phase.shape, weight.shape[1], *grid[3:])


def coord_linear(
    base: Tensor | None,
    frequency: Tensor,
    phase: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    grid: Sequence[int],
    activation: str,
    gain: float,
    clamp: float | None,
) -> Tensor:
    if _is_empty(phase, weight, grid):
        return reference.coord_linear(base, frequency, phase, weight, bias, grid, activation, gain, clamp)
    (batch, frames, sinusoids), outputs = phase.shape, weight.shape[1]
    base, bias = (None if each is None else each.contiguous() for each in (base, bias))
    frequency, phase, weight = frequency.contiguous(), phase.contiguous(), weight.contiguous()
    out = torch.empty((batch, frames, *grid[3:], outputs), dtype=weight.dtype, device=weight.device)
    how, (limit, clamped) = precision(weight.dtype), limits(clamp, weight.dtype)
    pixels = grid[3] * grid[4] if base is None else 4 * base.shape[2] * base.shape[3]
    with on_device(weight):
        chosen = tile("features", weight.dtype, how, pixels, outputs, sinusoids)
        blocks = triton.cdiv(pixels, chosen.rows) * triton.cdiv(outputs, chosen.columns) * batch * frames
        _forward[(blocks,)](
            out, base, frequency, phase, weight, bias, frames, outputs, sinusoids, *rectangle(grid),
            *_ancestors(base, grid), gain, limit, ACTIVATION=activation, CLAMPED=clamped, BASED=base is not None,
            BIASED=bias is not None, PRECISION=how, **chosen.named(),
        )  # fmt: skip
    return out


def coord_linear_backward(
    grad: Tensor,
    base: Tensor | None,
    frequency: Tensor,
    phase: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    out: Tensor,
    grid: Sequence[int],
    activation: str,
    gain: float,
    clamp: float | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The gradients of base, frequency [B, K, 2], phase [B, T, K], weight [B, O, 2K] and bias [O]."""
    if _is_empty(phase, weight, grid):
        inputs = (grad, base, frequency, phase, weight, bias, out)
        return reference.coord_linear_backward(*inputs, grid, activation, gain, clamp)
    frequency, phase, weight = frequency.contiguous(), phase.contiguous(), weight.contiguous()
    grad, before = grad.contiguous(), None if activation == "linear" and clamp is None else out.contiguous()
    limit, clamped = limits(clamp, grad.dtype)
    how = {"ACTIVATION": activation, "CLAMPED": clamped}
    with on_device(weight):
        dbase = grad.new_empty(0 if base is None else base.shape)
        if base is not None:
            rows = base.shape[2] * base.shape[3]
            size = {"TILE_ROWS": 16, "TILE_COLUMNS": min(128, max(16, triton.next_power_of_2(base.shape[4])))}
            blocks = triton.cdiv(rows, 16) * triton.cdiv(base.shape[4], size["TILE_COLUMNS"]) * grad.shape[0]
            _backward_base[(blocks * grad.shape[1],)](
                dbase, grad, before, base.shape[4], *grid[3:], *_ancestors(base, grid), gain, limit,
                num_warps=4, enable_fp_fusion=True, **size, **how,
            )  # fmt: skip
        options = (rectangle(grid), gain, limit, how | {"PRECISION": precision(grad.dtype)})
        dweight, dbias = _run_backward_weight(grad, before, frequency, phase, weight, *options)
        dfrequency, dphase = _run_backward_theta(grad, before, frequency, phase, weight, *options)
    return dbase, dfrequency, dphase, dweight, dbias.to(grad.dtype)


def _run_backward_weight(
    grad: Tensor,
    out: Tensor | None,
    frequency: Tensor,
    phase: Tensor,
    weight: Tensor,
    rectangle: tuple[Any, ...],
    gain: float,
    limit: float,
    how: dict[str, Any],
) -> tuple[Tensor, Tensor]:
    (batch, frames, sinusoids), outputs = phase.shape, weight.shape[1]
    rows = frames * rectangle[2] * rectangle[3]
    chosen = tile("gradient", weight.dtype, how["PRECISION"], outputs, sinusoids, rows)
    blocks = triton.cdiv(outputs, chosen.rows) * triton.cdiv(sinusoids, chosen.columns) * batch
    parts = splits(blocks, rows, chosen.depth)
    part_rows = triton.cdiv(triton.cdiv(rows, parts), chosen.depth) * chosen.depth
    parts = triton.cdiv(rows, part_rows)
    kind = weight.dtype if parts == 1 else torch.float32
    dweight = torch.empty((parts, *weight.shape), dtype=kind, device=weight.device)
    dbias = torch.empty((parts, batch, outputs), dtype=torch.float32, device=weight.device)
    _backward_weight[blocks, parts](
        dweight, dbias, grad, out, frequency, phase, batch, frames, outputs, sinusoids, *rectangle, part_rows, gain,
        limit, **how, **chosen.named(),
    )  # fmt: skip
    return (dweight[0] if parts == 1 else dweight.sum(0).to(weight.dtype)), dbias.sum((0, 1))


def _run_backward_theta(
    grad: Tensor,
    out: Tensor | None,
    frequency: Tensor,
    phase: Tensor,
    weight: Tensor,
    rectangle: tuple[Any, ...],
    gain: float,
    limit: float,
    how: dict[str, Any],
) -> tuple[Tensor, Tensor]:
    (batch, frames, sinusoids), outputs = phase.shape, weight.shape[1]
    pixels = rectangle[2] * rectangle[3]
    chosen = tile("gradient", weight.dtype, how["PRECISION"], pixels, sinusoids, outputs)
    tiles = triton.cdiv(pixels, chosen.rows)
    sums = torch.empty((batch, frames, tiles, 3, sinusoids), dtype=torch.float32, device=weight.device)
    _backward_theta[(tiles * triton.cdiv(sinusoids, chosen.columns) * batch * frames,)](
        sums, grad, out, frequency, phase, weight, frames, outputs, sinusoids, *rectangle, gain, limit,
        **how, **chosen.named(),
    )  # fmt: skip
    dtheta = sums.sum(2)
    dfrequency = dtheta[:, :, 1:].sum(1).transpose(1, 2)
    return dfrequency.to(frequency.dtype), dtheta[:, :, 0].to(phase.dtype)
