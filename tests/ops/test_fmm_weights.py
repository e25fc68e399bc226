from __future__ import annotations

import pytest
import torch
from checks import (
    check_compiled,
    check_derivatives,
    check_schema,
    check_stride_zero_gradient,
    check_views,
    examples,
    layouts,
    normal,
    thread_counts,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from digan_fast import backends, dispatch, functional, use_backend
from digan_fast.reference.fmm_weights import fmm_weights_backward as reference_backward

ACTIVATIONS = ["demod", "tanh", "sigmoid", "linear"]
BACKWARD = torch.ops.digan_fast.fmm_weights_backward.default
EPS = torch.finfo(torch.float32).eps
needs_native = pytest.mark.skipif(backends()["native"] is not None, reason="the compiled module was not built")


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


def factors(batch: int, outputs: int, inputs: int, rank: int, seed: int = 0) -> list[Tensor]:
    """Weight, left, right of entries around 1, in float32."""
    generator = torch.Generator().manual_seed(seed)
    shapes = ((outputs, inputs), (batch, outputs, rank), (batch, rank, inputs))
    return [torch.randn(shape, generator=generator) for shape in shapes]


def check_gradients(found: tuple[Tensor, ...], grad: Tensor, inputs: list[Tensor], activation: str) -> float:
    """The largest error against the float64 reference, in float32's spacing at the size of the sum's terms.

    The terms of each gradient are bounded row by row: |∂/∂M| ≤ G = (|grad| + |V|·|⟨grad, V⟩|)·|W|/‖V‖, and likewise
    for dweight; a row's own roundings are relative to its terms.
    """
    weight, left, right = (t.double() for t in inputs)
    expected = reference_backward(grad.double(), weight, left, right, activation)
    scale = left.shape[-1] ** -0.5
    size = torch.bmm(left.abs(), right.abs()) * scale + 1  # of M + 1 and what rounds in it
    through = grad.double().abs()
    if activation == "demod":
        modulated = weight.abs() * size
        norm = (weight * (torch.bmm(left, right) * scale + 1)).norm(dim=-1, keepdim=True) + 1e-8
        through = (through + modulated * (through * modulated).sum(-1, keepdim=True) / norm**2) / norm
    dweight = (through * size).sum(0)
    dproduct = through * weight.abs() * size * scale
    sizes = (
        dweight,
        torch.bmm(dproduct, right.abs().transpose(1, 2)),
        torch.bmm(left.abs().transpose(1, 2), dproduct),
    )
    worst = 0.0
    for one, other, extent in zip(found, expected, sizes, strict=True):
        assert one.shape == other.shape
        assert one.dtype == torch.float32
        if one.numel():
            worst = max(worst, float(((one.double() - other).abs() / (EPS * extent + 1e-30)).max()))
    return worst


EXTENTS = {
    "batch": st.integers(0, 4),
    "outputs": st.integers(1, 9) | st.sampled_from([31, 33, 64, 70]),
    "inputs": st.integers(1, 9) | st.sampled_from([15, 16, 17, 31, 32, 33, 64, 100]),
    "rank": st.sampled_from([1, 2, 3, 5, 10, 16]),
    "activation": st.sampled_from(ACTIVATIONS),
    "seed": st.integers(0, 2**31),
}


@needs_native
@pytest.mark.usefixtures("poisoned")
@settings(deadline=None, max_examples=examples(150))
@given(**EXTENTS, layout=st.integers(0, 2))
def test_native_is_the_reference(
    batch: int, outputs: int, inputs: int, rank: int, activation: str, seed: int, layout: int
) -> None:
    """Within 4 units in the last place of what rounds (1.7 were seen)."""
    tensors = factors(batch, outputs, inputs, rank, seed)
    with use_backend("native"):
        found = functional.fmm_weights(*(layouts(t)[layout] for t in tensors), activation)
    weight, left, right = (t.double() for t in tensors)
    expected = functional.fmm_weights(weight, left, right, activation)
    size = weight.abs() * (torch.bmm(left.abs(), right.abs()) * rank**-0.5 + 1)
    if activation == "demod":
        norm = (weight * (torch.bmm(left, right) * rank**-0.5 + 1)).norm(dim=-1, keepdim=True) + 1e-8
        size = size / norm + expected.abs() * (size * size).sum(-1, keepdim=True).sqrt() / norm
    assert found.shape == expected.shape
    assert ((found.double() - expected).abs() <= 4 * EPS * size).all()


@needs_native
@pytest.mark.usefixtures("poisoned")
@settings(deadline=None, max_examples=examples(150))
@given(**EXTENTS, layout=st.integers(0, 2), expanded=st.booleans())
def test_native_gradients_are_the_reference_s(
    batch: int, outputs: int, inputs: int, rank: int, activation: str, seed: int, layout: int, expanded: bool
) -> None:
    """Within 5 units in the last place of the terms (2.4 were seen)."""
    tensors = factors(batch, outputs, inputs, rank, seed)
    grad = torch.randn(1).expand(batch, outputs, inputs) if expanded else torch.randn(batch, outputs, inputs)
    varied = [layouts(t)[layout] for t in tensors]
    out = torch.empty(batch, outputs, inputs)
    with use_backend("native"):
        found = BACKWARD(grad if expanded else layouts(grad)[layout], *varied, out, activation)
    assert check_gradients(found, grad, tensors, activation) <= 5


@needs_native
@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("extents", [(3, 96, 80, 10), (2, 530, 70, 7), (5, 128, 768, 10)])
def test_native_in_chunks_of_outputs_with_any_number_of_threads(extents: tuple[int, ...], activation: str) -> None:
    """Several chunks, whose shares of the right factor's gradient are summed apart; the same bits for all threads."""
    tensors = factors(*extents)
    grad = torch.randn(extents[0], *tensors[0].shape)
    results = []
    for _ in thread_counts(1, 2, 5):
        with use_backend("native"):
            out = functional.fmm_weights(*tensors, activation)
            results.append((out, *BACKWARD(grad, *tensors, out, activation)))
    expected = formula(*(t.double() for t in tensors), activation)
    torch.testing.assert_close(results[0][0].double(), expected, rtol=1e-5, atol=1e-5)
    assert check_gradients(results[0][1:], grad, tensors, activation) <= 5
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@needs_native
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_native_second_derivatives(activation: str) -> None:
    """A gradient penalty in float32, whose first derivatives come from the kernel."""

    def penalty(*inputs: Tensor) -> tuple[Tensor, ...]:
        out = functional.fmm_weights(*inputs, activation)
        gradients = torch.autograd.grad(out.pow(3).sum(), inputs, create_graph=True)
        return torch.autograd.grad(sum(g.square().sum() for g in gradients), inputs)

    tensors = factors(2, 5, 18, 3)
    with use_backend("native"):
        found = penalty(*(t.clone().requires_grad_() for t in tensors))
    expected = penalty(*(t.double().requires_grad_() for t in tensors))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-4, atol=1e-5 * float(other.abs().max()))


@needs_native
def test_native_rows_of_zeros_and_what_is_no_number() -> None:
    weight, left, right = factors(2, 6, 20, 3)
    weight[1] = 0
    weight[4, 7] = float("nan")
    grad = torch.randn(2, 6, 20)
    out = functional.fmm_weights(weight, left, right)
    with use_backend("native"):
        found = (functional.fmm_weights(weight, left, right), *BACKWARD(grad, weight, left, right, out, "demod"))
    expected = (out, *reference_backward(grad, weight, left, right, "demod"))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4, equal_nan=True)


@needs_native
def test_what_native_cannot_run_says_why() -> None:
    tensors = [t.half() for t in factors(1, 2, 3, 1)]
    with (
        use_backend("native"),
        pytest.raises(dispatch.BackendUnavailable, match=r"fmm_weights.*weight is torch.float16"),
    ):
        functional.fmm_weights(*tensors)
