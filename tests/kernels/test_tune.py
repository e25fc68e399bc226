"""The tuner, with a fake clock."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from digan_fast.kernels import _configurations, tune
from digan_fast.kernels._configurations import Tile


@pytest.fixture(autouse=True)
def _tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tune, "TABLES", {name: dict(table) for name, table in _configurations.TABLES.items()})
    monkeypatch.setattr(_configurations, "TABLES", tune.TABLES)


def test_candidates_are_few_and_contain_the_tables_own() -> None:
    tiles = tune.candidates(2)
    assert len(tiles) == len(set(tiles)) < 400
    own = {entry for name in tune.SHAPES for (_, kind), entry in tune.TABLES[name].items() if kind == "half"}
    assert own <= set(tiles)


@pytest.mark.parametrize("table", tune.SHAPES)
def test_each_tile_is_timed_while_it_is_active(table: str) -> None:
    tiles = [Tile(32, 64, 16, 4, 2), Tile(64, 64, 16, 4, 2), Tile(64, 64, 32, 4, 2)]
    call, before = tune.work(table, (36, 8, 6), torch.float32, "cpu"), dict(tune.TABLES[table])
    results = []

    def timer(function: object) -> float:
        assert function is call
        results.append(call())
        current = tune.TABLES[table][80, "exact"]
        if current == tiles[1]:
            raise tune.triton.runtime.OutOfResources(1, 0, "shared memory")
        return 1.0 / current.depth

    found = tune.times(table, "exact", call, tiles, timer)
    assert found == [(1 / 32, tiles[2]), (1 / 16, tiles[0])]
    assert tune.TABLES[table] == before
    for result in results[1:]:
        torch.testing.assert_close(result, results[0])


def test_a_table_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "tiles.json"
    path.write_text(json.dumps({"product 90 half": [64, 128, 64, 4, 4]}))
    tune.load(path)
    assert tune.TABLES["product"][90, "half"] == Tile(64, 128, 64, 4, 4)


@pytest.mark.parametrize(
    "entry", [{"product": []}, {"product 91 half": [1] * 5}, {"features 80 half": [64, 64, 16, 4]}]
)
def test_invalid_files_are_rejected(tmp_path: Path, entry: dict[str, list[int]]) -> None:
    path = tmp_path / "tiles.json"
    path.write_text(json.dumps(entry))
    with pytest.raises(ValueError, match="expected"):
        tune.load(path)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a device")
def test_without_a_device(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        tune.main([])
    assert "torch sees no CUDA device" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("version", "arch", "table", "stages"),
    [
        ((3, 6, 0), 90, "gradient", 1),
        ((3, 7, 1), 90, "gradient", 1),
        ((3, 9, 0), 90, "gradient", 3),
        ((3, 6, 0), 90, "product", 3),
        ((3, 6, 0), 100, "product", 1),
        ((3, 7, 1), 100, "product", 3),
        ((3, 6, 0), 80, "gradient", 3),
    ],
)
def test_stage_counts_that_triton_miscompiles_are_not_used(
    version: tuple[int, ...], arch: int, table: str, stages: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither in the tables nor by the tuner."""
    monkeypatch.setattr(_configurations, "VERSION", version)
    monkeypatch.setattr(_configurations, "architecture", lambda: arch)
    with _configurations.tuned(table, "half", stages=3):
        assert _configurations.tile(table, torch.bfloat16, "ieee", 512, 512, 512).stages == stages
