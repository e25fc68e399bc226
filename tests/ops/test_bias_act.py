from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from checks import (
    check_compiled,
    check_derivatives,
    check_schema,
    check_stride_zero_gradient,
    check_views,
    examples,
    normal,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from digan_fast import backends, dispatch, functional, use_backend
from digan_fast.reference.activations import ACTIVATIONS

# sine is as inaccurate as x + b, whose error grows with x: see tests/ops/test_bias_act_backward.py.
NAMES = [name for name in ACTIVATIONS if name != "sine"]
FORMULAE = {
    "linear": lambda z: z,
    "relu": torch.relu,
    "lrelu": lambda z: torch.where(z > 0, z, 0.2 * z),
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "elu": F.elu,
    "selu": F.selu,
    "softplus": F.softplus,
    "swish": lambda z: z / (1 + torch.exp(-z)),
    "sine": torch.sin,
}
needs_native = pytest.mark.skipif(backends()["native"] is not None, reason="the compiled module was not built")


@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("clamp", [None, 0.7])
def test_matches_its_formula(name: str, clamp: float | None) -> None:
    x, bias = torch.randn(3, 5, 7, 2, dtype=torch.float64), torch.randn(5, dtype=torch.float64)
    expected = FORMULAE[name](x + bias.view(1, 5, 1, 1)) * 1.5
    if clamp is not None:
        expected = expected.clamp(-clamp, clamp)
    torch.testing.assert_close(functional.bias_act(x, bias, 1, name, 1.5, clamp), expected)


@pytest.mark.parametrize(("name", "gain"), [("lrelu", math.sqrt(2)), ("swish", math.sqrt(2)), ("tanh", 1.0)])
def test_default_gain(name: str, gain: float) -> None:
    x = torch.randn(2, 3, dtype=torch.float64)
    torch.testing.assert_close(functional.bias_act(x, activation=name), FORMULAE[name](x) * gain)


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("clamp", [None, 0.9])
def test_derivatives(name: str, clamp: float | None) -> None:
    check_derivatives(lambda x, b: functional.bias_act(x, b, 1, name, clamp=clamp), (normal(2, 3, 4), normal(3)))


def test_derivatives_without_bias_and_of_the_last_dimension() -> None:
    check_derivatives(lambda x: functional.bias_act(x, None, 1, "tanh"), (normal(2, 3),))
    check_derivatives(lambda x, b: functional.bias_act(x, b, -1, "swish"), (normal(2, 3), normal(3)))


def test_derivative_of_a_penalty_that_shares_inputs() -> None:
    """The gradient that R1 differentiates depends on the output that the op's backward reads."""

    def penalty(x: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        y = functional.bias_act(x, b, 1, "tanh")
        (gradient,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
        return gradient.square().sum()

    x, b = normal(2, 3), normal(3)
    plain = torch.tanh(x + b)
    (gradient,) = torch.autograd.grad(plain.square().sum(), x, create_graph=True)
    expected = torch.autograd.grad(gradient.square().sum(), (x, b))
    torch.testing.assert_close(torch.autograd.grad(penalty(x, b), (x, b)), expected)


def test_schema() -> None:
    x, bias = torch.randn(2, 3, 4, 5), torch.randn(3)
    check_schema(torch.ops.digan_fast.bias_act.default, (x, bias, 1, "lrelu", 1.4, 0.8))
    check_schema(torch.ops.digan_fast.bias_act.default, (x, None, 1, "linear", 1.0, None))
    backward = torch.ops.digan_fast.bias_act_backward.default
    check_schema(backward, (x, None, None, x, 1, "lrelu", 1.4, None))
    check_schema(backward, (x, x, bias, x, 1, "swish", 1.4, None))
    check_schema(backward, (x, None, None, x, 1, "linear", 1.0, None))


def test_compiles_into_one_graph() -> None:
    check_compiled(
        lambda x, b: functional.bias_act(x * 2, b, 1, "lrelu") + 1,
        (normal(2, 3, 4, dtype=torch.float32), normal(3, dtype=torch.float32)),
    )


def test_views_and_stride_zero_gradients() -> None:
    def function(x: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return functional.bias_act(x, b, 1, "lrelu")

    inputs = (normal(3, 5, 7, dtype=torch.float32), normal(5, dtype=torch.float32))
    check_views(function, inputs)
    check_stride_zero_gradient(function, inputs)


@pytest.mark.parametrize("shape", [(0, 3, 4), (2, 3, 0)])
def test_empty(shape: tuple[int, ...]) -> None:
    x = torch.zeros(shape, requires_grad=True)
    y = functional.bias_act(x, torch.ones(3), 1, "lrelu")
    assert y.shape == x.shape
    y.sum().backward()
    assert x.grad is not None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dim": 4}, "dim: 4"),
        ({"bias": torch.zeros(4)}, r"bias: shape \(4,\), expected \[3\]"),
        ({"activation": "gelu"}, "activation: 'gelu'"),
        ({"gain": 0.0}, "gain: 0.0"),
        ({"clamp": -1.0}, "clamp: -1.0"),
    ],
)
def test_errors_name_the_argument(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        functional.bias_act(torch.zeros(2, 3), **arguments)  # type: ignore[arg-type]


def _ulps(found: torch.Tensor, expected: torch.Tensor) -> float:
    """The largest error in units of float32's spacing at 1, relative to max(1, |expected|)."""
    error = (found.double() - expected).abs() / expected.abs().clamp(min=1)
    return float(error.max() / torch.finfo(torch.float32).eps) if error.numel() else 0.0


@needs_native
@pytest.mark.usefixtures("poisoned")
@settings(deadline=None, max_examples=examples(150))
@given(
    name=st.sampled_from(NAMES),
    shape=st.lists(st.integers(0, 9) | st.sampled_from([1, 16, 33]), min_size=2, max_size=4),
    dim=st.integers(0, 3),
    with_bias=st.booleans(),
    clamp=st.none() | st.floats(0.125, 3),
    layout=st.sampled_from(["contiguous", "channels_last", "transposed"]),
    seed=st.integers(0, 2**31),
)
def test_native_matches_the_reference(
    name: str,
    shape: list[int],
    dim: int,
    with_bias: bool,
    clamp: float | None,
    layout: str,
    seed: int,
) -> None:
    """Within 4 units in the last place of the float64 reference (2.1 observed)."""
    dim %= len(shape)
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(shape, generator=generator) * 3
    if layout == "channels_last" and x.ndim == 4:
        x = x.contiguous(memory_format=torch.channels_last)
    elif layout == "transposed":
        x = x.transpose(0, -1).contiguous().transpose(0, -1)
    bias = torch.randn(shape[dim], generator=generator) if with_bias else None
    with use_backend("native"):
        found = functional.bias_act(x, bias, dim, name, clamp=clamp)
    wide = None if bias is None else bias.double()
    expected = functional.bias_act(x.double(), wide, dim, name, clamp=clamp)
    assert found.shape == x.shape
    assert _ulps(found, expected) <= 4


@needs_native
def test_native_propagates_nan_and_infinity() -> None:
    x = torch.tensor([[math.nan, math.inf, -math.inf, 0.0]])
    for name in NAMES:
        with use_backend("native"):
            found = functional.bias_act(x, None, 1, name, clamp=2.0)
        torch.testing.assert_close(
            found, functional.bias_act(x.double(), None, 1, name, clamp=2.0).float(), equal_nan=True
        )


@needs_native
def test_native_is_bit_identical_for_any_number_of_threads() -> None:
    x, bias = torch.randn(5, 64, 333), torch.randn(64)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            with use_backend("native"):
                results.append(functional.bias_act(x, bias, 1, "swish"))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(results[0], other) for other in results)


def test_why_native_does_not_run_a_call() -> None:
    if backends()["native"] is not None:
        pytest.skip("the compiled module was not built")
    with use_backend("native"), pytest.raises(dispatch.BackendUnavailable, match=r"bias_act.*torch.float16"):
        functional.bias_act(torch.zeros(2, 3, dtype=torch.float16))
