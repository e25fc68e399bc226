from __future__ import annotations

import pytest
import torch
from checks import check_compiled, check_derivatives, check_schema, check_stride_zero_gradient, check_views, normal

from digan_fast import functional

ACTIVATIONS = ["demod", "tanh", "sigmoid", "linear"]


def formula(weight: torch.Tensor, left: torch.Tensor, right: torch.Tensor, activation: str) -> torch.Tensor:
    modulation = torch.einsum("bor,bri->boi", left, right) / left.shape[-1] ** 0.5
    if activation == "tanh":
        modulation = modulation.tanh()
    if activation == "sigmoid":
        modulation = modulation.sigmoid() - 0.5
    modulated = weight * (modulation + 1)
    if activation == "demod":
        modulated = modulated / (modulated.square().sum(-1, keepdim=True).sqrt() + 1e-8)
    return modulated


@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("extents", [(1, 1, 1, 1), (2, 3, 5, 4), (3, 33, 17, 10), (0, 2, 3, 1)])
def test_is_its_formula(activation: str, extents: tuple[int, ...]) -> None:
    batch, outputs, inputs, rank = extents
    weight = torch.randn(outputs, inputs, dtype=torch.float64)
    left = torch.randn(batch, outputs, rank, dtype=torch.float64)
    right = torch.randn(batch, rank, inputs, dtype=torch.float64)
    found = functional.fmm_weights(weight, left, right, activation)
    torch.testing.assert_close(found, formula(weight, left, right, activation))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_derivatives(activation: str) -> None:
    inputs = (normal(3, 4), normal(2, 3, 2), normal(2, 2, 4))
    check_derivatives(lambda *args: functional.fmm_weights(*args, activation), inputs)


def test_rows_of_zeros_have_finite_gradients() -> None:
    weight = torch.zeros(2, 3, requires_grad=True)
    left, right = torch.zeros(1, 2, 1, requires_grad=True), torch.zeros(1, 1, 3, requires_grad=True)
    functional.fmm_weights(weight, left, right).sum().backward()
    assert weight.grad is not None
    assert weight.grad.isfinite().all()


def test_schema_and_compilation() -> None:
    inputs = [normal(*shape, dtype=torch.float32) for shape in ((3, 4), (2, 3, 2), (2, 2, 4))]
    check_schema(torch.ops.digan_fast.fmm_weights.default, (*inputs, "demod"))
    out = torch.randn(2, 3, 4)
    check_schema(torch.ops.digan_fast.fmm_weights_backward.default, (out, *inputs, out, "demod"))
    check_compiled(lambda *args: functional.fmm_weights(*args), inputs)


def test_views_and_stride_zero_gradients() -> None:
    inputs = (normal(3, 4), normal(2, 3, 2), normal(2, 2, 4))
    check_views(functional.fmm_weights, inputs)
    check_stride_zero_gradient(functional.fmm_weights, inputs)


def test_errors_name_the_argument() -> None:
    with pytest.raises(ValueError, match=r"right: shape \(2, 3, 4\), expected \[2, 2, 4\]"):
        functional.fmm_weights(torch.zeros(3, 4), torch.zeros(2, 3, 2), torch.zeros(2, 3, 4))
    with pytest.raises(ValueError, match="activation: 'softmax'"):
        functional.fmm_weights(torch.zeros(3, 4), torch.zeros(2, 3, 2), torch.zeros(2, 2, 4), "softmax")
