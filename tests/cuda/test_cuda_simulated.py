"""The kernels' source, compiled by g++ with threads as fibers: the formulas' values, whatever order threads run in."""

from __future__ import annotations

import pytest
import torch
from cases import DTYPES, Case, reference
from harness import LARGE_SHARED, simulated, symbol_name
from ops import OP_CASES, check_case, kernel, misaligned
from renders import PRECISIONS, RENDERINGS, arguments, check, op

from digan_fast import dispatch

SETTINGS = ({"copies": 0}, {"copies": 1}, {"copies": 2, "seed": 1})


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", RENDERINGS)
def test_renderings(name: str, precision: str, poisoned: None) -> None:
    with simulated():
        check(name, precision)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", ["two-grids", "window", "512", "more-waves-than-channels"])
def test_the_same_bits_in_any_order(name: str, precision: str, poisoned: None) -> None:
    """Of threads, and of copies arriving early, late or between."""
    found = []
    for settings in SETTINGS:
        with simulated(**settings):
            found.append(check(name, precision))
    with simulated(shared_memory_limit=LARGE_SHARED):
        found.append(check(name, precision))
    assert all(torch.equal(found[0], other) for other in found[1:])


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_window_has_the_bits_of_the_picture(precision: str) -> None:
    case = RENDERINGS["two-grids"]
    levels = case.levels()
    with simulated():
        whole = op._cuda(*arguments(levels, 16, (0, 0, 16, 16), precision))
        for top, left, height, width in ((0, 0, 1, 1), (3, 5, 7, 9), (15, 2, 1, 14)):
            part = op._cuda(*arguments(levels, 16, (top, left, height, width), precision))
            assert torch.equal(part, whole[..., top : top + height, left : left + width])


def test_parts_have_the_bits_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    args = arguments(RENDERINGS["two-grids"].levels(), 16, (0, 0, 16, 16), "bfloat16")
    with simulated():
        whole = op._cuda(*args)
        monkeypatch.setattr(op, "_PIXELS_AT_ONCE", 128)
        assert torch.equal(op._cuda(*args), whole)


def test_empty() -> None:
    args = arguments(RENDERINGS["one-level"].levels(), 8, (0, 0, 8, 8), "bfloat16")
    lists = [[tensor[:0] for tensor in tensors] for tensors in args[:3]]
    with simulated():
        assert op._why_not_cuda(*lists, *args[3:]) is None
        assert op._cuda(*lists, *args[3:]).shape == (0, 1, 3, 8, 8)


@pytest.mark.parametrize("kind", DTYPES)
@pytest.mark.parametrize("case", OP_CASES, ids=str)
def test_ops(case: Case, kind: str, poisoned: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with simulated():
        check_case(case, kind, monkeypatch)


@pytest.mark.parametrize("kind", DTYPES)
def test_addresses_that_are_no_multiple_of_16(kind: str) -> None:
    x, bias = torch.randn(3, 8, 16).to(DTYPES[kind]), torch.randn(8).to(DTYPES[kind])
    options = (1, "lrelu", 1.4, 0.5)
    with simulated() as module:
        aligned = kernel("bias_act")(x, bias, *options)
        found = kernel("bias_act")(misaligned(x), bias, *options)
        backward = kernel("bias_act_backward")(x, None, None, found, *options)
        other = kernel("bias_act_backward")(misaligned(x), None, None, misaligned(found), *options)
        names = [symbol_name(launch[0]) for launch in module.take_launches()]
    assert torch.equal(found, aligned)
    assert all(map(torch.equal, backward, other))
    assert len(set(names)) == 6


def test_a_channel_s_sum_in_several_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    for shape in ((3, 2, 70, 71), (9001, 33)):
        x = torch.randn(shape)
        with simulated():
            _, dbias = kernel("bias_act_backward")(x, None, None, x, 1, "linear", 1.0, None)
        dims = [dim for dim in range(x.ndim) if dim != 1]
        assert torch.allclose(dbias.double(), x.double().sum(dims), rtol=0, atol=2e-4)


def test_one_number_in_every_place_of_a_gradient() -> None:
    x = torch.randn(2, 3, 5)
    args = (torch.ones(()).expand(2, 3, 5), x, None, x, 1, "swish", 1.0, None)
    with simulated():
        found = kernel("bias_act_backward")(*args)
    assert all(map(torch.allclose, found, reference("bias_act_backward", *args)))


def test_wide_rows_of_weights_go_elsewhere() -> None:
    args = torch.empty(2, 4097), torch.empty(1, 2, 3), torch.empty(1, 3, 4097), "demod"
    with simulated():
        for op, rest in (("fmm_weights", ()), ("fmm_weights_backward", (torch.empty(1, 2, 4097),))):
            reason = dispatch._kernels[op]["cuda"].why_not(*rest, *args[:3], *rest, args[3])
            assert reason == "weight has 4097 inputs; it takes 4096 at most"
