"""The CUDA kernels on a device, through the registered ops; skipped without a device."""

from __future__ import annotations

import pytest
import torch
from cases import DTYPES, Case, calls
from mlps import MLPS, check_mlp, mlp, on_a_device
from mlps import PRECISIONS as OF_MLPS
from ops import OP_CASES, check_case, kernel, supports
from random_inrs import changed
from renderings import PRECISIONS, RENDERINGS, arguments, error_and_bound
from torch import Tensor

from digan_fast import backends, dispatch
from digan_fast.dispatch import use_backend

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(backends()["cuda"] is not None, reason=str(backends()["cuda"])),
]


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", RENDERINGS)
def test_renderings(name: str, precision: str) -> None:
    case = RENDERINGS[name]
    levels = case.levels()
    args = arguments(changed(levels, Tensor.cuda), case.size, case.window, precision)
    with use_backend("cuda"):
        found = dispatch.call("render", *args).cpu()
    error, bound = error_and_bound(found, levels, case, precision)
    assert error <= bound, f"error {error:.2g}, bound {bound:.2g}"


@pytest.mark.parametrize("kind", DTYPES)
@pytest.mark.parametrize("case", OP_CASES, ids=str)
def test_ops(case: Case, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check_case(case, kind, monkeypatch, "cuda")


@pytest.mark.parametrize("precision", OF_MLPS)
@pytest.mark.parametrize("name", MLPS)
def test_coordinate_mlps(name: str, precision: str) -> None:
    args = on_a_device(mlp(name, precision), "cuda")
    if supports("coord_mlp", *args):
        check_mlp(kernel("coord_mlp"), args, precision)


def test_renders_on_a_stream_and_in_a_graph() -> None:
    case = RENDERINGS["two-grids"]
    args = arguments(changed(case.levels(), Tensor.cuda), case.size, case.window, "bfloat16")
    with use_backend("cuda"):
        expected = dispatch.call("render", *args)
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            found = dispatch.call("render", *args)
        stream.synchronize()
        assert torch.equal(found, expected)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            captured = dispatch.call("render", *args)
    captured.fill_(float("nan"))
    graph.replay()
    assert torch.equal(captured, expected)


@pytest.mark.parametrize("case", [case for case in OP_CASES if case.name == "odd"], ids=str)
def test_every_run_is_bit_identical(case: Case) -> None:
    for op, args in calls(case, torch.bfloat16, "cuda"):
        with use_backend("cuda"):
            first, second = dispatch.call(op, *args), dispatch.call(op, *args)
        torch.testing.assert_close(first, second, rtol=0, atol=0)
