"""The Triton tuner on this device, with a time limit: the fastest tile of each table, as ``tune.load`` reads it."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Iterator
from dataclasses import astuple

import torch
import triton

from bench.gpu.device import multiplying
from bench.gpu.record import opened
from digan_fast.kernels import tune
from digan_fast.kernels._configurations import TABLES, Tile, architecture

# For each table and kind; a tile takes a second to compile.
SECONDS = 30.0
ENTRIES = [("product", "bfloat16"), ("features", "bfloat16"), ("gradient", "bfloat16"), ("product", "tf32")]


def nearest(table: str, kind: str, itemsize: int) -> list[Tile]:
    """The table's own tile, then the others in order of increasing difference from it."""
    own = TABLES[table][architecture(), kind]

    def distance(tile: Tile) -> float:
        return sum(abs(math.log2(a / b)) for a, b in zip(astuple(tile), astuple(own), strict=True))

    return [own, *sorted((each for each in tune.candidates(itemsize) if each != own), key=distance)]


def within(tiles: list[Tile], seconds: float) -> Iterator[Tile]:
    end = time.perf_counter() + seconds
    for tile in tiles:
        if time.perf_counter() > end:
            return
        yield tile


def main() -> int:
    record = opened(__doc__)
    best: dict[str, tuple[int, ...]] = {}
    if record.dry:
        with record.case("candidates") as found:
            found["tiles"] = len(tune.candidates(2))
        return int(record.failed)
    for table, precision in ENTRIES:
        kind, dtype = tune.KINDS[precision], getattr(torch, precision.replace("tf32", "float32"))
        with record.case(f"{table}, {precision}") as found, multiplying(precision):
            call = tune.work(table, tune.SHAPES[table], dtype, "cuda")
            tiles = list(nearest(table, kind, dtype.itemsize))
            times = tune.times(
                table, kind, call, within(tiles, SECONDS), lambda run: triton.testing.do_bench(run, warmup=5, rep=30)
            )
            found["tried"] = len(times)
            found["ms"] = {str(astuple(tile)): taken for taken, tile in times[:8]}
            found["before"] = next((taken for taken, tile in times if tile == tiles[0]), None)
            best[f"{table} {architecture()} {kind}"] = astuple(times[0][1])
            found["entry"] = {f"{table} {architecture()} {kind}": astuple(times[0][1])}
    print(json.dumps(best, indent=2))
    return int(record.failed)


if __name__ == "__main__":
    sys.exit(main())
