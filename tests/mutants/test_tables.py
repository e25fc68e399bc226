"""The tables' format and places; `make mutants` runs them."""

from __future__ import annotations

from pathlib import Path

import pytest

from mutants.mutant import RIGS, Mutant, read, tables
from mutants.runner import ROOT, Verdict

TABLES = dict(tables(Path(__file__).parent))
LEAST = {"cpu": 75, "cuda": 103, "triton": 141}


@pytest.mark.parametrize("name", TABLES)
def test_every_mutant_can_be_planted(name: str) -> None:
    table = TABLES[name]
    assert len(table) >= LEAST[name]
    assert len({str(mutant) for mutant in table}) == len(table)
    for mutant in table:
        source = (ROOT / mutant.file).read_text()
        assert mutant.planted(source) != source


def test_verdicts() -> None:
    mutant = Mutant("a.py", "bug", "1", "2", "", RIGS["interpreted"])
    same = Mutant("a.py", "none", "1", "2", "", RIGS["interpreted"], equivalent="of no consequence")
    assert Verdict(mutant, "test_a").is_expected
    assert not Verdict(mutant, None).is_expected
    assert Verdict(same, None).is_expected
    assert not Verdict(same, "test_a").is_expected
    assert str(Verdict(mutant, None)) == "SURVIVED    a.py: bug"


def test_a_place_must_be_unique() -> None:
    mutant = Mutant("a.py", "bug", "1", "2", "", RIGS["interpreted"])
    assert mutant.planted("x = 1") == "x = 2"
    with pytest.raises(ValueError, match="is 2 times in the file"):
        mutant.planted("x = 11")
    with pytest.raises(ValueError, match="is 0 times in the file"):
        mutant.planted("x = 3")


@pytest.mark.parametrize(
    "text",
    ["[a.py, nobody]\n\nbug @ t\n- 1\n", "[a.py, executed]\n\nbug\n- 1\n", "[a.py, executed]\n\nbug @ t\n1\n"],
)
def test_malformed_tables_are_rejected(text: str, tmp_path: Path) -> None:
    (tmp_path / "table.txt").write_text(text)
    with pytest.raises(ValueError, match="expected"):
        read(tmp_path / "table.txt")
