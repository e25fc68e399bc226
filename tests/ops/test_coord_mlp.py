from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from checks import (
    check_compiled,
    check_derivatives,
    check_schema,
    check_stride_zero_gradient,
    examples,
    layouts,
    normal,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from digan_fast import backends, functional, use_backend

needs_native = pytest.mark.skipif(backends()["native"] is not None, reason="the compiled module was not built")


def network(
    batch: int, widths: list[int], own_biases: bool = False, dtype: torch.dtype = torch.float64
) -> tuple[list[Tensor], list[Tensor]]:
    """Weights initialised as in SIREN: uniform within √(6/I), divided by ω = 30 after the first layer."""
    weights, biases = [], []
    for i, (inputs, outputs) in enumerate(pairwise(widths)):
        bound = 1 / inputs if i == 0 else math.sqrt(6 / inputs) / 30
        weights.append((torch.rand(batch, outputs, inputs, dtype=torch.float64) * 2 - 1).mul(bound).to(dtype))
        shape = (batch, outputs) if own_biases else (outputs,)
        biases.append((torch.rand(shape, dtype=torch.float64) * 2 - 1).mul(bound).to(dtype))
    return weights, biases


def formula(
    coordinates: Tensor,
    weights: list[Tensor],
    biases: list[Tensor] | None,
    activation: str = "sine",
    omega: float = 30.0,
    frequency: Tensor | None = None,
) -> Tensor:
    """Weight set by weight set and point by point, in NumPy."""
    batch = len(weights[0])
    points = coordinates.expand(batch, -1, -1) if coordinates.ndim == 3 else coordinates[None].expand(batch, -1, -1)
    images = []
    for b in range(batch):
        rows = []
        for x in points[b].double().numpy():
            if frequency is not None:
                theta = (frequency if frequency.ndim == 2 else frequency[b]).double().numpy() @ x
                x = np.concatenate((np.sin(theta), np.cos(theta)))
            for i, weight in enumerate(weights):
                x = weight[b].double().numpy() @ x
                if biases is not None:
                    x = x + (biases[i] if biases[i].ndim == 1 else biases[i][b]).double().numpy()
                if i + 1 < len(weights):
                    rectified = {"relu": np.maximum(x, 0), "lrelu": np.where(x > 0, x, 0.2 * x), "linear": x}
                    x = np.sin(omega * x) if activation == "sine" else rectified[activation]
            rows.append(x)
        images.append(np.stack(rows))
    return torch.from_numpy(np.stack(images))


@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("activation", ["sine", "relu", "lrelu", "linear"])
@pytest.mark.parametrize("own_biases", [False, True])
@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 4, 97)])
def test_matches_its_formula(
    dtype: torch.dtype, activation: str, own_biases: bool, shape: tuple[int, int, int]
) -> None:
    """In float32 a first phase of up to 30 is rounded by 2e-6; two more layers of sines follow."""
    batch, dimensions, points = shape
    weights, biases = network(batch, [dimensions, 33, 20, 3], own_biases, dtype)
    coordinates = torch.rand(batch, points, dimensions, dtype=dtype) * 2 - 1
    found = functional.coord_mlp(coordinates, weights, biases, activation)
    bound = 1e-12 if dtype == torch.float64 else 2e-5
    torch.testing.assert_close(found.double(), formula(coordinates, weights, biases, activation), rtol=0, atol=bound)
    shared = functional.coord_mlp(coordinates[0], weights, None, activation)
    expected = formula(coordinates[0], weights, None, activation)
    torch.testing.assert_close(shared.double(), expected, rtol=0, atol=bound)


@pytest.mark.parametrize("own", [False, True])
def test_fourier_features(own: bool) -> None:
    weights, biases = network(2, [10, 16, 3], dtype=torch.float32)
    frequency = torch.randn(2, 5, 2) * 10
    frequency = frequency if own else frequency[0]
    coordinates = torch.rand(2, 50, 2) * 2 - 1
    found = functional.coord_mlp(coordinates, weights, biases, "lrelu", frequency=frequency)
    expected = formula(coordinates, weights, biases, "lrelu", frequency=frequency)
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-5)


def test_omega_per_layer() -> None:
    weights, biases = network(1, [2, 8, 8, 1])
    coordinates = torch.rand(9, 2, dtype=torch.float64)
    found = functional.coord_mlp(coordinates, weights, biases, omega=[30.0, 3.0])
    scaled = [weights[0], weights[1] / 10, weights[2]], [biases[0], biases[1] / 10, biases[2]]
    torch.testing.assert_close(found, functional.coord_mlp(coordinates, *scaled))


@settings(deadline=None, max_examples=examples(40))
@given(
    batch=st.integers(1, 3),
    points=st.integers(0, 220),
    widths=st.lists(st.integers(1, 70), min_size=1, max_size=4),
    dimensions=st.integers(1, 4),
    threads=st.integers(1, 3),
)
@needs_native
def test_native_matches_the_reference(
    batch: int, points: int, widths: list[int], dimensions: int, threads: int
) -> None:
    torch.manual_seed(0)
    weights, biases = network(batch, [dimensions, *widths], dtype=torch.float32)
    coordinates = torch.rand(batch, points, dimensions) * 2 - 1
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        with use_backend("native"):
            found = functional.coord_mlp(coordinates, weights, biases)
    finally:
        torch.set_num_threads(before)
    with use_backend("native"):
        assert torch.equal(found, functional.coord_mlp(coordinates, weights, biases))
    exact = functional.coord_mlp(coordinates.double(), [w.double() for w in weights], [b.double() for b in biases])
    torch.testing.assert_close(found.double(), exact, rtol=0, atol=3e-5)


def test_derivatives_in_float64() -> None:
    weights, biases = network(2, [2, 3, 2], own_biases=True)
    frequency = normal(3, 2)
    tensors = [normal(2, 4, 2), *(t.requires_grad_() for t in (*weights, *biases))]

    def siren(coordinates: Tensor, *rest: Tensor) -> Tensor:
        return functional.coord_mlp(coordinates, rest[:2], rest[2:], omega=2.0)

    check_derivatives(siren, tensors)
    weights = [normal(1, 2, 6)]
    check_derivatives(lambda x, F, w: functional.coord_mlp(x, [w], frequency=F), [normal(3, 2), frequency, weights[0]])


@pytest.mark.parametrize("activation", ["sine", "lrelu"])
def test_gradients_in_float32(activation: str) -> None:
    """Relative in norm, against float64: phases are rounded as in the forward."""
    weights, biases = network(2, [2, 40, 33, 3], dtype=torch.float32)
    tensors = [(torch.rand(2, 130, 2) * 2 - 1), *weights, *biases]
    probe = torch.randn(2, 130, 3)

    def gradients(dtype: torch.dtype) -> tuple[Tensor, ...]:
        own = [t.to(dtype).requires_grad_() for t in tensors]
        out = functional.coord_mlp(own[0], own[1:4], own[4:], activation)
        return torch.autograd.grad(out, own, probe.to(dtype))

    for found, exact in zip(gradients(torch.float32), gradients(torch.float64), strict=True):
        assert float((found.double() - exact).norm() / exact.norm()) < 2e-5


def test_schema_and_compilation() -> None:
    weights, biases = network(2, [2, 5, 3], dtype=torch.float32)
    coordinates = torch.rand(2, 7, 2)
    for varied in layouts(coordinates):
        args = (varied, weights, [None, biases[1]], ["sine", "linear"], [1.0, 1.0])
        check_schema(torch.ops.digan_fast.coord_mlp.default, args)
    alive = [t.requires_grad_() for t in (coordinates, *weights, *biases)]
    check_compiled(lambda x, *rest: functional.coord_mlp(x, rest[:2], rest[2:], omega=3.0), alive)
    torch._dynamo.reset()
    with torch.no_grad():
        compiled = torch.compile(functional.coord_mlp, fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(
            compiled(coordinates, weights, biases), functional.coord_mlp(coordinates, weights, biases)
        )


def test_stride_zero_gradients() -> None:
    weights, biases = network(2, [2, 5, 3], dtype=torch.float32)
    alive = [t.requires_grad_() for t in (torch.rand(2, 7, 2), *weights, *biases)]
    check_stride_zero_gradient(lambda x, *rest: functional.coord_mlp(x, rest[:2], rest[2:], omega=3.0), alive)


@pytest.mark.parametrize(("batch", "points"), [(0, 4), (2, 0)])
def test_empty(batch: int, points: int) -> None:
    weights, biases = network(batch, [2, 5, 3], dtype=torch.float32)
    assert functional.coord_mlp(torch.rand(batch, points, 2), weights, biases).shape == (batch, points, 3)


BAD: list[tuple[dict[str, Any], str]] = [
    ({"weights": []}, "weights: empty"),
    ({"coordinates": torch.zeros(2, 5, 7, 2)}, r"coordinates: shape \(2, 5, 7, 2\)"),
    ({"coordinates": torch.zeros(3, 7, 2)}, r"coordinates: shape \(3, 7, 2\), expected \[N, D\] or \[2, N, D\]"),
    ({"coordinates": torch.zeros(7, 5)}, "D from 1 to 4"),
    ({"activation": "tanh"}, "activation: 'tanh'"),
    ({"omega": [1.0, 2.0]}, "omega: "),
    ({"omega": math.nan}, "omega: nan"),
    ({"biases": [None]}, "biases: 1, expected 2"),
    ({"biases": [torch.zeros(4), None]}, r"biases\[0\]: shape \(4,\), expected \[5\]"),
    ({"biases": [torch.zeros(5).double(), None]}, r"biases\[0\]: torch.float64"),
    ({"weights": [torch.zeros(2, 5, 2), torch.zeros(2, 3, 6)]}, r"weights\[1\]: shape \(2, 3, 6\)"),
    ({"weights": [torch.zeros(2, 5, 2), torch.zeros(2, 3, 5).double()]}, r"weights\[1\]: torch.float64"),
    ({"frequency": torch.zeros(3, 4)}, r"frequency: shape"),
]


@pytest.mark.parametrize(("change", "message"), BAD)
def test_errors_name_the_argument(change: dict[str, Any], message: str) -> None:
    weights, biases = network(2, [2, 5, 3], dtype=torch.float32)
    arguments = {"coordinates": torch.rand(2, 7, 2), "weights": weights, "biases": biases} | change
    with pytest.raises(ValueError, match=message):
        functional.coord_mlp(**arguments)
