"""Coordinate MLPs in one kernel: a program takes a tile of one sample's points through all layers.

Activations never leave the chip.  A tile's are held in float32 in four parts of consecutive channels, so that a product
is of one part of the inputs with one of the outputs, and weights pass through shared memory in sixteenths; narrow
networks have one part.  What multiplies coordinates is computed by fma; encoded coordinates that a later layer reads
again are computed again.  The weights, times ω and in the type of their products, and the vectors are copied into three
rows of numbers, layer after layer.  Like layers in succession are a loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from digan_fast.kernels import _configurations
from digan_fast.kernels._activations import activated
from digan_fast.kernels._launch import on_device
from digan_fast.kernels._products import product
from digan_fast.kernels.linear_act import block_of
from digan_fast.reference import coord_mlp as reference

# The widest layer, outputs of the last one aside, by the bytes of the operands of products.
WIDEST = {4: 128, 2: 256}
MOST_ROWS = 64
# Outputs of a last layer that are sums over a tile's channels; more are products.
FEW = 16
ALIGNMENT = 16
ABSENT, SHARED, OWN = 0, 1, 2
_OWN, _SHARED = tl.constexpr(OWN), tl.constexpr(SHARED)


class Run(NamedTuple):
    """``count`` like layers in succession.  ``weight`` and the vectors are ABSENT, SHARED by the samples, or OWN."""

    count: int
    outputs: int
    inputs: int
    channels: int  # of the inputs, those that are the layer before's outputs
    activation: str
    low: bool
    skip: bool
    weight: int
    bias: int
    scale: int
    shift: int
    input_scale: int
    input_shift: int


_COUNT, _OUTPUTS, _INPUTS, _CHANNELS, _ACTIVATION, _LOW, _SKIP, _WEIGHT = (tl.constexpr(i) for i in range(8))
_BIAS, _SCALE, _SHIFT, _INPUT_SCALE, _INPUT_SHIFT = (tl.constexpr(i) for i in range(8, 13))


@triton.jit
def _sizes(sets, RUN: tl.constexpr, FIRST: tl.constexpr):
    """The numbers that a layer's weight and its vectors have in their rows."""
    pitch = RUN[_INPUTS] if FIRST else (RUN[_INPUTS] + 15) // 16 * 16
    weight = (RUN[_OUTPUTS] * pitch + 15) // 16 * 16 * (sets if RUN[_WEIGHT] == _OWN else 1)
    outputs = (RUN[_OUTPUTS] + 15) // 16 * 16
    inputs = (RUN[_INPUTS] + 15) // 16 * 16
    vectors = sets * 0
    for i in tl.static_range(3):
        vectors += outputs * (sets if RUN[_BIAS + i] == _OWN else RUN[_BIAS + i])
    for i in tl.static_range(2):
        vectors += inputs * (sets if RUN[_INPUT_SCALE + i] == _OWN else RUN[_INPUT_SCALE + i])
    return weight, vectors


@triton.jit
def _vector_at(vectors, at, sample, sets, WHICH: tl.constexpr, RUN: tl.constexpr):
    """Where this sample's vector ``WHICH`` of a layer begins, whose vectors begin at ``at``."""
    outputs = (RUN[_OUTPUTS] + 15) // 16 * 16
    inputs = (RUN[_INPUTS] + 15) // 16 * 16
    for i in tl.static_range(WHICH):
        extent = outputs if i < 3 else inputs
        at += extent * (sets if RUN[_BIAS + i] == _OWN else RUN[_BIAS + i])
    own = sample * (outputs if WHICH < 3 else inputs) if RUN[_BIAS + WHICH] == _OWN else sample * 0
    return vectors + at + own


@triton.jit
def _modulated(
    u, vectors, at, sample, sets, first, channels, WHICH: tl.constexpr, RUN: tl.constexpr, COLUMNS: tl.constexpr
):
    """``u·scale + shift`` of channels [first, first + COLUMNS), by the vectors ``WHICH`` and ``WHICH + 1``."""
    c = first + tl.arange(0, COLUMNS)
    if RUN[_BIAS + WHICH] != 0:
        scale = tl.load(_vector_at(vectors, at, sample, sets, WHICH, RUN) + c, mask=c < channels, other=0.0)
        u = u * scale[None, :]
    if RUN[_BIAS + WHICH + 1] != 0:
        shift = tl.load(_vector_at(vectors, at, sample, sets, WHICH + 1, RUN) + c, mask=c < channels, other=0.0)
        u = u + shift[None, :]
    return u


@triton.jit
def _coordinate(x, exists, d, vectors, at, sample, sets, channel, RUN: tl.constexpr):
    """Coordinate d of the tile's points, as the layer's input number ``channel``."""
    u = tl.load(x + d, mask=exists, other=0.0)
    if RUN[_INPUT_SCALE] != 0:
        u = u * tl.load(_vector_at(vectors, at, sample, sets, 3, RUN) + channel)
    if RUN[_INPUT_SHIFT] != 0:
        u = u + tl.load(_vector_at(vectors, at, sample, sets, 4, RUN) + channel)
    return u


@triton.jit
def _add_coordinates(
    z, x, exists, dimensions, weight, pitch, vectors, at, sample, sets, first, RUN: tl.constexpr, COLUMNS: tl.constexpr
):
    """z + Σ_d u_d·weight[o, channels + d] for outputs [first, first + COLUMNS), u the modulated coordinates."""
    o = first + tl.arange(0, COLUMNS)
    for d in range(dimensions):
        channel = RUN[_CHANNELS] + d
        u = _coordinate(x, exists, d, vectors, at, sample, sets, channel, RUN)
        w = tl.load(weight + o.to(tl.int64) * pitch + channel, mask=o < RUN[_OUTPUTS], other=0.0)
        z = tl.fma(u[:, None] + tl.zeros_like(z), w[None, :] + tl.zeros_like(z), z)
    return z


@triton.jit
def _finished(z, vectors, at, sample, sets, first, RUN: tl.constexpr, COLUMNS: tl.constexpr):
    """act(γ∘(z + b) + β) of outputs [first, first + COLUMNS)."""
    if RUN[_BIAS] != 0:
        o = first + tl.arange(0, COLUMNS)
        bias = tl.load(_vector_at(vectors, at, sample, sets, 0, RUN) + o, mask=o < RUN[_OUTPUTS], other=0.0)
        z += bias[None, :]
    z = _modulated(z, vectors, at, sample, sets, first, RUN[_OUTPUTS], 1, RUN, COLUMNS)
    return activated(z, RUN[_ACTIVATION])


@triton.jit
def _of_coordinates(
    x, exists, dimensions, wide, vectors, sample, sets, first,
    RUN: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Outputs [first, first + COLUMNS) of the first layer."""
    own = sample * ((RUN[_OUTPUTS] * RUN[_INPUTS] + 15) // 16 * 16) if RUN[_WEIGHT] == _OWN else sample * 0
    z = tl.zeros((ROWS, COLUMNS), tl.float32)
    z = _add_coordinates(
        z, x, exists, dimensions, wide + own, RUN[_INPUTS], vectors, sample * 0, sample, sets, first, RUN, COLUMNS
    )
    return _finished(z, vectors, sample * 0, sample, sets, first, RUN, COLUMNS)


@triton.jit
def _add_product(z, u, weight, pitch, first_input, last_input, first, RUN: tl.constexpr, PART: tl.constexpr):
    """z + u·Wᵀ: inputs [first_input, …), fewer than ``last_input``, and outputs [first, first + PART)."""
    k = first_input + tl.arange(0, PART)
    o = first + tl.arange(0, PART)
    at = weight + o[None, :].to(tl.int64) * pitch + k[:, None]
    w = tl.load(at, mask=(o[None, :] < RUN[_OUTPUTS]) & (k[:, None] < last_input), other=0.0)
    return product(u.to(w.dtype), w, z, "ieee")


@triton.jit
def _add_products(
    z0, z1, z2, z3, u, weight, pitch, first_input, last_input,
    RUN: tl.constexpr, PARTS: tl.constexpr, PART: tl.constexpr,
):  # fmt: skip
    z0 = _add_product(z0, u, weight, pitch, first_input, last_input, 0, RUN, PART)
    if PARTS == 4:
        z1 = _add_product(z1, u, weight, pitch, first_input, last_input, PART, RUN, PART)
        z2 = _add_product(z2, u, weight, pitch, first_input, last_input, 2 * PART, RUN, PART)
        z3 = _add_product(z3, u, weight, pitch, first_input, last_input, 3 * PART, RUN, PART)
    return z0, z1, z2, z3


@triton.jit
def _sums(
    h0, h1, h2, h3, x, exists, dimensions, weight, wide, vectors, at, sample, sets,
    RUN: tl.constexpr, FIRST: tl.constexpr, ENCODED: tl.constexpr, ROWS: tl.constexpr,
    PARTS: tl.constexpr, PART: tl.constexpr,
):  # fmt: skip
    """W·(s∘u + t) in parts."""
    pitch: tl.constexpr = (RUN[_INPUTS] + 15) // 16 * 16
    channels: tl.constexpr = RUN[_CHANNELS]
    z0 = tl.zeros((ROWS, PART), tl.float32)
    z1, z2, z3 = z0, z0, z0
    u = _modulated(h0, vectors, at, sample, sets, 0, channels, 3, RUN, PART)
    z0, z1, z2, z3 = _add_products(z0, z1, z2, z3, u, weight, pitch, 0, channels, RUN, PARTS, PART)
    if PARTS == 4:
        u = _modulated(h1, vectors, at, sample, sets, PART, channels, 3, RUN, PART)
        z0, z1, z2, z3 = _add_products(z0, z1, z2, z3, u, weight, pitch, PART, channels, RUN, PARTS, PART)
        u = _modulated(h2, vectors, at, sample, sets, 2 * PART, channels, 3, RUN, PART)
        z0, z1, z2, z3 = _add_products(z0, z1, z2, z3, u, weight, pitch, 2 * PART, channels, RUN, PARTS, PART)
        u = _modulated(h3, vectors, at, sample, sets, 3 * PART, channels, 3, RUN, PART)
        z0, z1, z2, z3 = _add_products(z0, z1, z2, z3, u, weight, pitch, 3 * PART, channels, RUN, PARTS, PART)
    if RUN[_SKIP] and ENCODED:
        for first in range(0, FIRST[_OUTPUTS], PART):
            u = _of_coordinates(x, exists, dimensions, wide, vectors, sample, sets, first, FIRST, ROWS, PART)
            u = _modulated(u, vectors, at, sample, sets, channels + first, RUN[_INPUTS], 3, RUN, PART)
            z0, z1, z2, z3 = _add_products(
                z0, z1, z2, z3, u, weight, pitch, channels + first, RUN[_INPUTS], RUN, PARTS, PART
            )
    elif RUN[_SKIP]:
        z0 = _add_coordinates(z0, x, exists, dimensions, weight, pitch, vectors, at, sample, sets, 0, RUN, PART)
        if PARTS == 4:
            z1 = _add_coordinates(z1, x, exists, dimensions, weight, pitch, vectors, at, sample, sets, PART, RUN, PART)
            z2 = _add_coordinates(
                z2, x, exists, dimensions, weight, pitch, vectors, at, sample, sets, 2 * PART, RUN, PART
            )
            z3 = _add_coordinates(
                z3, x, exists, dimensions, weight, pitch, vectors, at, sample, sets, 3 * PART, RUN, PART
            )
    return z0, z1, z2, z3


@triton.jit
def _own_weight(row, sample, RUN: tl.constexpr):
    return row + sample * (RUN[_OUTPUTS] * ((RUN[_INPUTS] + 15) // 16 * 16)) if RUN[_WEIGHT] == _OWN else row


@triton.jit
def _through(
    h0, h1, h2, h3, x, exists, dimensions, wide, low, vectors, low_at, wide_at, vector_at, sample, sets,
    RUN: tl.constexpr, FIRST: tl.constexpr, ENCODED: tl.constexpr, ROWS: tl.constexpr,
    PARTS: tl.constexpr, PART: tl.constexpr,
):  # fmt: skip
    """The tile after a run of layers, and where those of the next run begin."""
    weight_size, vector_size = _sizes(sets, RUN, False)
    row = _own_weight(low + low_at if RUN[_LOW] else wide + wide_at, sample, RUN)
    for layer in tl.range(RUN[_COUNT], num_stages=1):
        at = vector_at + layer * vector_size
        z0, z1, z2, z3 = _sums(
            h0, h1, h2, h3, x, exists, dimensions, row + layer * weight_size, wide, vectors, at, sample, sets,
            RUN, FIRST, ENCODED, ROWS, PARTS, PART,
        )  # fmt: skip
        h0 = _finished(z0, vectors, at, sample, sets, 0, RUN, PART)
        if PARTS == 4:
            h1 = _finished(z1, vectors, at, sample, sets, PART, RUN, PART)
            h2 = _finished(z2, vectors, at, sample, sets, 2 * PART, RUN, PART)
            h3 = _finished(z3, vectors, at, sample, sets, 3 * PART, RUN, PART)
        else:
            h1, h2, h3 = h0, h0, h0
    if RUN[_LOW]:
        low_at += weight_size * RUN[_COUNT]
    else:
        wide_at += weight_size * RUN[_COUNT]
    return h0, h1, h2, h3, low_at, wide_at, vector_at + vector_size * RUN[_COUNT]


@triton.jit
def _few_sums(h, weight, vectors, at, sample, sets, o, first, RUN: tl.constexpr, COLUMNS: tl.constexpr):
    """Σ_c W[o, c]·(s∘h + t)_c over channels [first, first + COLUMNS)."""
    c = first + tl.arange(0, COLUMNS)
    u = _modulated(h, vectors, at, sample, sets, first, RUN[_CHANNELS], 3, RUN, COLUMNS)
    pitch = (RUN[_INPUTS] + 15) // 16 * 16
    w = tl.load(weight + o * pitch + c, mask=c < RUN[_CHANNELS], other=0.0)
    return tl.sum(u * w[None, :], 1)


@triton.jit
def _store_few(
    out, h0, h1, h2, h3, x, exists, dimensions, weight, vectors, at, sample, sets,
    RUN: tl.constexpr, PARTS: tl.constexpr, PART: tl.constexpr,
):  # fmt: skip
    """The last layer, an output at a time."""
    weight = _own_weight(weight, sample, RUN)
    pitch: tl.constexpr = (RUN[_INPUTS] + 15) // 16 * 16
    for o in range(RUN[_OUTPUTS]):
        z = _few_sums(h0, weight, vectors, at, sample, sets, o, 0, RUN, PART)
        if PARTS == 4:
            z += _few_sums(h1, weight, vectors, at, sample, sets, o, PART, RUN, PART)
            z += _few_sums(h2, weight, vectors, at, sample, sets, o, 2 * PART, RUN, PART)
            z += _few_sums(h3, weight, vectors, at, sample, sets, o, 3 * PART, RUN, PART)
        if RUN[_SKIP]:
            for d in range(dimensions):
                channel = RUN[_CHANNELS] + d
                u = _coordinate(x, exists, d, vectors, at, sample, sets, channel, RUN)
                z += u * tl.load(weight + o * pitch + channel)
        if RUN[_BIAS] != 0:
            z += tl.load(_vector_at(vectors, at, sample, sets, 0, RUN) + o)
        if RUN[_SCALE] != 0:
            z *= tl.load(_vector_at(vectors, at, sample, sets, 1, RUN) + o)
        if RUN[_SHIFT] != 0:
            z += tl.load(_vector_at(vectors, at, sample, sets, 2, RUN) + o)
        tl.store(out + o, activated(z, RUN[_ACTIVATION]), mask=exists)


@triton.jit
def _store(out, h, exists, first, OUTPUTS: tl.constexpr, PART: tl.constexpr):
    o = first + tl.arange(0, PART)
    tl.store(out[:, None] + o[None, :], h, mask=exists[:, None] & (o[None, :] < OUTPUTS))


@triton.jit
def _forward(
    out, coordinates, wide, low, vectors, sets, points, dimensions, own_coordinates,
    RUNS: tl.constexpr, ENCODED: tl.constexpr, NARROW: tl.constexpr,
    TILE_ROWS: tl.constexpr, PARTS: tl.constexpr, PART: tl.constexpr,
):  # fmt: skip
    m, _column, sample = block_of(points, 1, TILE_ROWS, 1)
    sets = sample * 0 + sets  # in 64 bits, as places in the rows
    exists = m < points
    x = coordinates + (sample * own_coordinates * points + m) * dimensions
    FIRST: tl.constexpr = RUNS[0]
    h0 = _of_coordinates(x, exists, dimensions, wide, vectors, sample, sets, 0, FIRST, TILE_ROWS, PART)
    h1, h2, h3 = h0, h0, h0
    if PARTS == 4:
        h1 = _of_coordinates(x, exists, dimensions, wide, vectors, sample, sets, PART, FIRST, TILE_ROWS, PART)
        h2 = _of_coordinates(x, exists, dimensions, wide, vectors, sample, sets, 2 * PART, FIRST, TILE_ROWS, PART)
        h3 = _of_coordinates(x, exists, dimensions, wide, vectors, sample, sets, 3 * PART, FIRST, TILE_ROWS, PART)
    wide_at, vector_at = _sizes(sets, FIRST, True)
    low_at = vector_at * 0
    for i in tl.static_range(1, len(RUNS) - 1 if NARROW else len(RUNS)):
        h0, h1, h2, h3, low_at, wide_at, vector_at = _through(
            h0, h1, h2, h3, x, exists, dimensions, wide, low, vectors, low_at, wide_at, vector_at, sample, sets,
            RUNS[i], FIRST, ENCODED, TILE_ROWS, PARTS, PART,
        )  # fmt: skip
    LAST: tl.constexpr = RUNS[len(RUNS) - 1]
    last = out + (sample * points + m) * LAST[_OUTPUTS]
    if NARROW:
        _store_few(
            last, h0, h1, h2, h3, x, exists, dimensions, wide + wide_at, vectors, vector_at, sample, sets,
            LAST, PARTS, PART,
        )  # fmt: skip
    else:
        _store(last, h0, exists, 0, LAST[_OUTPUTS], PART)
        if PARTS == 4:
            _store(last, h1, exists, PART, LAST[_OUTPUTS], PART)
            _store(last, h2, exists, 2 * PART, LAST[_OUTPUTS], PART)
            _store(last, h3, exists, 3 * PART, LAST[_OUTPUTS], PART)


def _kind(tensor: Tensor | None) -> int:
    return ABSENT if tensor is None else SHARED if len(tensor) == 1 else OWN


def _aligned(extent: int) -> int:
    return -(-extent // ALIGNMENT) * ALIGNMENT


def _runs(
    weights: Sequence[Tensor],
    vectors: Sequence[Sequence[Tensor | None]],
    activations: Sequence[str],
    skips: Sequence[bool],
    encoded: bool,
    precision: str,
) -> tuple[Run, ...]:
    """The layers; the first and the last are runs of their own."""
    runs: list[Run] = []
    types = reference.operand_types(skips, encoded, precision)
    for i, (weight, activation, skip) in enumerate(zip(weights, activations, skips, strict=True)):
        outputs, inputs = weight.shape[1:]
        kinds = (_kind(weight), *(_kind(group[i]) for group in vectors))
        channels = runs[-1].outputs if i else 0
        run = Run(1, outputs, inputs, channels, activation, types[i] is not None, skip, *kinds)
        if 1 < i < len(weights) - 1 and runs[-1]._replace(count=1) == run:
            run = run._replace(count=runs.pop().count + 1)
        runs.append(run)
    return tuple(runs)


def _has_few(runs: Sequence[Run], encoded: bool) -> bool:
    last = runs[-1]
    return len(runs) > 1 and last.outputs <= FEW and not (last.skip and encoded)


def _width(runs: Sequence[Run], encoded: bool) -> int:
    """The extent of a tile's activations."""
    held = runs[:-1] if _has_few(runs, encoded) else runs
    return max(ALIGNMENT, triton.next_power_of_2(max(run.outputs for run in held)))


def _products(runs: Sequence[Run], encoded: bool) -> Sequence[Run]:
    return runs[1:-1] if _has_few(runs, encoded) else runs[1:]


def _operand_bytes(runs: Sequence[Run], encoded: bool) -> int:
    """2, or 4 if a product, or none, is of float32."""
    products = _products(runs, encoded)
    return 2 if products and all(run.low for run in products) else 4


def why_not(weights: Sequence[Tensor], *rest: Any) -> str | None:
    """Why a network does not fit into one kernel; the arguments are those of the op without coordinates."""
    *vectors, activations, _omegas, skips, encoded, precision = rest
    runs = _runs(weights, vectors, activations, skips, encoded, precision)
    most = WIDEST[_operand_bytes(runs, encoded)]
    if (width := _width(runs, encoded)) <= most:
        return None
    return f"a tile is {width} channels wide; it holds {most} of this network in {precision}"


def _tile(runs: Sequence[Run], encoded: bool, points: int) -> _configurations.Tile:
    """``columns`` are the tile's channels, ``depth`` those of a part."""
    width = _width(runs, encoded)
    dtype = torch.bfloat16 if _operand_bytes(runs, encoded) == 2 else torch.float32
    entry = _configurations.tile("mlp", dtype, "ieee", 1 << 30, 1 << 30, 1 << 30)
    rows = min(MOST_ROWS, entry.rows * entry.columns // width)
    depth = width if width <= entry.depth else width // 4
    # With more than four warps a thread would load less than 16 bytes of a part's weights.
    warps = entry.warps if width == entry.columns else min(4, entry.warps)
    return replace(entry, rows=rows, columns=width, depth=depth, warps=warps).fitted(points, width, width)


def _row(
    weights: Sequence[Tensor], omegas: Sequence[float], pitches: Sequence[int], dtype: torch.dtype
) -> Tensor | None:
    """ω·W one after the other, rows ``pitch`` apart."""
    sizes = [len(w) * _aligned(w.shape[1] * pitch) for w, pitch in zip(weights, pitches, strict=True)]
    if not sizes:
        return None
    row = weights[0].new_empty(sum(sizes), dtype=dtype)
    for weight, omega, pitch, part in zip(weights, omegas, pitches, row.split(sizes), strict=True):
        sets, outputs, inputs = weight.shape
        target = part.view(sets, -1)[:, : outputs * pitch].unflatten(1, (outputs, pitch))[..., :inputs]
        torch.mul(weight, omega, out=target)
    return row


def _vectors(groups: Sequence[Sequence[Tensor | None]], omegas: Sequence[float]) -> Tensor | None:
    """ω·b, γ, ω·β, s and t of each layer one after the other."""
    biases, _scales, shifts = groups[:3]
    given = [(each, omega if group is biases or group is shifts else 1.0)
             for layer, omega in zip(zip(*groups, strict=True), omegas, strict=True)
             for group, each in zip(groups, layer, strict=True) if each is not None]  # fmt: skip
    if not given:
        return None
    sizes = [len(each) * _aligned(each.shape[1]) for each, _ in given]
    row = given[0][0].new_empty(sum(sizes))
    for (each, factor), part in zip(given, row.split(sizes), strict=True):
        torch.mul(each, factor, out=part.view(len(each), -1)[:, : each.shape[1]])
    return row


def coord_mlp(coordinates: Tensor, weights: Sequence[Tensor], *rest: Any) -> Tensor:
    *vectors, activations, omegas, skips, encoded, precision = rest
    tensors = [coordinates, *weights, *(each for group in vectors for each in group)]
    batch, (points, dimensions) = reference.batch_of(tensors), coordinates.shape[1:]
    shape = (batch, points, weights[-1].shape[1])
    if 0 in shape or any(weight.numel() == 0 for weight in weights):
        return reference.coord_mlp(coordinates, weights, *rest)
    runs = _runs(weights, vectors, activations, skips, encoded, precision)
    types = reference.operand_types(skips, encoded, precision)
    dtype = next((each for each in types if each is not None), torch.float32)
    with on_device(coordinates):
        coordinates = coordinates.contiguous()
        pitches = [weights[0].shape[2], *(_aligned(weight.shape[2]) for weight in weights[1:])]
        rows = []
        for low in (False, True):
            chosen = [i for i, each in enumerate(types) if (each is not None) == low]
            rows.append(
                _row(
                    [weights[i] for i in chosen],
                    [omegas[i] for i in chosen],
                    [pitches[i] for i in chosen],
                    dtype if low else torch.float32,
                )
            )
        out = coordinates.new_empty(shape)
        tile, width = _tile(runs, encoded, points), _width(runs, encoded)
        _forward[(triton.cdiv(points, tile.rows) * batch,)](
            out, coordinates, *rows, _vectors(vectors, omegas), batch, points, dimensions, int(len(coordinates) > 1),
            RUNS=tuple(tuple(run) for run in runs), ENCODED=encoded, NARROW=_has_few(runs, encoded),
            TILE_ROWS=tile.rows, PARTS=width // tile.depth, PART=tile.depth,
            num_warps=tile.warps, num_stages=tile.stages, enable_fp_fusion=True,
        )  # fmt: skip
    return out
