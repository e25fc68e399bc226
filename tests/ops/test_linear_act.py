from __future__ import annotations

import math

import pytest
import torch
from checks import check_compiled, check_derivatives, check_schema, check_stride_zero_gradient, check_views, normal

from digan_fast import functional
from digan_fast.reference import coord_linear, linear_act


@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize("activation", ["linear", "relu", "lrelu", "sine", "tanh"])
@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 3, 5), (3, 2, 4, 3, 7)])
def test_is_its_formula(activation: str, shape: tuple[int, ...]) -> None:
    x = torch.randn(shape, dtype=torch.float64)
    weight = torch.randn(shape[0], 9, shape[-1], dtype=torch.float64)
    bias = torch.randn(9, dtype=torch.float64)
    found = functional.linear_act(x, weight, bias, activation, gain=1.3, clamp=2.0)
    z = torch.einsum("b...i,boi->b...o", x, weight) + bias
    act = {
        "linear": z,
        "relu": z.relu(),
        "lrelu": torch.where(z > 0, z, 0.2 * z),
        "sine": z.sin(),
        "tanh": z.tanh(),
    }[activation]
    torch.testing.assert_close(found, (act * 1.3).clamp(-2, 2))


@pytest.mark.parametrize("activation", ["linear", "lrelu", "sine", "swish"])
@pytest.mark.parametrize("clamp", [None, 1.1])
def test_derivatives(activation: str, clamp: float | None) -> None:
    check_derivatives(
        lambda x, w, b: functional.linear_act(x, w, b, activation, clamp=clamp),
        (normal(2, 3, 4), normal(2, 5, 4), normal(5)),
    )


def test_derivatives_without_bias() -> None:
    check_derivatives(lambda x, w: functional.linear_act(x, w, None, "lrelu"), (normal(2, 2, 3, 4), normal(2, 5, 4)))


@pytest.mark.parametrize("clamp", [None, 0.5])
def test_the_references_are_differentiable_themselves(clamp: float | None) -> None:
    check_derivatives(
        lambda x, w, b: linear_act.linear_act(x, w, b, "lrelu", 1.4, clamp),
        (normal(2, 3, 4), normal(2, 5, 4), normal(5)),
    )
    grid = (4, 0, 0, 4, 4)
    shapes = ((1, 2, 2, 2, 3), (1, 2, 2), (1, 2, 2), (1, 3, 4), (3,))
    check_derivatives(
        lambda *args: coord_linear.coord_linear(*args, grid, "lrelu", 1.4, clamp),
        [normal(*shape) for shape in shapes],
    )


def test_schema() -> None:
    x, weight, bias = torch.randn(2, 3, 4), torch.randn(2, 5, 4), torch.randn(5)
    check_schema(torch.ops.digan_fast.linear_act.default, (x, weight, bias, "lrelu", 1.4, None))
    check_schema(torch.ops.digan_fast.linear_act.default, (x, weight, None, "linear", 1.0, None))
    out = torch.randn(2, 3, 5)
    backward = torch.ops.digan_fast.linear_act_backward.default
    check_schema(backward, (out, x, weight, bias, out, "lrelu", 1.4, 0.5))
    check_schema(backward, (out, x, weight, None, out, "sine", 1.0, None))


def test_compiles_into_one_graph() -> None:
    shapes = ((2, 3, 4), (2, 5, 4), (5,))
    check_compiled(
        lambda x, w, b: functional.linear_act(x, w, b, "lrelu") * 2,
        [normal(*shape, dtype=torch.float32) for shape in shapes],
    )


def test_views_and_stride_zero_gradients() -> None:
    def function(*args: torch.Tensor) -> torch.Tensor:
        return functional.linear_act(*args, "lrelu")

    inputs = (normal(2, 3, 4), normal(2, 5, 4), normal(5))
    check_views(function, inputs)
    check_stride_zero_gradient(function, inputs)


@pytest.mark.parametrize("shape", [(0, 3, 4), (2, 0, 4)])
def test_empty(shape: tuple[int, ...]) -> None:
    x = torch.zeros(shape, requires_grad=True)
    y = functional.linear_act(x, torch.ones(shape[0], 5, 4), torch.ones(5), "lrelu")
    assert y.shape == (*shape[:2], 5)
    y.sum().backward()
    assert x.grad is not None


def test_the_default_gain_is_the_activation_s() -> None:
    x = -torch.ones(1, 1, 1)
    found = functional.linear_act(x, torch.ones(1, 1, 1), None, "lrelu")
    torch.testing.assert_close(found, x * 0.2 * math.sqrt(2))


@pytest.mark.parametrize(
    ("x", "weight", "bias", "message"),
    [
        ((2, 4), (2, 5, 4), (5,), r"x: shape \(2, 4\)"),
        ((2, 3, 4), (3, 5, 4), (5,), r"weight: shape \(3, 5, 4\), expected \[2, O, 4\]"),
        ((2, 3, 4), (2, 5, 4), (6,), r"bias: shape \(6,\), expected \[5\]"),
    ],
)
def test_errors_name_the_argument(
    x: tuple[int, ...], weight: tuple[int, ...], bias: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        functional.linear_act(torch.zeros(x), torch.zeros(weight), torch.zeros(bias))
