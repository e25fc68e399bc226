"""The kernels' source, compiled by g++ with threads as fibers: the formulas' values, whatever order threads run in."""

from __future__ import annotations

import pytest
import torch
from harness import LARGE_SHARED, simulated
from renders import PRECISIONS, RENDERINGS, arguments, check, op

SETTINGS = ({"copies": 0}, {"copies": 1}, {"copies": 2, "seed": 1})


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", RENDERINGS)
def test_renderings(name: str, precision: str, poisoned: None) -> None:
    with simulated():
        check(name, precision)


@pytest.mark.parametrize("name", ["two grids", "window", "512"])
def test_the_same_bits_in_any_order(name: str, poisoned: None) -> None:
    """Of threads, and of copies arriving early, late or between."""
    found = []
    for settings in SETTINGS:
        with simulated(**settings):
            found.append(check(name, "bfloat16"))
    with simulated(shared_memory_limit=LARGE_SHARED):
        found.append(check(name, "bfloat16"))
    assert all(torch.equal(found[0], other) for other in found[1:])


def test_a_window_has_the_bits_of_the_picture() -> None:
    case = RENDERINGS["two grids"]
    levels = case.levels()
    with simulated():
        whole = op._cuda(*arguments(levels, 16, (0, 0, 16, 16), "bfloat16"))
        for top, left, height, width in ((0, 0, 1, 1), (3, 5, 7, 9), (15, 2, 1, 14)):
            part = op._cuda(*arguments(levels, 16, (top, left, height, width), "bfloat16"))
            assert torch.equal(part, whole[..., top : top + height, left : left + width])


def test_parts_have_the_bits_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    args = arguments(RENDERINGS["two grids"].levels(), 16, (0, 0, 16, 16), "bfloat16")
    with simulated():
        whole = op._cuda(*args)
        monkeypatch.setattr(op, "_PIXELS_AT_ONCE", 128)
        assert torch.equal(op._cuda(*args), whole)


def test_empty() -> None:
    args = arguments(RENDERINGS["one level"].levels(), 8, (0, 0, 8, 8), "bfloat16")
    lists = [[tensor[:0] for tensor in tensors] for tensors in args[:3]]
    with simulated():
        assert op._why_not_cuda(*lists, *args[3:]) is None
        assert op._cuda(*lists, *args[3:]).shape == (0, 1, 3, 8, 8)
