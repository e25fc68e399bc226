"""Which blocks of features are still to be computed."""

from __future__ import annotations

from pathlib import Path

import torch

from digan_fast.metrics.store import BLOCK, Store
from digan_fast.metrics.work import Work
from digan_fast.processes import Processes


def test_missing_blocks_and_what_the_progress_counts(tmp_path: Path) -> None:
    store, count = Store(tmp_path / "features"), 2 * BLOCK + 22
    store.begin({})
    store.write(1, torch.zeros(BLOCK, 1, 3))
    with Work(tmp_path / "parts").blocks(store, count, "clips") as (blocks, bar):
        assert blocks == [range(BLOCK), range(2 * BLOCK, count)]
        assert (bar.n, bar.total) == (BLOCK, count)
    second = Work(tmp_path / "parts", processes=Processes(1, 2))
    with second.blocks(store, count, "clips") as (blocks, bar):
        assert (blocks, bar.n, bar.total) == ([], BLOCK, BLOCK)
