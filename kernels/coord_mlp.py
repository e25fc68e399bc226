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
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from digan_fast.kernels import _configurations
from digan_fast.kernels._launch import on_device
from digan_fast.kernels._mlp_backward import UNWANTED, add_rows, differentiate
from digan_fast.kernels._mlp_layers import (
    ABSENT,
    OUTPUTS,
    OWN,
    SHARED,
    Run,
    of_coordinates,
    sizes,
    store,
    store_few,
    through,
)
from digan_fast.kernels._products import VERSION
from digan_fast.kernels.linear_act import block_of
from digan_fast.reference import coord_mlp as reference

# The widest layer, outputs of the last one aside, by the bytes of the operands of products.
WIDEST = {4: 128, 2: 256}
MOST_ROWS = 64
# Before 3.9 a tuple of constants cannot contain strings.
OLDEST = (3, 9)
# Outputs of a last layer that are sums over a tile's channels; more are products.
FEW = 16
ALIGNMENT = 16
# Backward, the points of a tile; by the bytes of operands and the channels of a tile, its warps and the most products,
# whose sums of gradients are in registers; and the most dimensions.  More of any of them spill.
BACKWARD_POINTS = 16
WARPS = {4: {32: 8, 64: 8, 128: 8}, 2: {32: 4, 64: 8, 128: 8}}
MOST_PRODUCTS = {4: {32: 4, 64: 2, 128: 0}, 2: {32: 5, 64: 4, 128: 1}}
MOST_DIMENSIONS = 16
# The lists whose gradients are ω times the sums: weights, biases, shifts.
TIMES_OMEGA = (0, 1, 3)
# Of the tile that adds rows of partial sums: the most rows, the least columns, and numbers.
ADDED_ROWS, ADDED_COLUMNS, ADDED = 32, 128, 4096


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
    h0 = of_coordinates(x, exists, dimensions, wide, vectors, sample, sets, 0, FIRST, TILE_ROWS, PART)
    h1, h2, h3 = h0, h0, h0
    if PARTS == 4:
        h1 = of_coordinates(x, exists, dimensions, wide, vectors, sample, sets, PART, FIRST, TILE_ROWS, PART)
        h2 = of_coordinates(x, exists, dimensions, wide, vectors, sample, sets, 2 * PART, FIRST, TILE_ROWS, PART)
        h3 = of_coordinates(x, exists, dimensions, wide, vectors, sample, sets, 3 * PART, FIRST, TILE_ROWS, PART)
    wide_at, vector_at = sizes(sets, FIRST, True)
    low_at = vector_at * 0
    for i in tl.static_range(1, len(RUNS) - 1 if NARROW else len(RUNS)):
        h0, h1, h2, h3, low_at, wide_at, vector_at = through(
            h0, h1, h2, h3, x, exists, dimensions, wide, low, vectors, low_at, wide_at, vector_at, sample, sets,
            RUNS[i], FIRST, ENCODED, TILE_ROWS, PARTS, PART,
        )  # fmt: skip
    LAST: tl.constexpr = RUNS[len(RUNS) - 1]
    last = out + (sample * points + m) * LAST[OUTPUTS]
    if NARROW:
        store_few(
            last, h0, h1, h2, h3, x, exists, dimensions, wide + wide_at, vectors, vector_at, sample, sets,
            LAST, PARTS, PART,
        )  # fmt: skip
    else:
        store(last, h0, exists, 0, LAST[OUTPUTS], PART)
        if PARTS == 4:
            store(last, h1, exists, PART, LAST[OUTPUTS], PART)
            store(last, h2, exists, 2 * PART, LAST[OUTPUTS], PART)
            store(last, h3, exists, 3 * PART, LAST[OUTPUTS], PART)


def _kind(tensor: Tensor | None) -> int:
    return ABSENT if tensor is None else SHARED if len(tensor) == 1 else OWN


def _aligned(extent: int) -> int:
    return -(-extent // ALIGNMENT) * ALIGNMENT


def _layers(
    weights: Sequence[Tensor],
    vectors: Sequence[Sequence[Tensor | None]],
    activations: Sequence[str],
    skips: Sequence[bool],
    encoded: bool,
    precision: str,
) -> list[Run]:
    """A run of one for each layer."""
    layers: list[Run] = []
    types = reference.operand_types(skips, encoded, precision)
    for i, (weight, activation, skip) in enumerate(zip(weights, activations, skips, strict=True)):
        outputs, inputs = weight.shape[1:]
        kinds = (_kind(weight), *(_kind(group[i]) for group in vectors))
        channels = layers[-1].outputs if i else 0
        layers.append(Run(1, outputs, inputs, channels, activation, types[i] is not None, skip, *kinds))
    return layers


def _runs(layers: Sequence[Run]) -> tuple[Run, ...]:
    """Like layers in succession as one; the first and the last are runs of their own."""
    runs: list[Run] = []
    for i, run in enumerate(layers):
        if 1 < i < len(layers) - 1 and runs[-1]._replace(repeats=1) == run:
            run = run._replace(repeats=runs.pop().repeats + 1)
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
    if VERSION < OLDEST:
        return f"Triton {triton.__version__} does not compile its constants; it needs 3.9"
    *vectors, activations, _omegas, skips, encoded, precision = rest
    runs = _runs(_layers(weights, vectors, activations, skips, encoded, precision))
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


def _rows(
    weights: Sequence[Tensor],
    vectors: Sequence[Sequence[Tensor | None]],
    omegas: Sequence[float],
    skips: Sequence[bool],
    encoded: bool,
    precision: str,
) -> list[Tensor | None]:
    """What kernels read: the weights of products in float32, those of products in lower precision, and the vectors."""
    types = reference.operand_types(skips, encoded, precision)
    dtype = next((each for each in types if each is not None), torch.float32)
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
    return [*rows, _vectors(vectors, omegas)]


def coord_mlp(coordinates: Tensor, weights: Sequence[Tensor], *rest: Any) -> Tensor:
    *vectors, activations, omegas, skips, encoded, precision = rest
    tensors = [coordinates, *weights, *(each for group in vectors for each in group)]
    batch, (points, dimensions) = reference.batch_of(tensors), coordinates.shape[1:]
    shape = (batch, points, weights[-1].shape[1])
    if 0 in shape or any(weight.numel() == 0 for weight in weights):
        return reference.coord_mlp(coordinates, weights, *rest)
    runs = _runs(_layers(weights, vectors, activations, skips, encoded, precision))
    with on_device(coordinates):
        coordinates = coordinates.contiguous()
        rows = _rows(weights, vectors, omegas, skips, encoded, precision)
        out = coordinates.new_empty(shape)
        tile, width = _tile(runs, encoded, points), _width(runs, encoded)
        _forward[(triton.cdiv(points, tile.rows) * batch,)](
            out, coordinates, *rows, batch, points, dimensions, int(len(coordinates) > 1),
            RUNS=tuple(tuple(run) for run in runs), ENCODED=encoded, NARROW=_has_few(runs, encoded),
            TILE_ROWS=tile.rows, PARTS=width // tile.depth, PART=tile.depth,
            num_warps=tile.warps, num_stages=tile.stages, enable_fp_fusion=True,
        )  # fmt: skip
    return out


def _backward_width(layers: Sequence[Run], encoded: bool) -> int:
    return max(min(WARPS[4]), _width(layers, encoded))


def why_not_backward(weights: Sequence[Tensor], *rest: Any) -> str | None:
    """Why a network's backward does not fit into one kernel; the arguments are those of the op without coordinates."""
    if (reason := why_not(weights, *rest)) is not None:
        return reason
    *vectors, activations, _omegas, skips, encoded, precision = rest
    if encoded and any(skips):
        return "a layer reads encoded coordinates again"
    layers = _layers(weights, vectors, activations, skips, encoded, precision)
    if (dimensions := layers[0].inputs) > MOST_DIMENSIONS:
        return f"coordinates have {dimensions} dimensions; it holds {MOST_DIMENSIONS}"
    width, most = _backward_width(layers, encoded), MOST_PRODUCTS[_operand_bytes(layers, encoded)]
    if width not in most:
        return f"a tile is {width} channels wide; it holds {max(most)}"
    products = len(_products(layers, encoded))
    extra = (any(layer.scale for layer in layers), any(layer.input_scale or layer.input_shift for layer in layers),
             any(skips))  # fmt: skip
    if (holds := most[width] // (1 + sum(extra))) >= products:
        return None
    modulated = " with these scales, modulated inputs or skips" if any(extra) else ""
    return f"there are {products} products of {width} channels; it holds {holds} in {precision}{modulated}"


def _wanted(layers: int, given: Sequence[Tensor | None], needed: Sequence[bool]) -> tuple[list[tuple[int, ...]], int]:
    """For each layer the places of its gradients in a row of sums, and the row's extent."""
    places, size = [], 0
    for i in range(layers):
        of_layer = []
        for group in range(reference.LISTS):
            place = 1 + group * layers + i
            tensor = given[place] if needed[place] else None
            of_layer.append(UNWANTED if tensor is None else size)
            size += 0 if tensor is None else _aligned(tensor[0].numel())
        places.append(tuple(of_layer))
    return places, size


def coord_mlp_backward(grad: Tensor, coordinates: Tensor, weights: Sequence[Tensor], *rest: Any) -> list[Tensor]:
    *vectors, activations, omegas, skips, encoded, precision, needed = rest
    if grad.numel() == 0 or any(weight.numel() == 0 for weight in weights):
        return reference.coord_mlp_backward(grad, coordinates, weights, *rest)
    given = [coordinates, *weights, *(each for group in vectors for each in group)]
    sets, points, dimensions = len(grad), *coordinates.shape[1:]
    layers = _layers(weights, vectors, activations, skips, encoded, precision)
    places, size = _wanted(len(layers), given, needed)
    reaches = [needed[0]]
    for of_layer in places:
        reaches.append(reaches[-1] or any(place != UNWANTED for place in of_layer))
    width = _backward_width(layers, encoded)
    columns = [width] * len(layers)
    if _has_few(layers, encoded):
        columns[-1] = triton.next_power_of_2(layers[-1].outputs)
    warps = WARPS[_operand_bytes(layers, encoded)][width]
    parts = _configurations.splits(sets, points, BACKWARD_POINTS)
    part_points = triton.cdiv(triton.cdiv(points, parts), BACKWARD_POINTS) * BACKWARD_POINTS
    parts = triton.cdiv(points, part_points)
    with on_device(grad):
        partials = grad.new_empty((sets * parts, size))
        dcoordinates = grad.new_empty((sets, points, dimensions)) if needed[0] else None
        differentiate[(sets * parts,)](
            partials, dcoordinates, grad.contiguous(), coordinates.contiguous(),
            *_rows(weights, vectors, omegas, skips, encoded, precision), sets, points, dimensions,
            int(len(coordinates) > 1), parts, part_points, LAYERS=tuple(tuple(layer) for layer in layers),
            PLACES=tuple(places), SIZE=size, REACHES=tuple(reaches), COORDINATES=needed[0], COLUMNS=tuple(columns),
            ROWS=BACKWARD_POINTS, WIDTH=width, AXES=triton.next_power_of_2(dimensions), num_warps=warps, num_stages=1,
            enable_fp_fusion=True,
        )  # fmt: skip
        found = [grad.new_empty(0)] * len(given)
        if dcoordinates is not None:
            found[0] = reference.summed(dcoordinates, coordinates)
        for i, of_layer in enumerate(places):
            for group, first in enumerate(of_layer):
                place = 1 + group * len(layers) + i
                if first != UNWANTED:
                    factor = omegas[i] if group in TIMES_OMEGA else 1.0
                    found[place] = _added(partials, given[place], first, factor)
    return found


def _added(partials: Tensor, like: Tensor, first: int, factor: float) -> Tensor:
    """The sum over the rows of partial sums of each set of ``like``."""
    out = torch.empty_like(like, memory_format=torch.contiguous_format)
    groups, count = len(like), like[0].numel()
    rows = len(partials) // groups
    tall = min(ADDED_ROWS, triton.next_power_of_2(rows))
    across = min(ADDED // tall, max(ADDED_COLUMNS, triton.next_power_of_2(count)))
    add_rows[(triton.cdiv(count, across) * groups,)](
        out, partials, rows, partials.shape[1], first, count, factor, ROWS=tall, COLUMNS=across,
        num_warps=min(4, tall * across // ADDED_COLUMNS), enable_fp_fusion=True,
    )  # fmt: skip
    return out
