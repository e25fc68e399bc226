"""The backward of coordinate MLPs: a program takes tiles of one sample's points through all layers and back.

Nothing of a tile leaves the chip.  Its products W·u + b are held in registers for each layer, from which activations
and their derivatives are computed again, and so are the sums of gradients over the program's points, which it stores
once, in a row of its own.  :func:`add_rows` adds the rows of a gradient, always in the same order.
"""

from __future__ import annotations

import triton
import triton.language as tl

from digan_fast.kernels._activations import activated, derivative
from digan_fast.kernels._mlp_layers import (
    ACTIVATION,
    CHANNELS,
    INPUT_SCALE,
    INPUTS,
    LOW,
    OUTPUTS,
    SCALE,
    SKIP,
    add_coordinates,
    biased,
    coordinate,
    first_weight,
    modulated,
    own_vector,
    own_weight,
    sizes,
)
from digan_fast.kernels._products import product

# Of a layer's gradients, in the order of the op's lists; UNWANTED is the place of one that is not wanted.
_WEIGHT, _BIAS, _SCALE, _SHIFT, _INPUT_SCALE, _INPUT_SHIFT = (tl.constexpr(i) for i in range(6))
UNWANTED = -1
_UNWANTED = tl.constexpr(UNWANTED)


@triton.jit
def _multiplied(a, b):
    """a·b rounded to float32, to be summed.

    A product that is contracted with the first addition of a reduction would differ in the last bit between threads
    that hold the same sum, so that what they store depends on which is last.
    """
    a, b = tl.broadcast(a, b)
    return tl.fma(a, b, tl.zeros_like(a))


@triton.jit
def _begins(wide, low, sample, sets, LAYER: tl.constexpr, LAYERS: tl.constexpr):
    """Where this sample's weights of a layer begin, and the layer's vectors in their row."""
    wide_at, low_at, vectors_at = sets * 0, sets * 0, sets * 0
    for i in tl.static_range(LAYER):
        weight, vectors = sizes(sets, LAYERS[i], i == 0)
        if LAYERS[i][LOW]:
            low_at += weight
        else:
            wide_at += weight
        vectors_at += vectors
    if LAYER == 0:
        found = first_weight(wide, sample, LAYERS[0])
    elif LAYERS[LAYER][LOW]:
        found = own_weight(low + low_at, sample, LAYERS[LAYER])
    else:
        found = own_weight(wide + wide_at, sample, LAYERS[LAYER])
    return found, vectors_at


@triton.jit
def _held(weight, RUN: tl.constexpr, IS_PRODUCT: tl.constexpr, WIDTH: tl.constexpr):
    """The weights of channels of a layer that is a product."""
    o, c = tl.arange(0, WIDTH), tl.arange(0, WIDTH)
    found = tl.zeros((1,), tl.float32)
    if IS_PRODUCT:
        pitch = (RUN[INPUTS] + 15) // 16 * 16
        inside = (o[:, None] < RUN[OUTPUTS]) & (c[None, :] < RUN[CHANNELS])
        found = tl.load(weight + o[:, None] * pitch + c[None, :], mask=inside, other=0.0)
    return found


@triton.jit
def _zeros(LAYER: tl.constexpr, RUN: tl.constexpr, PLACES: tl.constexpr, COLUMNS: tl.constexpr,
           WIDTH: tl.constexpr, AXES: tl.constexpr):  # fmt: skip
    """A layer's sums: by weights of channels and of coordinates, z, γ, and t and s of channels and of coordinates."""
    nothing = tl.zeros((1,), tl.float32)
    weights = nothing
    weights_of_axes = nothing
    if PLACES[_WEIGHT] != _UNWANTED:
        if LAYER > 0:
            weights = tl.zeros((COLUMNS, WIDTH), tl.float32)
        if LAYER == 0 or RUN[SKIP]:
            weights_of_axes = tl.zeros((COLUMNS, AXES), tl.float32)
    outputs = tl.zeros((COLUMNS,), tl.float32)
    channels = tl.zeros((WIDTH,), tl.float32)
    axes = tl.zeros((AXES,), tl.float32)
    return weights, weights_of_axes, outputs, outputs, channels, channels, axes, axes


@triton.jit
def _products_of_few(z, u, weight, pitch, RUN: tl.constexpr, COLUMNS: tl.constexpr, WIDTH: tl.constexpr):
    """W·u, an output at a time."""
    column, c = tl.arange(0, COLUMNS), tl.arange(0, WIDTH)
    for o in range(RUN[OUTPUTS]):
        w = tl.load(weight + o * pitch + c, mask=c < RUN[CHANNELS], other=0.0)
        z = tl.where(column[None, :] == o, tl.sum(_multiplied(u, w[None, :]), 1)[:, None], z)
    return z


@triton.jit
def _product(
    h, held, x, exists, dimensions, weight, vectors, at, sample, sets,
    RUN: tl.constexpr, LAYER: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """W·(s∘u + t) + b of a layer, u the tile's channels h and, where it reads them, the coordinates."""
    pitch: tl.constexpr = RUN[INPUTS] if LAYER == 0 else (RUN[INPUTS] + 15) // 16 * 16
    z = tl.zeros((ROWS, COLUMNS), tl.float32)
    if LAYER > 0:
        u = modulated(h, vectors, at, sample, sets, 0, RUN[CHANNELS], 3, RUN, WIDTH)
        if COLUMNS == WIDTH:
            z = product(u.to(held.dtype), tl.trans(held), z, "ieee")
        else:
            z = _products_of_few(z, u, weight, pitch, RUN, COLUMNS, WIDTH)
    if LAYER == 0 or RUN[SKIP]:
        z = add_coordinates(z, x, exists, dimensions, weight, pitch, vectors, at, sample, sets, 0, RUN, COLUMNS)
    return biased(z, vectors, at, sample, sets, 0, RUN, COLUMNS)


@triton.jit
def _through_coordinates(
    weights, shift, scale, dx, dz, x, exists, dimensions, weight, pitch, vectors, at, sample, sets,
    RUN: tl.constexpr, PLACES: tl.constexpr, COORDINATES: tl.constexpr, COLUMNS: tl.constexpr, AXES: tl.constexpr,
):  # fmt: skip
    """Adds the gradients by a layer's weights of coordinates, by their s and t, and by the coordinates."""
    o, axis = tl.arange(0, COLUMNS), tl.arange(0, AXES)
    for d in range(dimensions):
        channel = RUN[CHANNELS] + d
        if PLACES[_WEIGHT] != _UNWANTED:
            u = coordinate(x, exists, d, vectors, at, sample, sets, channel, RUN)
            weights += tl.where(axis[None, :] == d, tl.sum(_multiplied(dz, u[:, None]), 0)[:, None], 0.0)
        if COORDINATES or PLACES[_INPUT_SCALE] != _UNWANTED or PLACES[_INPUT_SHIFT] != _UNWANTED:
            w = tl.load(weight + o * pitch + channel, mask=o < RUN[OUTPUTS], other=0.0)
            du = tl.sum(_multiplied(dz, w[None, :]), 1)
            if PLACES[_INPUT_SHIFT] != _UNWANTED:
                shift += tl.where(axis == d, tl.sum(du, 0), 0.0)
            if PLACES[_INPUT_SCALE] != _UNWANTED:
                given = tl.load(x + d, mask=exists, other=0.0)
                scale += tl.where(axis == d, tl.sum(_multiplied(du, given), 0), 0.0)
            if COORDINATES:
                if RUN[INPUT_SCALE] != 0:
                    du *= tl.load(own_vector(vectors, at, sample, sets, 3, RUN) + channel)
                dx += tl.where(axis[None, :] == d, du[:, None], 0.0)
    return weights, shift, scale, dx


@triton.jit
def _through_few(
    weights, dz, u, weight, pitch, RUN: tl.constexpr, PLACES: tl.constexpr, ROWS: tl.constexpr,
    COLUMNS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """The gradients by weights and inputs, an output at a time."""
    column, c = tl.arange(0, COLUMNS), tl.arange(0, WIDTH)
    du = tl.zeros((ROWS, WIDTH), tl.float32)
    for o in range(RUN[OUTPUTS]):
        w = tl.load(weight + o * pitch + c, mask=c < RUN[CHANNELS], other=0.0)
        one = tl.sum(tl.where(column[None, :] == o, dz, 0.0), 1)
        du = tl.fma(one[:, None] + tl.zeros_like(du), w[None, :] + tl.zeros_like(du), du)
        if PLACES[_WEIGHT] != _UNWANTED:
            weights += tl.where(column[:, None] == o, tl.sum(_multiplied(one[:, None], u), 0)[None, :], 0.0)
    return weights, du


@triton.jit
def _through_product(
    weights, dz, u, held, PLACES: tl.constexpr, INPUTS_WANTED: tl.constexpr
):  # fmt: skip
    """The gradients by weights and inputs, of operands in the weights' type."""
    operand = dz.to(held.dtype)
    if PLACES[_WEIGHT] != _UNWANTED:
        weights = product(tl.trans(operand), u.to(held.dtype), weights, "ieee")
    du = tl.zeros_like(dz)
    if INPUTS_WANTED:
        du = product(operand, held, du, "ieee")
    return weights, du


@triton.jit
def _through_layer(
    sums, held, dh, dx, p, below, x, exists, dimensions, weight, vectors, at, sample, sets,
    RUN: tl.constexpr, UNDER: tl.constexpr, LAYER: tl.constexpr, PLACES: tl.constexpr, REACHES: tl.constexpr,
    COORDINATES: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, WIDTH: tl.constexpr, AXES: tl.constexpr,
):  # fmt: skip
    """A layer's sums with this tile's gradients, those by its inputs and by the coordinates; ``below`` is the
    pre-activation of the layer UNDER it."""
    weights, weights_of_axes, outputs, scaled, shift, scale, axis_shift, axis_scale = sums
    pitch: tl.constexpr = RUN[INPUTS] if LAYER == 0 else (RUN[INPUTS] + 15) // 16 * 16
    dz = dh
    if RUN[ACTIVATION] != "linear":
        z = modulated(p, vectors, at, sample, sets, 0, RUN[OUTPUTS], 1, RUN, COLUMNS)
        dz = _multiplied(dh, derivative(z, RUN[ACTIVATION]))
    if PLACES[_BIAS] != _UNWANTED or PLACES[_SHIFT] != _UNWANTED:
        outputs += tl.sum(dz, 0)
    if PLACES[_SCALE] != _UNWANTED:
        scaled += tl.sum(_multiplied(dz, p), 0)
    if RUN[SCALE] != 0:
        o = tl.arange(0, COLUMNS)
        factor = tl.load(own_vector(vectors, at, sample, sets, 1, RUN) + o, mask=o < RUN[OUTPUTS], other=0.0)
        dz = _multiplied(dz, factor[None, :])
    if LAYER == 0 or RUN[SKIP]:
        weights_of_axes, axis_shift, axis_scale, dx = _through_coordinates(
            weights_of_axes, axis_shift, axis_scale, dx, dz, x, exists, dimensions, weight, pitch, vectors, at,
            sample, sets, RUN, PLACES, COORDINATES, COLUMNS, AXES,
        )  # fmt: skip
    if LAYER > 0:
        h = activated(below, UNDER[ACTIVATION])
        u = modulated(h, vectors, at, sample, sets, 0, RUN[CHANNELS], 3, RUN, WIDTH)
        INPUTS_WANTED: tl.constexpr = REACHES or PLACES[_INPUT_SCALE] != _UNWANTED or PLACES[_INPUT_SHIFT] != _UNWANTED
        if COLUMNS == WIDTH:
            weights, dh = _through_product(weights, dz, u, held, PLACES, INPUTS_WANTED)
        else:
            weights, dh = _through_few(weights, dz, u, weight, pitch, RUN, PLACES, ROWS, COLUMNS, WIDTH)
        if PLACES[_INPUT_SHIFT] != _UNWANTED:
            shift += tl.sum(dh, 0)
        if PLACES[_INPUT_SCALE] != _UNWANTED:
            scale += tl.sum(_multiplied(dh, h), 0)
        if RUN[INPUT_SCALE] != 0:
            c = tl.arange(0, WIDTH)
            factor = tl.load(own_vector(vectors, at, sample, sets, 3, RUN) + c, mask=c < RUN[CHANNELS], other=0.0)
            dh = _multiplied(dh, factor[None, :])
    return (weights, weights_of_axes, outputs, scaled, shift, scale, axis_shift, axis_scale), dh, dx


@triton.jit
def _store_vector(row, values, EXTENT: tl.constexpr, FIRST: tl.constexpr, COLUMNS: tl.constexpr):
    c = tl.arange(0, COLUMNS)
    tl.store(row + FIRST + c, values, mask=c < EXTENT)


@triton.jit
def _store_sums(
    row, sums, dimensions, vectors, at, sample, sets, RUN: tl.constexpr, LAYER: tl.constexpr, PLACES: tl.constexpr,
    COLUMNS: tl.constexpr, WIDTH: tl.constexpr, AXES: tl.constexpr,
):  # fmt: skip
    """The gradients but for ω; that by the bias is γ times that by the shift."""
    weights, weights_of_axes, outputs, scaled, shift, scale, axis_shift, axis_scale = sums
    o, c, axis = tl.arange(0, COLUMNS), tl.arange(0, WIDTH), tl.arange(0, AXES)
    if PLACES[_WEIGHT] != _UNWANTED:
        to = row + PLACES[_WEIGHT] + o[:, None] * RUN[INPUTS]
        if LAYER > 0:
            inside = (o[:, None] < RUN[OUTPUTS]) & (c[None, :] < RUN[CHANNELS])
            tl.store(to + c[None, :], weights, mask=inside)
        if LAYER == 0 or RUN[SKIP]:
            inside = (o[:, None] < RUN[OUTPUTS]) & (axis[None, :] < dimensions)
            tl.store(to + RUN[CHANNELS] + axis[None, :], weights_of_axes, mask=inside)
    if PLACES[_SHIFT] != _UNWANTED:
        _store_vector(row, outputs, RUN[OUTPUTS], PLACES[_SHIFT], COLUMNS)
    if PLACES[_SCALE] != _UNWANTED:
        _store_vector(row, scaled, RUN[OUTPUTS], PLACES[_SCALE], COLUMNS)
    if PLACES[_BIAS] != _UNWANTED:
        if RUN[SCALE] != 0:
            factor = tl.load(own_vector(vectors, at, sample, sets, 1, RUN) + o, mask=o < RUN[OUTPUTS], other=0.0)
            outputs *= factor
        _store_vector(row, outputs, RUN[OUTPUTS], PLACES[_BIAS], COLUMNS)
    if PLACES[_INPUT_SCALE] != _UNWANTED:
        _store_vector(row, scale, RUN[CHANNELS], PLACES[_INPUT_SCALE], WIDTH)
        _store_vector(row, axis_scale, RUN[INPUTS] - RUN[CHANNELS], PLACES[_INPUT_SCALE] + RUN[CHANNELS], AXES)
    if PLACES[_INPUT_SHIFT] != _UNWANTED:
        _store_vector(row, shift, RUN[CHANNELS], PLACES[_INPUT_SHIFT], WIDTH)
        _store_vector(row, axis_shift, RUN[INPUTS] - RUN[CHANNELS], PLACES[_INPUT_SHIFT] + RUN[CHANNELS], AXES)


@triton.jit
def differentiate(
    partials, dcoordinates, grad, coordinates, wide, low, vectors, sets, points, dimensions, own_coordinates, parts,
    part_points, LAYERS: tl.constexpr, PLACES: tl.constexpr, SIZE: tl.constexpr, REACHES: tl.constexpr,
    COORDINATES: tl.constexpr, COLUMNS: tl.constexpr, ROWS: tl.constexpr, WIDTH: tl.constexpr, AXES: tl.constexpr,
):  # fmt: skip
    part = tl.program_id(0) % parts
    sample = (tl.program_id(0) // parts).to(tl.int64)
    sets = sample * 0 + sets  # in 64 bits, as places in the rows
    first = part * part_points
    end = tl.minimum(points, first + part_points)
    LAST: tl.constexpr = len(LAYERS) - 1
    axis, last = tl.arange(0, AXES), tl.arange(0, COLUMNS[LAST])
    begins, held = tl.tuple(()), tl.tuple(())
    for i in tl.static_range(len(LAYERS)):
        begins += (_begins(wide, low, sample, sets, i, LAYERS),)
        held += (_held(begins[i][0], LAYERS[i], i > 0 and COLUMNS[i] == WIDTH, WIDTH),)
    # From the last layer to the first.
    sums = tl.tuple(())
    for i in tl.static_range(LAST, -1, -1):
        sums += (_zeros(i, LAYERS[i], PLACES[i], COLUMNS[i], WIDTH, AXES),)
    for start in range(first, end, ROWS):
        m = start + tl.arange(0, ROWS)
        exists = m < end
        x = coordinates + (sample * own_coordinates * points + m) * dimensions
        h = tl.zeros((ROWS, WIDTH), tl.float32)
        products, pre_activations = tl.tuple(()), tl.tuple(())
        for i in tl.static_range(LAST):
            weight, at = begins[i]
            products += (
                _product(
                    h, held[i], x, exists, dimensions, weight, vectors, at, sample, sets,
                    LAYERS[i], i, ROWS, COLUMNS[i], WIDTH,
                ),
            )  # fmt: skip
            pre_activations += (
                modulated(products[i], vectors, at, sample, sets, 0, LAYERS[i][OUTPUTS], 1, LAYERS[i], WIDTH),
            )
            h = activated(pre_activations[i], LAYERS[i][ACTIVATION])
        p = h
        if LAYERS[LAST][ACTIVATION] != "linear" or PLACES[LAST][_SCALE] != _UNWANTED:
            weight, at = begins[LAST]
            p = _product(
                h, held[LAST], x, exists, dimensions, weight, vectors, at, sample, sets,
                LAYERS[LAST], LAST, ROWS, COLUMNS[LAST], WIDTH,
            )  # fmt: skip
        products += (p,)
        to = (sample * points + m[:, None]) * LAYERS[LAST][OUTPUTS] + last[None, :]
        dh = tl.load(grad + to, mask=exists[:, None] & (last[None, :] < LAYERS[LAST][OUTPUTS]), other=0.0)
        dx = tl.zeros((ROWS, AXES), tl.float32)
        added = tl.tuple(())
        for i in tl.static_range(LAST, -1, -1):
            of_layer = sums[LAST - i]
            if REACHES[i + 1]:
                weight, at = begins[i]
                below = h
                if i > 0:
                    below = pre_activations[i - 1]
                of_layer, dh, dx = _through_layer(
                    of_layer, held[i], dh, dx, products[i], below, x, exists, dimensions, weight, vectors, at, sample,
                    sets, LAYERS[i], LAYERS[i - 1 if i > 0 else 0], i, PLACES[i], REACHES[i], COORDINATES, ROWS,
                    COLUMNS[i], WIDTH, AXES,
                )  # fmt: skip
            added += (of_layer,)
        sums = added
        if COORDINATES:
            to = (sample * points + m[:, None]) * dimensions + axis[None, :]
            tl.store(dcoordinates + to, dx, mask=exists[:, None] & (axis[None, :] < dimensions))
    row = partials + tl.program_id(0).to(tl.int64) * SIZE
    for i in tl.static_range(len(LAYERS)):
        _store_sums(
            row, sums[LAST - i], dimensions, vectors, begins[i][1], sample, sets,
            LAYERS[i], i, PLACES[i], COLUMNS[i], WIDTH, AXES,
        )  # fmt: skip


@triton.jit
def add_rows(out, partials, rows, pitch, first, count, factor, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    # out[g, i] = factor·Σ_r partials[g·rows + r, first + i].
    across = tl.cdiv(count, COLUMNS)
    group = (tl.program_id(0) // across).to(tl.int64)
    i = tl.program_id(0) % across * COLUMNS + tl.arange(0, COLUMNS)
    total = tl.zeros((ROWS, COLUMNS), tl.float32)
    for start in range(0, rows, ROWS):
        r = start + tl.arange(0, ROWS)
        at = (group * rows + r[:, None]) * pitch + first + i[None, :]
        total += tl.load(partials + at, mask=(r[:, None] < rows) & (i[None, :] < count), other=0.0)
    tl.store(out + group * count + i, tl.sum(total, 0) * factor, mask=i < count)
