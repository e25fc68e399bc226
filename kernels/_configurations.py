"""Launch configurations: tables by class of architecture, and the choice of a tile by shape.

A tile computes ``rows``×``columns`` outputs, ``depth`` terms of the sum at a time, with ``stages`` pairs of operand
tiles in flight.  The entries follow from what fits (accumulator ≤ 128 registers per thread, shared memory ≤ 99 KiB on
sm_80 and sm_120, ≤ 227 KiB on sm_90 and sm_100), and tests/kernels/compiled/ records what they compile to.  On an
H200 the entry for half-precision products is within 8 % of the best of 64 tiles; the others were not compared.
:func:`tuned` replaces an entry.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
import triton
from triton.runtime import driver

from digan_fast.kernels._products import VERSION


@dataclass(frozen=True)
class Tile:
    rows: int
    columns: int
    depth: int
    warps: int
    stages: int = 3

    def named(self) -> dict[str, Any]:
        """The tile as keyword arguments of a launch."""
        extents = {"TILE_ROWS": self.rows, "TILE_COLUMNS": self.columns, "TILE_DEPTH": self.depth}
        return extents | {"num_warps": self.warps, "num_stages": self.stages, "enable_fp_fusion": True}

    def fitted(self, rows: int, columns: int, depth: int) -> Tile:
        """Cut down to a product of this shape; tensor cores need at least 16 of each."""
        small = [
            max(16, min(most, triton.next_power_of_2(extent)))
            for most, extent in ((self.rows, rows), (self.columns, columns), (self.depth, depth))
        ]
        shrunk = self.rows * self.columns // (small[0] * small[1])
        warps = max(1 if small[0] * small[1] < 1024 else 2, self.warps // max(1, shrunk // 2))
        return replace(self, rows=small[0], columns=small[1], depth=small[2], warps=warps)


# By class of architecture and type of operands: half (bfloat16, float16), tf32, exact (float32).
_PRODUCTS: dict[tuple[int, str], Tile] = {
    (80, "half"): Tile(128, 128, 32, 8),
    (80, "tf32"): Tile(128, 64, 32, 4),
    (80, "exact"): Tile(64, 64, 16, 4),
    (90, "half"): Tile(128, 256, 64, 8),
    (90, "tf32"): Tile(128, 128, 32, 8),
    (90, "exact"): Tile(64, 64, 16, 4),
    (100, "half"): Tile(128, 256, 64, 8),
    (100, "tf32"): Tile(128, 128, 32, 8),
    (100, "exact"): Tile(64, 64, 16, 4),
    (120, "half"): Tile(128, 128, 32, 8),
    (120, "tf32"): Tile(128, 64, 32, 8),
    (120, "exact"): Tile(64, 64, 16, 4),
}
# The left operand is computed in registers: from a gradient and an output, or sines.
_GRADIENTS: dict[tuple[int, str], Tile] = {
    **{(arch, "half"): Tile(64, 128, 32, 8, 2) for arch in (80, 90, 120)},
    (100, "half"): Tile(64, 128, 32, 4, 2),
    **{(arch, "tf32"): Tile(64, 64, 32, 8, 2) for arch in (80, 90, 100, 120)},
    **{(arch, "exact"): Tile(32, 64, 16, 4, 2) for arch in (80, 90, 100, 120)},
}
# The left operands are sines and cosines, recomputed for each tile of columns, which is therefore wide.
_FEATURES = {
    **{(arch, "half"): Tile(64, 256, 32, 8, 2) for arch in (80, 120)},
    **{(arch, "half"): Tile(128, 128, 32, 8, 2) for arch in (90, 100)},
    **{(arch, "tf32"): Tile(64, 128, 32, 8, 2) for arch in (80, 90, 100, 120)},
    **{(arch, "exact"): Tile(32, 128, 16, 8, 2) for arch in (80, 90, 100, 120)},
}
if VERSION < (3, 9):
    # They spill with the number of warps used with 3.9.
    _GRADIENTS[100, "half"] = replace(_GRADIENTS[100, "half"], warps=8)
    if VERSION >= (3, 7):
        _GRADIENTS[120, "tf32"] = replace(_GRADIENTS[120, "tf32"], warps=4)
        _GRADIENTS[80, "exact"] = replace(_GRADIENTS[80, "exact"], warps=8)
# The last level of a rendering: ``columns`` is its whole width, ``depth`` is that of the sines' products.
_RENDERS = {
    (90, "half"): Tile(64, 256, 32, 8, 2),
    (100, "half"): Tile(128, 256, 32, 8, 2),
    **{(arch, "half"): Tile(16, 256, 32, 8, 2) for arch in (80, 120)},
}
if (3, 7) <= VERSION < (3, 9):
    # Two stages spill with these versions.
    _RENDERS[90, "half"] = replace(_RENDERS[90, "half"], stages=1)
# Coordinate MLPs: ``rows`` of the widest network, ``columns``; a narrower one has more.  ``depth`` is the most channels
# that are not divided into four parts.
_MLPS: dict[tuple[int, str], Tile] = {
    **{(arch, "half"): Tile(16, 256, 64, 8, 1) for arch in (80, 120)},
    **{(arch, "half"): Tile(64, 256, 64, 8, 1) for arch in (90, 100)},
    **{(arch, "exact"): Tile(16, 128, 32, 4, 1) for arch in (80, 90, 100, 120)},
}
# Classes on which rendering uses that kernel.  Each tile reads a layer's weights from L2 again: 256 KiB per layer and
# 128 pixels, for 128 KiB of activations not stored or loaded.  On sm_80 and sm_120 more than 16 pixels spill: 1 MiB.
# Triton before 3.9 compiles it for sm_100 to a kernel that does nothing.
FUSED = {90, 100} if VERSION >= (3, 9) else {90}
TABLES = {"product": _PRODUCTS, "gradient": _GRADIENTS, "features": _FEATURES, "render": _RENDERS, "mlp": _MLPS}
# Sums over pixels are split until there are about this many programs; an H100 has 132 multiprocessors.
PROGRAMS = 264


def architecture() -> int:
    """The class of the current device: 80 (and 86, 87, 89), 90, 100 (and 103) or 120."""
    if triton.knobs.runtime.interpret:
        return 80
    found = driver.active.get_current_target().arch
    return max(known for known in (80, 90, 100, 120) if known <= max(80, found))


def tile(table: str, dtype: torch.dtype, precision: str, rows: int, columns: int, depth: int) -> Tile:
    """The entry for operands of this type, cut down to the shape."""
    kind = "half" if dtype.itemsize == 2 else "tf32" if precision == "tf32" else "exact"
    chosen = TABLES[table][architecture(), kind].fitted(rows, columns, depth)
    return chosen if _can_be_staged(table, kind) else replace(chosen, stages=1)


def _can_be_staged(table: str, kind: str) -> bool:
    """Whether this version of Triton compiles loops with operands in flight correctly."""
    if architecture() == 90 and table == "gradient" and kind != "exact":
        # Before 3.9 a tile's left operand overwrites registers that a wgmma of the previous tile may still be reading.
        return VERSION >= (3, 9)
    # Before 3.7.1 there is no fence between asynchronous copies and the tcgen05.mma that reads the copied data.
    return architecture() != 100 or VERSION >= (3, 7, 1)


def splits(programs: int, rows: int, tile_rows: int) -> int:
    """The number of parts into which a sum over ``rows`` rows is split, each of whole tiles."""
    return max(1, min(triton.cdiv(PROGRAMS, max(1, programs)), triton.cdiv(rows, 4 * tile_rows)))


@contextlib.contextmanager
def tuned(table: str, kind: str, **changes: int) -> Iterator[Tile]:
    """Changes these fields of the entry for this machine's class, within a ``with`` block."""
    entries, key = TABLES[table], (architecture(), kind)
    before = entries[key]
    entries[key] = replace(before, **changes)
    try:
        yield entries[key]
    finally:
        entries[key] = before
