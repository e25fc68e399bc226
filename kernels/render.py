"""The INRs of B videos on a window: the last level in one kernel, so that a tile's activations never leave the chip.

A program takes a tile of one frame's pixels through the last level: sines in registers, all layers, to-RGB, adding the
picture of the levels below, and stores planar colours.  A layer's outputs are computed in four parts, o ≡ 0, 1, 2, 3
(mod 4), which join in their natural order, so that weights pass through shared memory in quarters.  Levels below are
computed layer by layer, to-RGB along with the last layer.
The last level fits if its layers are equally wide, at most 256, share activation, gain and clamp, and are bfloat16 or
float16; float32 is bound by its arithmetic, not by memory, and is computed layer by layer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from digan_fast import tiling
from digan_fast.kernels import _configurations
from digan_fast.kernels._activations import finished
from digan_fast.kernels._launch import on_device, precision
from digan_fast.kernels._products import product
from digan_fast.kernels.coord_linear import coord_linear, features_of, pixels_of, place, rectangle, repeated
from digan_fast.kernels.linear_act import block_of, coloured, linear_act
from digan_fast.levels import Layer, Level, Window, assembled
from digan_fast.reference import render as reference

# Frames × pixels evaluated at once; each takes some hundreds of bytes of storage between the lower levels.
PIXELS_AT_ONCE = 1 << 20


@triton.jit
def _joined(first, second, third, fourth, WIDTH: tl.constexpr):
    """[M, WIDTH] whose column 4j + c is column j of part c."""
    four = tl.join(tl.join(first, third), tl.join(second, fourth))
    return tl.reshape(four, (first.shape[0], WIDTH))


@triton.jit
def _last_level(
    out, base, image, frequency, phase, weight, bias, weights, biases, to_rgb, rgb_bias,
    videos, frames, layers, channels, sinusoids, colours, left, bottom, height, width, scale,
    row_offset, column_offset, base_height, base_width, gain, clamp, rgb_gain, rgb_clamp,
    ACTIVATION: tl.constexpr, CLAMPED: tl.constexpr, RGB_ACTIVATION: tl.constexpr, RGB_CLAMPED: tl.constexpr,
    BASED: tl.constexpr, PRECISION: tl.constexpr,
    TILE_ROWS: tl.constexpr, WIDTH: tl.constexpr, TILE_DEPTH: tl.constexpr,
):  # fmt: skip
    # x₀ = act(weight·[sin θ, cos θ] + up(base) + bias), xₗ₊₁ = act(weights[l]·xₗ + biases[l]); weights [L, B, W, W].
    pixels, ancestors = height * width, base_height * base_width
    m, _column, frame = block_of(ancestors * 4 if BASED else pixels, 1, TILE_ROWS, 1)
    video = frame // frames
    row, column, exists = pixels_of(m, height, width, row_offset, column_offset, base_width, BASED)
    x, y = place(row, column, left, bottom, scale)
    o, quarter = tl.arange(0, WIDTH), tl.arange(0, WIDTH // 4) * 4
    k = tl.arange(0, TILE_DEPTH)
    weight_at = weight + (video * channels + quarter[None, :]) * sinusoids * 2 + k[:, None]
    first = tl.zeros((TILE_ROWS, WIDTH // 4), tl.float32)
    second, third, fourth = first, first, first
    for start in range(0, sinusoids, TILE_DEPTH):
        at = start + k
        phases = tl.load(phase + frame * sinusoids + at, mask=at < sinusoids, other=0.0).to(tl.float32)[None, :]
        sine, cosine = features_of(x, y, frequency, phases, video, at, sinusoids)
        sine, cosine = sine.to(weight.dtype.element_ty), cosine.to(weight.dtype.element_ty)
        first = _features_quarter(first, sine, cosine, weight_at, 0, quarter, at, channels, sinusoids, PRECISION)
        second = _features_quarter(second, sine, cosine, weight_at, 1, quarter, at, channels, sinusoids, PRECISION)
        third = _features_quarter(third, sine, cosine, weight_at, 2, quarter, at, channels, sinusoids, PRECISION)
        fourth = _features_quarter(fourth, sine, cosine, weight_at, 3, quarter, at, channels, sinusoids, PRECISION)
        weight_at += TILE_DEPTH
    z = _joined(first, second, third, fourth, WIDTH)
    if BASED:
        a, _column, _frame = block_of(ancestors, 1, TILE_ROWS // 4, 1)
        inside = (a[:, None] < ancestors) & (o[None, :] < channels)
        above = tl.load(base + (frame * ancestors + a[:, None]) * channels + o[None, :], mask=inside, other=0.0)
        z += repeated(above).to(tl.float32)
    z += tl.load(bias + o, mask=o < channels, other=0.0).to(tl.float32)[None, :]
    h = finished(z, gain, clamp, ACTIVATION, CLAMPED).to(weight.dtype.element_ty)
    for layer in tl.range(layers, num_stages=1):
        # Rows of quarter c of this layer's weights, transposed: [W, W/4].
        own = weights + ((layer * videos + video) * channels + quarter[None, :]) * channels + o[:, None]
        first = _quarter(h, own, 0, quarter, o, channels, PRECISION)
        second = _quarter(h, own, 1, quarter, o, channels, PRECISION)
        third = _quarter(h, own, 2, quarter, o, channels, PRECISION)
        fourth = _quarter(h, own, 3, quarter, o, channels, PRECISION)
        z = _joined(first, second, third, fourth, WIDTH)
        z += tl.load(biases + layer * channels + o, mask=o < channels, other=0.0).to(tl.float32)[None, :]
        h = finished(z, gain, clamp, ACTIVATION, CLAMPED).to(weight.dtype.element_ty)
    z = h.to(tl.float32)
    for colour in range(colours):
        mixing = tl.load(to_rgb + (video * colours + colour) * channels + o, mask=o < channels, other=0.0).to(
            tl.float32
        )
        found = tl.sum(z * mixing[None, :], 1) + tl.load(rgb_bias + colour).to(tl.float32)
        found = finished(found, rgb_gain, rgb_clamp, RGB_ACTIVATION, RGB_CLAMPED)
        if BASED:
            under = image + (frame * ancestors + m // 4) * colours + colour
            found += tl.load(under, mask=exists, other=0.0).to(tl.float32)
        at = (frame * colours + colour) * pixels + row * width + column
        tl.store(out + at, found.to(out.dtype.element_ty), mask=exists)


@triton.jit
def _features_quarter(total, sine, cosine, weight_at, part, quarter, at, channels, sinusoids, PRECISION: tl.constexpr):
    exists = (at[:, None] < sinusoids) & (quarter[None, :] + part < channels)
    by_sine = tl.load(weight_at + part * sinusoids * 2, mask=exists, other=0.0)
    by_cosine = tl.load(weight_at + part * sinusoids * 2 + sinusoids, mask=exists, other=0.0)
    total = product(sine, by_sine, total, PRECISION)
    return product(cosine, by_cosine, total, PRECISION)


@triton.jit
def _quarter(h, own, part, quarter, o, channels, PRECISION: tl.constexpr):
    exists = (o[:, None] < channels) & (quarter[None, :] + part < channels)
    return product(h, tl.load(own + part * channels, mask=exists, other=0.0), None, PRECISION)


def fits(level: Level) -> bool:
    """Whether the kernel can compute the whole level."""
    widths = {extent for layer in level.layers[1:] for extent in layer.weight.shape[1:]} | {
        level.to_rgb.weight.shape[2]
    }
    kinds = {layer.options for layer in level.layers}
    is_half = level.layers[0].weight.dtype.itemsize == 2 and _configurations.architecture() in _configurations.FUSED
    return is_half and level.frequency is not None and len(widths) == len(kinds) == 1 and max(widths) <= 256


def render(*args: Any) -> Tensor:
    """See :mod:`digan_fast.ops.render` for the arguments."""
    *lists, size, window, how = args
    levels = [reference.lowered(level, how) for level in assembled(*lists)]
    like, to_rgb = levels[0].phase, levels[-1].to_rgb.weight
    assert like is not None
    top, left, height, width = window
    shape = (*like.shape[:2], to_rgb.shape[1], height, width)
    if 0 in shape:
        return to_rgb.new_empty(shape)
    whole = (top, left, height, width)
    budget = max(1, PIXELS_AT_ONCE // shape[0])
    return tiling.in_parts(
        to_rgb.new_empty(shape), levels, size, whole, budget, lambda some, tile: _evaluated(some, size, tile)
    )


def _evaluated(levels: Sequence[Level], size: int, window: Window) -> Tensor:
    products = tiling.JoinedProducts(linear_act, coord_linear, linear_act, coloured)
    if levels[-1].side != size or not fits(levels[-1]):
        return reference.evaluate(levels, size, window, products)
    x = image = None
    if len(levels) > 1:
        # The level below on the window's ancestors, before the last upsampling.
        below, side = levels[:-1], levels[-2].side
        row, rows = reference.ancestors(window[0], window[2], size // side)
        column, columns = reference.ancestors(window[1], window[3], size // side)
        image, x = reference.evaluate_with_activations(below, side, (row, column, rows, columns), products)
    return render_last_level(levels[-1], x, image, size, window)


def render_last_level(level: Level, x: Tensor | None, image: Tensor | None, side: int, window: Window) -> Tensor:
    assert level.frequency is not None
    assert level.phase is not None
    first, *rest = level.layers
    (batch, frames, sinusoids), width, colours = level.phase.shape, first.weight.shape[1], level.to_rgb.weight.shape[1]
    below = 0 if x is None else x.shape[-1]
    dtype, device = first.weight.dtype, first.weight.device
    with on_device(first.weight):
        base = None if x is None else linear_act(x, first.weight[..., :below], None, "linear", 1.0, None)
        weights = torch.stack([layer.weight for layer in rest]) if rest else None
        biases = torch.stack([layer.bias for layer in rest]) if rest else None
        out = torch.empty((batch, frames, colours, *window[2:]), dtype=level.to_rgb.weight.dtype, device=device)
        grid = [side, *window]
        padded = max(64, triton.next_power_of_2(width))
        how = precision(dtype)
        pixels = window[2] * window[3] if base is None else 4 * base.shape[2] * base.shape[3]
        chosen = _configurations.tile("render", dtype, how, pixels, padded, sinusoids)
        above = (window[0] % 2, window[1] % 2, *(base.shape[2:4] if base is not None else (1, 1)))
        _last_level[(triton.cdiv(pixels, chosen.rows) * batch * frames,)](
            out, base, None if image is None else image.contiguous(), level.frequency.contiguous(),
            level.phase.contiguous(), first.weight[..., below:].contiguous(), first.bias.contiguous(), weights, biases,
            level.to_rgb.weight.contiguous(), level.to_rgb.bias.contiguous(),
            batch, frames, len(rest), width, sinusoids, colours, *rectangle(grid), *above,
            first.gain, _limit(first), level.to_rgb.gain, _limit(level.to_rgb),
            ACTIVATION=first.activation, CLAMPED=first.clamp is not None, RGB_ACTIVATION=level.to_rgb.activation,
            RGB_CLAMPED=level.to_rgb.clamp is not None, BASED=base is not None, PRECISION=how,
            TILE_ROWS=chosen.rows, WIDTH=padded, TILE_DEPTH=chosen.depth,
            num_warps=chosen.warps, num_stages=chosen.stages, enable_fp_fusion=True,
        )  # fmt: skip
    return out


def _limit(layer: Layer) -> float:
    return math.inf if layer.clamp is None else layer.clamp
