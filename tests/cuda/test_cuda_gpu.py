"""The CUDA kernels on a device, through the registered ops; skipped without a device."""

from __future__ import annotations

import importlib

import pytest
import torch
from cases import DTYPES, Case, calls
from mlps import (
    CUDA_FORWARD_HALVES,
    MLPS,
    check_compiled_on_a_device,
    check_mlp,
    check_mlp_gradients,
    gradient_arguments,
    mlp,
    on_a_device,
    siren,
)
from mlps import PRECISIONS as OF_MLPS
from ops import OP_CASES, check_case, kernel, supports
from random_inrs import changed
from renderings import PRECISIONS, RENDERINGS, arguments, error_and_bound
from torch import Tensor

from digan_fast import CoordMLP, backends, dispatch
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
    assert supports("coord_mlp", *args) == (precision == "float32" or name in CUDA_FORWARD_HALVES)
    if supports("coord_mlp", *args):
        check_mlp(kernel("coord_mlp"), args, precision)


@pytest.mark.parametrize("precision", OF_MLPS)
@pytest.mark.parametrize("name", [*MLPS, "512"])
def test_gradients_of_coordinate_mlps(name: str, precision: str) -> None:
    """Of every run the same bits."""
    cpu = siren(2, 1000, 512, 1, precision) if name == "512" else mlp(name, precision)
    args = on_a_device(gradient_arguments(cpu), "cuda")
    if supports("coord_mlp_backward", *args):
        first = check_mlp_gradients(kernel("coord_mlp_backward"), args, precision)
        assert all(map(torch.equal, first, kernel("coord_mlp_backward")(*args)))


def test_coordinate_mlps_save_nothing_but_their_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Through autograd, in chunks of a few tiles."""
    monkeypatch.setattr(importlib.import_module("digan_fast.ops.coord_mlp"), "_CHUNK_BYTES", 1 << 21)
    torch.manual_seed(0)
    network = CoordMLP(dimensions=2, outputs=3, width=128, hidden=2, sets=4).cuda()
    points, saved = torch.rand(10_000, 2, device="cuda") * 2 - 1, 0

    def pack(tensor: Tensor) -> Tensor:
        nonlocal saved
        saved += tensor.nbytes
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        out = network(points)
    assert saved <= points.nbytes + 3 * sum(each.nbytes for each in network.parameters())
    probe = torch.randn_like(out)
    found = torch.autograd.grad(out, list(network.parameters()), probe)
    with use_backend("reference"):
        right = torch.autograd.grad(network(points), list(network.parameters()), probe)
    for gradient, expected in zip(found, right, strict=True):
        assert (gradient - expected).norm() <= 1e-4 * expected.norm()


def test_compiled_coordinate_mlps_are_the_fused_kernels() -> None:
    with use_backend("cuda"):
        check_compiled_on_a_device(CoordMLP(2, 3, 128, 2, sets=16), 1 << 17)


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
