"""Device functions of coordinate MLPs: a tile of one sample's points, in four parts, through a layer.

A :class:`Run` is a kernel's constant.  Three rows of numbers hold the layers one after the other: the weights of
float32 products, those of products in half precision, and the vectors, each of a whole number of 16.
"""

from __future__ import annotations

from typing import NamedTuple

import triton
import triton.language as tl

from digan_fast.kernels._activations import activated
from digan_fast.kernels._products import product

ABSENT, SHARED, OWN = 0, 1, 2
_OWN = tl.constexpr(OWN)


class Run(NamedTuple):
    """``repeats`` like layers in succession.  ``weight`` and the vectors are ABSENT, SHARED by the samples, or OWN."""

    repeats: int
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


_REPEATS, OUTPUTS, INPUTS, CHANNELS, ACTIVATION, LOW, SKIP, _WEIGHT = (tl.constexpr(i) for i in range(8))
BIAS, SCALE, SHIFT, INPUT_SCALE, INPUT_SHIFT = (tl.constexpr(i) for i in range(8, 13))


@triton.jit
def sizes(sets, RUN: tl.constexpr, FIRST: tl.constexpr):
    """The numbers that a layer's weight and its vectors have in their rows."""
    pitch = RUN[INPUTS] if FIRST else (RUN[INPUTS] + 15) // 16 * 16
    weight = (RUN[OUTPUTS] * pitch + 15) // 16 * 16 * (sets if RUN[_WEIGHT] == _OWN else 1)
    outputs = (RUN[OUTPUTS] + 15) // 16 * 16
    inputs = (RUN[INPUTS] + 15) // 16 * 16
    vectors = sets * 0
    for i in tl.static_range(3):
        vectors += outputs * (sets if RUN[BIAS + i] == _OWN else RUN[BIAS + i])
    for i in tl.static_range(2):
        vectors += inputs * (sets if RUN[INPUT_SCALE + i] == _OWN else RUN[INPUT_SCALE + i])
    return weight, vectors


@triton.jit
def own_vector(vectors, at, sample, sets, WHICH: tl.constexpr, RUN: tl.constexpr):
    """Where this sample's vector ``WHICH`` of a layer begins, whose vectors begin at ``at``."""
    outputs = (RUN[OUTPUTS] + 15) // 16 * 16
    inputs = (RUN[INPUTS] + 15) // 16 * 16
    for i in tl.static_range(WHICH):
        extent = outputs if i < 3 else inputs
        at += extent * (sets if RUN[BIAS + i] == _OWN else RUN[BIAS + i])
    own = sample * (outputs if WHICH < 3 else inputs) if RUN[BIAS + WHICH] == _OWN else sample * 0
    return vectors + at + own


@triton.jit
def modulated(
    u, vectors, at, sample, sets, first, channels, WHICH: tl.constexpr, RUN: tl.constexpr, COLUMNS: tl.constexpr
):
    """``u·scale + shift`` of channels [first, first + COLUMNS), by the vectors ``WHICH`` and ``WHICH + 1``."""
    c = first + tl.arange(0, COLUMNS)
    if RUN[BIAS + WHICH] != 0:
        scale = tl.load(own_vector(vectors, at, sample, sets, WHICH, RUN) + c, mask=c < channels, other=0.0)
        u = u * scale[None, :]
    if RUN[BIAS + WHICH + 1] != 0:
        shift = tl.load(own_vector(vectors, at, sample, sets, WHICH + 1, RUN) + c, mask=c < channels, other=0.0)
        u = u + shift[None, :]
    return u


@triton.jit
def coordinate(x, exists, d, vectors, at, sample, sets, channel, RUN: tl.constexpr):
    """Coordinate d of the tile's points, as the layer's input number ``channel``."""
    u = tl.load(x + d, mask=exists, other=0.0)
    if RUN[INPUT_SCALE] != 0:
        u = u * tl.load(own_vector(vectors, at, sample, sets, 3, RUN) + channel)
    if RUN[INPUT_SHIFT] != 0:
        u = u + tl.load(own_vector(vectors, at, sample, sets, 4, RUN) + channel)
    return u


@triton.jit
def add_coordinates(
    z, x, exists, dimensions, weight, pitch, vectors, at, sample, sets, first, RUN: tl.constexpr, COLUMNS: tl.constexpr
):
    """z + Σ_d u_d·weight[o, channels + d] for outputs [first, first + COLUMNS), u the modulated coordinates."""
    o = first + tl.arange(0, COLUMNS)
    for d in range(dimensions):
        channel = RUN[CHANNELS] + d
        u = coordinate(x, exists, d, vectors, at, sample, sets, channel, RUN)
        w = tl.load(weight + o.to(tl.int64) * pitch + channel, mask=o < RUN[OUTPUTS], other=0.0)
        z = tl.fma(u[:, None] + tl.zeros_like(z), w[None, :] + tl.zeros_like(z), z)
    return z


@triton.jit
def biased(z, vectors, at, sample, sets, first, RUN: tl.constexpr, COLUMNS: tl.constexpr):
    """z + b of outputs [first, first + COLUMNS)."""
    if RUN[BIAS] != 0:
        o = first + tl.arange(0, COLUMNS)
        bias = tl.load(own_vector(vectors, at, sample, sets, 0, RUN) + o, mask=o < RUN[OUTPUTS], other=0.0)
        z += bias[None, :]
    return z


@triton.jit
def _finished(z, vectors, at, sample, sets, first, RUN: tl.constexpr, COLUMNS: tl.constexpr):
    """act(γ∘(z + b) + β) of outputs [first, first + COLUMNS)."""
    z = biased(z, vectors, at, sample, sets, first, RUN, COLUMNS)
    z = modulated(z, vectors, at, sample, sets, first, RUN[OUTPUTS], 1, RUN, COLUMNS)
    return activated(z, RUN[ACTIVATION])


@triton.jit
def first_weight(wide, sample, RUN: tl.constexpr):
    own = sample * ((RUN[OUTPUTS] * RUN[INPUTS] + 15) // 16 * 16) if RUN[_WEIGHT] == _OWN else sample * 0
    return wide + own


@triton.jit
def of_coordinates(
    x, exists, dimensions, wide, vectors, sample, sets, first,
    RUN: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Outputs [first, first + COLUMNS) of the first layer."""
    weight = first_weight(wide, sample, RUN)
    z = tl.zeros((ROWS, COLUMNS), tl.float32)
    z = add_coordinates(
        z, x, exists, dimensions, weight, RUN[INPUTS], vectors, sample * 0, sample, sets, first, RUN, COLUMNS
    )
    return _finished(z, vectors, sample * 0, sample, sets, first, RUN, COLUMNS)


@triton.jit
def add_product(z, u, weight, pitch, first_input, last_input, first, RUN: tl.constexpr, PART: tl.constexpr):
    """z + u·Wᵀ: inputs [first_input, …), fewer than ``last_input``, and outputs [first, first + PART)."""
    k = first_input + tl.arange(0, PART)
    o = first + tl.arange(0, PART)
    at = weight + o[None, :].to(tl.int64) * pitch + k[:, None]
    w = tl.load(at, mask=(o[None, :] < RUN[OUTPUTS]) & (k[:, None] < last_input), other=0.0)
    return product(u.to(w.dtype), w, z, "ieee")


@triton.jit
def _add_products(
    z0, z1, z2, z3, u, weight, pitch, first_input, last_input,
    RUN: tl.constexpr, PARTS: tl.constexpr, PART: tl.constexpr,
):  # fmt: skip
    z0 = add_product(z0, u, weight, pitch, first_input, last_input, 0, RUN, PART)
    if PARTS == 4:
        z1 = add_product(z1, u, weight, pitch, first_input, last_input, PART, RUN, PART)
        z2 = add_product(z2, u, weight, pitch, first_input, last_input, 2 * PART, RUN, PART)
        z3 = add_product(z3, u, weight, pitch, first_input, last_input, 3 * PART, RUN, PART)
    return z0, z1, z2, z3


@triton.jit
def _sums(
    h0, h1, h2, h3, x, exists, dimensions, weight, wide, vectors, at, sample, sets,
    RUN: tl.constexpr, FIRST: tl.constexpr, ENCODED: tl.constexpr, ROWS: tl.constexpr,
    PARTS: tl.constexpr, PART: tl.constexpr,
):  # fmt: skip
    """W·(s∘u + t) in parts."""
    pitch: tl.constexpr = (RUN[INPUTS] + 15) // 16 * 16
    channels: tl.constexpr = RUN[CHANNELS]
    z0 = tl.zeros((ROWS, PART), tl.float32)
    z1, z2, z3 = z0, z0, z0
    u = modulated(h0, vectors, at, sample, sets, 0, channels, 3, RUN, PART)
    z0, z1, z2, z3 = _add_products(z0, z1, z2, z3, u, weight, pitch, 0, channels, RUN, PARTS, PART)
    if PARTS == 4:
        u = modulated(h1, vectors, at, sample, sets, PART, channels, 3, RUN, PART)
        z0, z1, z2, z3 = _add_products(z0, z1, z2, z3, u, weight, pitch, PART, channels, RUN, PARTS, PART)
        u = modulated(h2, vectors, at, sample, sets, 2 * PART, channels, 3, RUN, PART)
        z0, z1, z2, z3 = _add_products(z0, z1, z2, z3, u, weight, pitch, 2 * PART, channels, RUN, PARTS, PART)
        u = modulated(h3, vectors, at, sample, sets, 3 * PART, channels, 3, RUN, PART)
        z0, z1, z2, z3 = _add_products(z0, z1, z2, z3, u, weight, pitch, 3 * PART, channels, RUN, PARTS, PART)
    if RUN[SKIP] and ENCODED:
        for first in range(0, FIRST[OUTPUTS], PART):
            u = of_coordinates(x, exists, dimensions, wide, vectors, sample, sets, first, FIRST, ROWS, PART)
            u = modulated(u, vectors, at, sample, sets, channels + first, RUN[INPUTS], 3, RUN, PART)
            z0, z1, z2, z3 = _add_products(
                z0, z1, z2, z3, u, weight, pitch, channels + first, RUN[INPUTS], RUN, PARTS, PART
            )
    elif RUN[SKIP]:
        z0 = add_coordinates(z0, x, exists, dimensions, weight, pitch, vectors, at, sample, sets, 0, RUN, PART)
        if PARTS == 4:
            z1 = add_coordinates(z1, x, exists, dimensions, weight, pitch, vectors, at, sample, sets, PART, RUN, PART)
            z2 = add_coordinates(
                z2, x, exists, dimensions, weight, pitch, vectors, at, sample, sets, 2 * PART, RUN, PART
            )
            z3 = add_coordinates(
                z3, x, exists, dimensions, weight, pitch, vectors, at, sample, sets, 3 * PART, RUN, PART
            )
    return z0, z1, z2, z3


@triton.jit
def own_weight(row, sample, RUN: tl.constexpr):
    return row + sample * (RUN[OUTPUTS] * ((RUN[INPUTS] + 15) // 16 * 16)) if RUN[_WEIGHT] == _OWN else row


@triton.jit
def through(
    h0, h1, h2, h3, x, exists, dimensions, wide, low, vectors, low_at, wide_at, vector_at, sample, sets,
    RUN: tl.constexpr, FIRST: tl.constexpr, ENCODED: tl.constexpr, ROWS: tl.constexpr,
    PARTS: tl.constexpr, PART: tl.constexpr,
):  # fmt: skip
    """The tile after a run of layers, and where those of the next run begin."""
    weight_size, vector_size = sizes(sets, RUN, False)
    row = own_weight(low + low_at if RUN[LOW] else wide + wide_at, sample, RUN)
    for layer in tl.range(RUN[_REPEATS], num_stages=1):
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
    if RUN[LOW]:
        low_at += weight_size * RUN[_REPEATS]
    else:
        wide_at += weight_size * RUN[_REPEATS]
    return h0, h1, h2, h3, low_at, wide_at, vector_at + vector_size * RUN[_REPEATS]


@triton.jit
def _few_sums(h, weight, vectors, at, sample, sets, o, first, RUN: tl.constexpr, COLUMNS: tl.constexpr):
    """Σ_c W[o, c]·(s∘h + t)_c over channels [first, first + COLUMNS)."""
    c = first + tl.arange(0, COLUMNS)
    u = modulated(h, vectors, at, sample, sets, first, RUN[CHANNELS], 3, RUN, COLUMNS)
    pitch = (RUN[INPUTS] + 15) // 16 * 16
    w = tl.load(weight + o * pitch + c, mask=c < RUN[CHANNELS], other=0.0)
    return tl.sum(u * w[None, :], 1)


@triton.jit
def store_few(
    out, h0, h1, h2, h3, x, exists, dimensions, weight, vectors, at, sample, sets,
    RUN: tl.constexpr, PARTS: tl.constexpr, PART: tl.constexpr,
):  # fmt: skip
    """The last layer, an output at a time."""
    weight = own_weight(weight, sample, RUN)
    pitch: tl.constexpr = (RUN[INPUTS] + 15) // 16 * 16
    for o in range(RUN[OUTPUTS]):
        z = _few_sums(h0, weight, vectors, at, sample, sets, o, 0, RUN, PART)
        if PARTS == 4:
            z += _few_sums(h1, weight, vectors, at, sample, sets, o, PART, RUN, PART)
            z += _few_sums(h2, weight, vectors, at, sample, sets, o, 2 * PART, RUN, PART)
            z += _few_sums(h3, weight, vectors, at, sample, sets, o, 3 * PART, RUN, PART)
        if RUN[SKIP]:
            for d in range(dimensions):
                channel = RUN[CHANNELS] + d
                u = coordinate(x, exists, d, vectors, at, sample, sets, channel, RUN)
                z += u * tl.load(weight + o * pitch + channel)
        if RUN[BIAS] != 0:
            z += tl.load(own_vector(vectors, at, sample, sets, 0, RUN) + o)
        if RUN[SCALE] != 0:
            z *= tl.load(own_vector(vectors, at, sample, sets, 1, RUN) + o)
        if RUN[SHIFT] != 0:
            z += tl.load(own_vector(vectors, at, sample, sets, 2, RUN) + o)
        tl.store(out + o, activated(z, RUN[ACTIVATION]), mask=exists)


@triton.jit
def store(out, h, exists, first, WIDTH: tl.constexpr, PART: tl.constexpr):
    o = first + tl.arange(0, PART)
    tl.store(out[:, None] + o[None, :], h, mask=exists[:, None] & (o[None, :] < WIDTH))
