"""Times tiles on this machine's GPU: ``python -m digan_fast.kernels.tune``.

Prints the fastest tile of each table as JSON, which :func:`load` substitutes for the entries of
:mod:`digan_fast.kernels._configurations`; changes nothing by itself.  ``--help`` lists the options.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import math
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any

import torch
import triton
from tqdm import tqdm

from digan_fast.kernels import _configurations
from digan_fast.kernels._configurations import TABLES, Tile, architecture, tuned
from digan_fast.kernels.coord_linear import coord_linear
from digan_fast.kernels.linear_act import linear_act, linear_act_backward

# Returns the milliseconds that a call takes.
Timer = Callable[[Callable[[], Any]], float]
# Rows, outputs and inputs of a layer of DIGAN at 128²: sixteen frames of its last level, or of the one below.
SHAPES = {"product": (1 << 18, 256, 256), "gradient": (1 << 16, 512, 512), "features": (1 << 18, 256, 256)}
KINDS = {"bfloat16": "half", "float16": "half", "float32": "exact", "tf32": "tf32"}

logger = logging.getLogger("digan_fast")


def candidates(itemsize: int) -> list[Tile]:
    """Tiles with accumulators of 16 to 128 registers per thread and operands of at most 227 KiB of shared memory."""
    every = itertools.product((32, 64, 128, 256), (64, 128, 256), (16, 32, 64), (4, 8), (2, 3, 4))
    tiles = [Tile(*each) for each in every]
    return [
        tile
        for tile in tiles
        if 16 <= tile.rows * tile.columns / (32 * tile.warps) <= 128
        and (tile.rows + tile.columns) * tile.depth * tile.stages * itemsize <= 227 << 10
    ]


def work(table: str, shape: Sequence[int], dtype: torch.dtype, device: str) -> Callable[[], Any]:
    """A call that launches the table's kernels for a layer of this shape: rows, outputs, inputs."""
    rows, outputs, inputs = shape
    weight = torch.randn(1, outputs, inputs, device=device).to(dtype)
    if table == "features":
        side = math.isqrt(rows)
        frequency, phase = torch.randn(1, inputs // 2, 2, device=device), torch.randn(1, 1, inputs // 2, device=device)
        return lambda: coord_linear(None, frequency, phase, weight, None, [side, 0, 0, side, side], "lrelu", 1.0, None)
    x = torch.randn(1, rows, inputs, device=device).to(dtype)
    if table == "product":
        return lambda: linear_act(x, weight, None, "lrelu", 1.0, None)
    y = torch.randn(1, rows, outputs, device=device).to(dtype)
    return lambda: linear_act_backward(y, x, weight, None, y, "lrelu", 1.0, None)


def times(
    table: str, kind: str, call: Callable[[], Any], tiles: Iterable[Tile], timer: Timer
) -> list[tuple[float, Tile]]:
    """The milliseconds of each tile that can be launched, fastest first."""
    found = []
    for tile in tiles:
        with tuned(table, kind, **vars(tile)):
            try:
                found.append((timer(call), tile))
            except (triton.runtime.OutOfResources, triton.CompilationError) as error:
                logger.info("%s: %s", tile, error)
    return sorted(found, key=lambda entry: entry[0])


def load(path: str | Path) -> None:
    """Use the tiles of a file for the rest of the process.

    Raises ValueError, naming the entry, if it is not in the tables or not a tile.
    """
    for name, fields in json.loads(Path(path).read_text()).items():
        table, arch, kind = (*name.split(), "", "", "")[:3]
        key = int(arch) if arch.isdigit() else 0, kind
        if table not in TABLES or key not in TABLES[table]:
            raise ValueError(f"{path}: {name!r}, expected such as 'product 90 half'")
        if not (isinstance(fields, list) and len(fields) == 5 and all(isinstance(n, int) and n > 0 for n in fields)):
            raise ValueError(f"{path}: {name}: {fields!r}, expected rows, columns, depth, warps and stages")
        TABLES[table][key] = Tile(*fields)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m digan_fast.kernels.tune", description=__doc__)
    parser.add_argument("--tables", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--shape", type=int, nargs=3, metavar=("ROWS", "OUTPUTS", "INPUTS"), help="default: DIGAN's")
    parser.add_argument("--dtype", choices=KINDS, default="bfloat16")
    options = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        parser.error("torch sees no CUDA device")
    kind = KINDS[options.dtype]
    torch.set_float32_matmul_precision("high" if kind == "tf32" else "highest")
    dtype = getattr(torch, options.dtype.replace("tf32", "float32"))
    best = {}
    for table in options.tables:
        call = work(table, options.shape or SHAPES[table], dtype, "cuda")
        before = _configurations.TABLES[table][architecture(), kind]
        tiles = [before, *(tile for tile in candidates(dtype.itemsize) if tile != before)]
        found = times(table, kind, call, tqdm(tiles, desc=table, file=sys.stderr), triton.testing.do_bench)
        if not found:
            sys.exit(f"{table}: no tile could be launched")
        now = next((time for time, tile in found if tile == before), math.inf)
        print(f"{table}: {found[0][1]} takes {found[0][0]:.4g} ms, {before} {now:.4g} ms", file=sys.stderr)
        best[f"{table} {architecture()} {kind}"] = astuple(found[0][1])
    print(json.dumps(best, indent=2))


if __name__ == "__main__":
    main()
