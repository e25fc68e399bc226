"""Each Triton kernel in the patched interpreter, in every type, against its formula in float64."""

from __future__ import annotations

import importlib
import logging
from typing import Any

import pytest
import torch
from cases import CASES, DTYPES, Case, calls, check, check_sines, kernel
from mlps import (
    GRADED,
    MLPS,
    OF_SIRENS,
    PRECISIONS,
    arguments,
    check_mlp,
    check_mlp_gradients,
    gradient_arguments,
    mlp,
    siren,
)
from renders import RENDERS, check_render

from digan_fast import dispatch, functional, ops
from digan_fast.functional import MLPLayer
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
    check_mlp(kernel("coord_mlp"), siren(2, 20, 24, 3, precision), precision, OF_SIRENS)


@pytest.mark.parametrize(("width", "precision"), [(128, "float32"), (256, "bfloat16")])
@pytest.mark.skipif(VERSION < (3, 9), reason="coord_mlp needs Triton 3.9")
def test_the_widest_coordinate_mlps(width: int, precision: str) -> None:
    """A tile of more channels does not fit, and the op says why."""
    check_mlp(kernel("coord_mlp"), siren(2, 20, width, 1, precision), precision, OF_SIRENS)
    fits = importlib.import_module("digan_fast.kernels.coord_mlp").why_not
    assert fits(*siren(2, 20, width, 1, precision)[1:]) is None
    assert fits(*siren(2, 20, width + 1, 1, precision)[1:]) == (
        f"a tile is {2 * width} channels wide; it holds {width} of this network in {precision}"
    )


needs_tuples = pytest.mark.skipif(VERSION < (3, 9), reason="coord_mlp_backward needs Triton 3.9")


@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize(
    ("name", "precision"),
    [*((name, "float32") for name in ("one", "odd", *GRADED)), ("runs", "bfloat16"), ("waves", "bfloat16"),
     ("odd", "float16"), ("coloured", "float16")],
)  # fmt: skip
@needs_tuples
def test_gradients_of_coordinate_mlps(name: str, precision: str) -> None:
    check_mlp_gradients(kernel("coord_mlp_backward"), gradient_arguments(mlp(name, precision)), precision)


@needs_tuples
def test_gradients_that_are_not_needed_are_empty_and_the_others_the_same() -> None:
    """Coordinates, weights, inputs' scales, the first bias, nothing."""
    args = mlp("coloured", "float32")
    whole = gradient_arguments(args)
    expected, layers = kernel("coord_mlp_backward")(*whole), len(args[1])
    groups = [range(1 + layers * group, 1 + layers * (group + 1)) for group in range(6)]
    for chosen in ([0], groups[0], groups[4], [1 + layers], []):
        needed = [need and place in chosen for place, need in enumerate(whole[-1])]
        found = kernel("coord_mlp_backward")(*whole[:-1], needed)
        for place, (gradient, need) in enumerate(zip(found, needed, strict=True)):
            assert torch.equal(gradient, expected[place] if need else torch.empty(0)), place


@pytest.mark.parametrize(("sets", "points"), [(0, 5), (2, 0)])
@needs_tuples
def test_gradients_of_nothing_are_zero(sets: int, points: int) -> None:
    check_mlp_gradients(
        kernel("coord_mlp_backward"), gradient_arguments(siren(sets, points, 8, 1, "float32")), "float32"
    )


@needs_tuples
def test_calls_with_gradients_run_the_kernels_and_the_log_says_what_does_not_fit(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """CPU tensors are treated as a device's; cuda is absent."""
    monkeypatch.setattr(dispatch, "_why_not", lambda backend: None if backend == "triton" else "absent")
    monkeypatch.setattr(dispatch, "_said", set())
    monkeypatch.setattr(ops.coord_mlp, "why_not", lambda *_, **__: None)
    x = (torch.rand(20, 2) * 2 - 1).requires_grad_()
    layers = [MLPLayer(torch.randn(2, 16, 2), activation="sine"), MLPLayer(torch.randn(2, 1, 16) / 4)]
    probe = torch.randn(2, 20, 1)
    ran: list[str] = []
    for op in ("coord_mlp", "coord_mlp_backward"):
        stock = dispatch._kernels[op]["triton"]

        def run(*args: Any, op: str = op, stock: Any = stock) -> Any:
            ran.append(op)
            return stock.run(*args)

        monkeypatch.setitem(dispatch._kernels[op], "triton", dispatch._Kernel(run, stock.why_not))
    found = torch.autograd.grad(functional.coord_mlp(x, layers), x, probe, create_graph=True)[0]
    assert ran == ["coord_mlp", "coord_mlp_backward"]
    double = torch.autograd.grad(found.square().sum(), x)[0]
    monkeypatch.undo()
    with dispatch.use_backend("reference"):
        expected = torch.autograd.grad(functional.coord_mlp(x, layers), x, probe, create_graph=True)[0]
        torch.testing.assert_close(found, expected)
        torch.testing.assert_close(double, torch.autograd.grad(expected.square().sum(), x)[0])
    monkeypatch.setattr(dispatch, "_why_not", lambda backend: None if backend == "triton" else "absent")
    monkeypatch.setattr(ops.coord_mlp, "why_not", lambda *_, **__: None)
    with caplog.at_level(logging.WARNING, "digan_fast"):
        assert not dispatch.runs("coord_mlp_backward", "triton", *gradient_arguments(siren(2, 5, 64, 3, "float32")))
    assert caplog.messages == [
        "coord_mlp_backward: backend triton passed over: there are 3 products of 64 channels; it holds 2 in float32"
    ]


def _shared(*changes: tuple[int, dict[str, Any]], hidden: int = 1, precision: str = "float32") -> list[Any]:
    """A network of 64 channels with some layers changed."""
    layers = [MLPLayer(torch.randn(64, 3 if i == 0 else 64) / 8, activation="sine") for i in range(1 + hidden)]
    layers.append(MLPLayer(torch.randn(3, 64) / 8))
    for i, change in changes:
        layers[i] = layers[i]._replace(**change)
    return arguments(torch.rand(1, 20, 3), layers, precision=precision)


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        (siren(2, 20, 64, 2, "float32"), None),
        (siren(2, 20, 64, 4, "bfloat16"), None),
        (siren(2, 20, 128, 1, "float16", 16), None),
        (siren(2, 20, 32, 4, "float32"), None),
        (siren(2, 20, 64, 3, "float32"), "there are 3 products of 64 channels; it holds 2 in float32"),
        (siren(2, 20, 16, 6, "bfloat16"), "there are 6 products of 32 channels; it holds 5 in bfloat16"),
        (siren(2, 20, 128, 1, "float32"), "there are 1 products of 128 channels; it holds 0 in float32"),
        (siren(2, 20, 200, 1, "bfloat16"), "a tile is 256 channels wide; it holds 128"),
        (siren(2, 20, 300, 1, "bfloat16"), "a tile is 512 channels wide; it holds 256 of this network in bfloat16"),
        (siren(2, 20, 16, 1, "float32", 17), "coordinates have 17 dimensions; it holds 16"),
        (_shared((1, {"scale": torch.ones(64)})), None),
        (_shared((1, {"shift": torch.ones(64)}), hidden=2), None),
        (
            _shared((1, {"scale": torch.ones(64)}), hidden=2),
            "there are 2 products of 64 channels; it holds 1 in float32 with these scales, modulated inputs or skips",
        ),
        (
            _shared((1, {"input_shift": torch.ones(64)}), hidden=3, precision="bfloat16"),
            "there are 3 products of 64 channels; it holds 2 in bfloat16 with these scales, modulated inputs or skips",
        ),
        (mlp("encoded", "float32"), "a layer reads encoded coordinates again"),
    ],
)  # fmt: skip
@needs_tuples
def test_networks_whose_backward_does_not_fit(args: list[Any], reason: str | None) -> None:
    """Of any number of samples, as tracing takes for granted."""
    fits = importlib.import_module("digan_fast.kernels.coord_mlp").why_not_backward
    lists, options = args[1:7], args[7:]
    of_one = [[tensor if tensor is None else tensor[:1] for tensor in group] for group in lists]
    assert fits(*lists, *options) == fits(*of_one, *options) == reason


def test_sines() -> None:
    check_sines()
