"""The same cases on a device, through the registered ops; skipped without a device."""

from __future__ import annotations

import pytest
import torch
import triton
from cases import CASES, DTYPES, Case, calls, check, exactly, kernel, reference
from mlps import (
    GRADED,
    MLPS,
    PRECISIONS,
    check_compiled_on_a_device,
    check_mlp,
    check_mlp_gradients,
    gradient_arguments,
    mlp,
    on_a_device,
)
from random_inrs import changed, random_inr
from torch import Tensor

from digan_fast import CoordMLP, dispatch, functional
from digan_fast.dispatch import use_backend
from digan_fast.kernels import tune
from digan_fast.ops.render import render

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device"),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_matches_its_formula(case: Case, dtype: str) -> None:
    for op, args in calls(case, DTYPES[dtype], "cuda"):
        check(op, args, DTYPES[dtype])


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", MLPS)
def test_coordinate_mlps(name: str, precision: str) -> None:
    check_mlp(kernel("coord_mlp"), on_a_device(mlp(name, precision), "cuda"), precision)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", ["one", "odd", "runs", *GRADED])
def test_gradients_of_coordinate_mlps(name: str, precision: str) -> None:
    """Bit-identical in every run."""
    args = gradient_arguments(on_a_device(mlp(name, precision), "cuda"))
    first = check_mlp_gradients(kernel("coord_mlp_backward"), args, precision)
    assert all(map(torch.equal, first, kernel("coord_mlp_backward")(*args)))


@pytest.mark.parametrize("case", [case for case in CASES if case.name == "odd"], ids=str)
def test_runs_by_name_on_a_stream_and_in_a_graph(case: Case) -> None:
    op, args = next(iter(calls(case, torch.float32, "cuda")))
    expected = kernel(op)(*args)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream), use_backend("triton"):
        found = getattr(torch.ops.digan_fast, op)(*args)
    stream.synchronize()
    assert torch.equal(found, expected)
    graph = torch.cuda.CUDAGraph()
    with use_backend("triton"), torch.cuda.graph(graph):
        captured = getattr(torch.ops.digan_fast, op)(*args)
    captured.fill_(float("nan"))
    graph.replay()
    assert torch.equal(captured, expected)


@pytest.mark.parametrize("case", [case for case in CASES if case.name == "odd"], ids=str)
def test_every_run_is_bit_identical(case: Case) -> None:
    for op, args in calls(case, torch.bfloat16, "cuda"):
        first, second = kernel(op)(*args), kernel(op)(*args)
        torch.testing.assert_close(first, second, rtol=0, atol=0)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="there is one device")
@pytest.mark.parametrize("case", [case for case in CASES if case.name == "odd"], ids=str)
def test_runs_on_the_device_of_its_tensors(case: Case) -> None:
    for op, args in calls(case, torch.float32, "cuda:1"):
        found = kernel(op)(*args)
        for tensor in found if isinstance(found, tuple) else (found,):
            assert tensor.device == torch.device("cuda:1")
        check(op, args, torch.float32)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_captured_rendering_is_bit_identical(precision: str) -> None:
    levels = changed(random_inr(2, 3, ((16, (64, 64)), (16, (64, 64)))), Tensor.cuda)
    args = (levels, 16, (1, 2, 9, 13), precision)
    with use_backend("triton"):
        expected = render(*args)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            captured = render(*args)
    captured.fill_(float("nan"))
    graph.replay()
    assert torch.equal(captured, expected)


def test_is_one_graph_under_torch_compile() -> None:
    x, weight = torch.randn(2, 33, 48, device="cuda"), torch.randn(2, 24, 48, device="cuda", requires_grad=True)

    def loss(x: Tensor, weight: Tensor) -> Tensor:
        return functional.linear_act(x, weight, activation="lrelu").square().sum()

    with use_backend("triton"):
        expected = torch.autograd.grad(loss(x, weight), weight)[0]
        found = torch.autograd.grad(torch.compile(loss, fullgraph=True)(x, weight), weight)[0]
    torch.testing.assert_close(found, expected)


def test_compiled_coordinate_mlps_are_the_fused_kernels() -> None:
    if reason := dispatch.kernel("coord_mlp_backward", "triton").why_not(
        *gradient_arguments(on_a_device(mlp("one", "float32"), "cuda"))
    ):
        pytest.skip(reason)
    with use_backend("triton"):
        check_compiled_on_a_device(CoordMLP(2, 3, 64, 1, sets=264), 4096)


def test_tunes() -> None:
    tiles = tune.candidates(2)[:3]
    call = tune.work("product", (512, 128, 128), torch.bfloat16, "cuda")
    assert len(tune.times("product", "half", call, tiles, triton.testing.do_bench)) == 3


def test_more_than_2_to_the_31_elements() -> None:
    rows = 2**31 // 256 + 5
    x = torch.zeros(1, rows, 256, dtype=torch.bfloat16, device="cuda")
    x[:, -1] = 1
    weight = torch.ones(1, 8, 256, dtype=torch.bfloat16, device="cuda")
    out = kernel("linear_act")(x, weight, None, "linear", 1.0, None)
    assert out[0, -1].unique().tolist() == [256.0]
    assert not out[0, :-1].any()
    args = [x[0, -3:], None, 1, "linear", 2.0, None]
    torch.testing.assert_close(kernel("bias_act")(*args).double().cpu(), reference("bias_act", *exactly(args))[0])
