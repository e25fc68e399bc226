"""Each Triton kernel in the patched interpreter, in every type, against its formula in float64."""

from __future__ import annotations

import importlib

import pytest
import torch
from cases import CASES, DTYPES, Case, calls, check, check_sines, kernel
from mlps import MLPS, PRECISIONS, check_mlp, mlp, siren
from renders import RENDERS, check_render

from digan_fast.kernels._products import VERSION


@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_matches_its_formula(case: Case, dtype: str) -> None:
    for op, args in calls(case, DTYPES[dtype]):
        check(op, args, DTYPES[dtype])


@pytest.mark.parametrize("case", [case for case in CASES if case.name == "tails"], ids=str)
def test_tf32_if_torch_allows_it(case: Case) -> None:
    torch.set_float32_matmul_precision("high")
    for op, args in calls(case, torch.float32):
        check(op, args, torch.float32, unit=2.0**-8)
        with pytest.raises(AssertionError):
            check(op, args, torch.float32)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("clamp", [0.7, 0.8, 0.9, 1.1])
def test_clamped_outputs_have_no_gradient(dtype: str, clamp: float) -> None:
    """Also if rounding to the output's type moves the clamp towards zero."""
    x = torch.tensor([[[-5.0], [0.1], [5.0]]], dtype=DTYPES[dtype])
    args = [x, torch.ones_like(x[:, :1]), None]
    out = kernel("linear_act")(*args, "linear", 1.0, clamp)
    dx = kernel("linear_act_backward")(torch.ones_like(out), *args, out, "linear", 1.0, clamp)[0]
    assert dx.flatten().tolist() == [0.0, 1.0, 0.0]


@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", RENDERS)
def test_renders(name: str, precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check_render(monkeypatch, name, precision)


@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", MLPS)
def test_coordinate_mlps(name: str, precision: str) -> None:
    check_mlp(kernel("coord_mlp"), mlp(name, precision), precision)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_like_layers_of_a_coordinate_mlp_are_a_loop(precision: str) -> None:
    check_mlp(kernel("coord_mlp"), siren(2, 20, 24, 3, precision), precision)


@pytest.mark.parametrize(("width", "precision"), [(128, "float32"), (256, "bfloat16")])
@pytest.mark.skipif(VERSION < (3, 9), reason="coord_mlp needs Triton 3.9")
def test_the_widest_coordinate_mlps(width: int, precision: str) -> None:
    """A tile of more channels does not fit, and the op says why."""
    check_mlp(kernel("coord_mlp"), siren(2, 20, width, 1, precision), precision)
    fits = importlib.import_module("digan_fast.kernels.coord_mlp").why_not
    assert fits(*siren(2, 20, width, 1, precision)[1:]) is None
    assert fits(*siren(2, 20, width + 1, 1, precision)[1:]) == (
        f"a tile is {2 * width} channels wide; it holds {width} of this network in {precision}"
    )


def test_sines() -> None:
    check_sines()
