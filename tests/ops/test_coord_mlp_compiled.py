"""What torch.compile makes of ``coord_mlp`` where the device is a GPU's: what an eager call would run, in one graph.

The CPU stands for the GPU, and the answer whether a kernel takes the backward for the kernels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from checks import examples, recorded
from coordinate_mlps import converted, evaluated, modulated, tensors_of
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from digan_fast import CoordMLP, dispatch, functional
from digan_fast.functional import mlp_layers
from digan_fast.ops import _cuda
from digan_fast.reference import coord_mlp as reference

Asked = list[tuple[Any, ...]]


def asking(patch: pytest.MonkeyPatch) -> Asked:
    """What is asked of the GPU's backends: a call without its numbers of points and samples.

    Triton takes the backward of up to 40 channels.
    """
    found: Asked = []

    def runs(op: str, backend: str, grad: Tensor, coordinates: Tensor, *rest: Any) -> bool:
        lists, (activations, _omegas, *options) = rest[: reference.LISTS], rest[reference.LISTS : -1]
        tensors = [each for group in lists for each in group]
        described = [each if each is None else (each.device, each.dtype, each.shape[1:]) for each in tensors]
        point = coordinates.device, coordinates.dtype, coordinates.shape[2]
        found.append((op, backend, grad.dtype, point, tuple(described), tuple(activations), *map(_hashable, options)))
        return backend == "triton" and max(weight.shape[1] for weight in lists[0]) <= 40

    patch.setattr(_cuda, "DEVICE", "cpu")
    patch.setattr(dispatch, "runs", runs)
    return found


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    return asking(monkeypatch)


def _hashable(option: Any) -> Any:
    return tuple(option) if isinstance(option, list) else option


def outputs(function: Callable[..., Tensor], x: Tensor, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    out = function(x, *tensors)
    return out, *torch.autograd.grad(out.square().sum(), tensors)


@pytest.mark.parametrize(
    ("width", "graphs"),
    [
        (40, [["coord_mlp"], ["coord_mlp_backward"]]),
        (41, [["linear_act"] * 3, ["linear_act_backward"] * 3]),
    ],
)
def test_one_op_or_the_layers(width: int, graphs: list[list[str]], asked: Asked) -> None:
    """Of any number of points, which is neither guarded on nor asked for."""
    layers = converted(modulated(2, 2, [width, 9, 3], ["sine", "relu", "linear"]), torch.float32)
    tensors = [tensor.requires_grad_() for tensor in tensors_of(layers)]
    function, found = recorded(evaluated(layers))
    for points in (7, 30, 192):
        x = torch.rand(2, points, 2)
        torch._dynamo.mark_dynamic(x, 1)
        torch.testing.assert_close(outputs(function, x, tensors), outputs(evaluated(layers), x, tensors))
    assert found == graphs


def test_every_extent_dynamic(asked: Asked) -> None:
    """Widths are what kernels depend on, so that a graph is for those it was traced with."""

    def function(x: Tensor, *tensors: Tensor) -> Tensor:
        return functional.coord_mlp(x, mlp_layers(tensors[:2], tensors[2:], "sine", 30.0))

    torch._dynamo.reset()
    compiled = torch.compile(function, fullgraph=True, backend="aot_eager", dynamic=True)
    for sets, width in ((2, 40), (3, 40), (3, 64)):
        shapes = (sets, width, 2), (sets, 3, width), (sets, width), (sets, 3)
        tensors = [(torch.randn(shape) / 30).requires_grad_() for shape in shapes]
        x = torch.rand(5 * sets, 2)
        torch.testing.assert_close(outputs(compiled, x, tensors), outputs(function, x, tensors))


def test_any_omega(asked: Asked) -> None:
    """A graph traced for one is traced again for another, then for all."""

    def function(x: Tensor, weight: Tensor, omega: float) -> Tensor:
        return functional.coord_mlp(x, mlp_layers([weight, weight.new_ones(3, len(weight))], omega=omega))

    torch._dynamo.reset()
    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    x, weight = torch.rand(9, 2), torch.rand(5, 2)
    for omega in (30.0, 20.0, 10.0):
        torch.testing.assert_close(compiled(x, weight, omega), function(x, weight, omega))


def test_without_gradients(asked: Asked) -> None:
    network, x = CoordMLP(2, 3, 64, 1, sets=2), torch.rand(9, 2)
    function, found = recorded(network)
    with torch.no_grad():
        torch.testing.assert_close(function(x), network(x))
    assert found == [["coord_mlp"]]
    assert not asked


def test_the_graph_stays_right_when_the_answer_changes(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine without the kernels that was given the graph: the op has its formula."""
    network, x = CoordMLP(2, 3, 8, 1), torch.rand(20, 2)
    parameters = list(network.parameters())
    function, found = recorded(network)

    def called() -> tuple[Tensor, ...]:
        return outputs(lambda x, *_: function(x), x, parameters)

    first = called()
    monkeypatch.setattr(dispatch, "runs", lambda *_: False)
    with dispatch.use_backend("reference"):
        torch.testing.assert_close(called(), first)
    assert found == [["coord_mlp"], ["coord_mlp_backward"]]


@st.composite
def networks(draw: st.DrawFn) -> dict[str, Any]:
    count = draw(st.integers(1, 4))
    return {
        "batch": draw(st.sampled_from((1, 3))),
        "widths": draw(st.lists(st.integers(1, 70), min_size=count, max_size=count)),
        "skips": tuple(i for i in range(1, count) if draw(st.booleans())),
        "dimensions": draw(st.integers(1, 5)),
        "fourier": draw(st.booleans()),
        "shared": draw(st.booleans()),
        "precision": draw(st.sampled_from(("float32", "bfloat16", "float16"))),
    }


@settings(deadline=None, max_examples=examples(12))
@given(described=networks())
def test_tracing_asks_what_a_call_asks(described: dict[str, Any]) -> None:
    batch, dimensions, widths = described["batch"], described["dimensions"], described["widths"]
    kinds = [*["sine", "gauss", "lrelu"][: len(widths) - 1], "tanh"]
    features = 6 if described["fourier"] else 0
    layers = modulated(batch, dimensions, widths, kinds, described["skips"], features, described["shared"])
    layers = converted(layers, torch.float32)
    waves = [torch.randn(3, dimensions)] if features else []
    x = torch.rand(batch, 6, dimensions).requires_grad_()
    with pytest.MonkeyPatch.context() as patch:
        found = asking(patch)

        def function(x: Tensor) -> Tensor:
            return functional.coord_mlp(x, layers, *waves, precision=described["precision"])

        function(x)
        eager = list(found)
        torch._dynamo.reset()
        torch.compile(function, fullgraph=True, backend="eager")(x)
    assert len(eager) == 2
    assert found == [*eager, *eager]
