"""The native kernels of ``linear_act`` against the reference in float64, and what must not change their bits."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from checks import check_stride_zero_gradient, examples, layouts, reduced, thread_counts
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from digan_fast import backends, functional, use_backend
from digan_fast.reference import linear_act as reference

pytestmark = pytest.mark.skipif(backends()["native"] is not None, reason="the compiled module was not built")

FORWARD = torch.ops.digan_fast.linear_act.default
BACKWARD = torch.ops.digan_fast.linear_act_backward.default
ACTIVATIONS = ["linear", "relu", "lrelu", "sine"]
BIASES = [None, 1, 2]
UNIT = 2**-24
# Of a sine or cosine (gemm/microkernel-inl.h and simd/sincos-inl.h of csrc/cpu),
# with room for its product with the gain.
SINE = 2e-7


def inputs(videos: int, rows: int, wide: int, outputs: int, bias: int | None) -> tuple[Tensor, Tensor, Tensor | None]:
    """x, weight and a bias of so many dimensions."""
    x, weight = torch.randn(videos, rows, wide), torch.randn(videos, outputs, wide) / math.sqrt(wide)
    return x, weight, None if bias is None else torch.randn((videos, outputs)[2 - bias :])


def wide(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.double()


def check_forward(x: Tensor, weight: Tensor, bias: Tensor | None, activation: str, clamp: float | None) -> Tensor:
    """Each number within the rounding of its own sum.

    A sum of n products is off by n units of the sum of their magnitudes at most, whatever its order; the gain and the
    bias round three times more, and nothing after it enlarges the error.
    """
    with use_backend("native"):
        out = FORWARD(x, weight, bias, activation, 1.3, clamp)
    exact = reference.linear_act(x.double(), weight.double(), wide(bias), activation, 1.3, clamp)
    bound = 1.3 * (UNIT * (x.shape[-1] + 4) * magnitude(x, weight, bias) + (SINE if activation == "sine" else 0))
    assert out.shape == exact.shape
    assert (out.double() - exact).abs().le(bound).all()
    return out


def magnitude(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """|x|·|W|ᵀ + |b|."""
    return reference.product(x.double().abs(), weight.double().abs(), None if bias is None else bias.double().abs())


def check_backward(x: Tensor, weight: Tensor, bias: Tensor | None, activation: str, clamp: float | None) -> None:
    """The same for gradients; both take the slope of lrelu and relu, and the clamp, from the same ``out``."""
    out = check_forward(x, weight, bias, activation, clamp)
    grad = torch.randn_like(out)
    with use_backend("native"):
        found = BACKWARD(grad, x, weight, bias, out, activation, 1.3, clamp)
    args = [t.double() for t in (grad, x, weight)]
    exact = reference.linear_act_backward(*args, wide(bias), out.double(), activation, 1.3, clamp)
    dz = exact_dz(*args, wide(bias), out.double(), activation, clamp).abs()
    rounding = 3 * UNIT * dz
    if activation == "sine":
        rounding = rounding + 1.3 * args[0].abs() * (UNIT * (x.shape[-1] + 2) * magnitude(x, weight, bias) + SINE)
    outputs, rows = weight.shape[1], x.shape[0] * x.shape[1]

    def sums(dz: Tensor) -> tuple[Tensor, ...]:
        dbias = dz.sum(1) if bias is not None and bias.ndim == 2 else dz.sum((0, 1))
        return dz @ args[2].abs(), dz.mT @ args[1].abs(), dbias

    for value, want, size, off, terms in zip(
        found, exact, sums(dz), sums(rounding), (outputs, rows, rows), strict=True
    ):
        assert value.shape == want.shape
        assert (value.double() - want).abs().le(off * 1.01 + UNIT * (terms + 2) * size).all()


def exact_dz(
    grad: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None, out: Tensor, activation: str, clamp: float | None
) -> Tensor:
    z = reference.product(x, weight, bias)
    return reference.pre_activation_gradient(grad, z, out, activation, 1.3, clamp)


@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("clamp", [None, 0.8])
@pytest.mark.parametrize("bias", BIASES)
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 97, 33, 35), (3, 193, 16, 64), (1, 400, 5, 7)])
def test_native_is_the_reference(
    shape: tuple[int, int, int, int], bias: int | None, clamp: float | None, activation: str
) -> None:
    check_backward(*inputs(*shape, bias), activation, clamp)


@pytest.mark.usefixtures("poisoned")
def test_the_published_width() -> None:
    """512 channels; relative in norm roundings that add up at random come to 2⁻²⁴·√512 = 1.3e-6; 5e-7 was seen."""
    x, weight, bias = inputs(1, reduced(1500, 200), 512, 512, 1)
    check_backward(x, weight, bias, "lrelu", None)
    with use_backend("native"):
        found = FORWARD(x, weight, bias, "lrelu", 1.4, None).double()
    exact = FORWARD(x.double(), weight.double(), wide(bias), "lrelu", 1.4, None)
    assert (found - exact).norm() / exact.norm() < 1e-6


@settings(deadline=None, max_examples=examples(80))
@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 300), st.integers(1, 70), st.integers(1, 70)),
    bias=st.sampled_from(BIASES),
    activation=st.sampled_from(ACTIVATIONS),
    clamp=st.sampled_from([None, 0.8]),
    threads=st.integers(1, 3),
)
def test_any_shape(
    shape: tuple[int, int, int, int], bias: int | None, activation: str, clamp: float | None, threads: int
) -> None:
    for _ in thread_counts(threads):
        check_backward(*inputs(*shape, bias), activation, clamp)


def both(x: Tensor, weight: Tensor, bias: Tensor | None, grad: Tensor, activation: str) -> list[Tensor]:
    with use_backend("native"):
        out = FORWARD(x, weight, bias, activation, 1.3, None)
        return [out, *BACKWARD(grad, x, weight, bias, out, activation, 1.3, None)]


def same(found: list[Tensor], expected: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("activation", ["lrelu", "sine"])
@pytest.mark.parametrize("bias", BIASES)
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 977, 37, 41), (5, 97, 129, 3)])
def test_the_number_of_threads_changes_no_bit(
    shape: tuple[int, int, int, int], bias: int | None, activation: str
) -> None:
    tensors, grad = inputs(*shape, bias), torch.randn(*shape[:2], shape[3])
    found = [both(*tensors, grad, activation) for _ in thread_counts(1, 2, 3, 5, 16)]
    assert all(same(a, b) for a, b in pairwise(found))


# Up to eight rows are summed in another order than more, but for a few outputs.
@pytest.mark.parametrize(
    ("rows", "outputs", "parts"),
    [
        (250, 23, [slice(0, 9), slice(95, 105), slice(90, 200)]),
        (8, 23, [slice(0, 1), slice(2, 7)]),
        (250, 3, [slice(0, 1), slice(95, 97), slice(90, 200)]),
    ],
)
def test_videos_and_rows_are_each_their_own(rows: int, outputs: int, parts: list[slice]) -> None:
    x, weight, bias = inputs(3, rows, 19, outputs, 1)
    with use_backend("native"):
        whole = FORWARD(x, weight, bias, "lrelu", 1.3, None)
        for part in parts:
            assert torch.equal(FORWARD(x[:, part], weight, bias, "lrelu", 1.3, None), whole[:, part])
        for video in range(3):
            one = slice(video, video + 1)
            assert torch.equal(FORWARD(x[one], weight[one], bias, "lrelu", 1.3, None), whole[one])


@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize("rows", [1, 4, 5, 8, 9])
def test_few_rows_and_a_large_weight(rows: int) -> None:
    """Up to four rows the weight's gradient is written past the caches, up to eight in two passes."""
    check_backward(*inputs(1, rows, 512, reduced(4099, 300), 1), "lrelu", None)


def test_large_results_have_the_bits_of_their_parts() -> None:
    """From 2²¹ numbers on they are written past the caches."""
    rows = reduced(4099, 300)
    parts = slice(0, rows // 2), slice(rows // 2, rows)
    for wide, outputs in ((3, 512), (512, 3)):
        x, weight, bias = inputs(1, rows, wide, outputs, 1)
        grad = torch.randn(1, rows, outputs)
        out, dx, *_ = both(x, weight, bias, grad, "lrelu")
        found = [both(x[:, part], weight, bias, grad[:, part], "lrelu")[:2] for part in parts]
        for whole, pieces in zip((out, dx), zip(*found, strict=True), strict=True):
            assert torch.equal(torch.cat(pieces, 1), whole)


def test_views_give_the_same_bits() -> None:
    tensors: list[Tensor] = [t for t in inputs(2, 100, 17, 9, 2) if t is not None]
    tensors.append(torch.randn(2, 100, 9))
    expected = both(*tensors, "sine")
    for index in range(4):
        for changed in layouts(tensors[index]):
            assert same(both(*tensors[:index], changed, *tensors[index + 1 :], "sine"), expected)
    one = tensors[3][:1, :1].expand(2, 100, 9)
    assert same(both(*tensors[:3], one, "sine"), both(*tensors[:3], one.contiguous(), "sine"))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_nan_reaches_what_depends_on_it_alone(activation: str) -> None:
    x, weight, bias = inputs(2, 110, 18, 21, 1)
    x[0, 97, 3] = weight[1, 20, 5] = float("nan")
    with use_backend("native"):
        out = FORWARD(x, weight, bias, activation, 1.3, 0.8)
        assert torch.equal(out.isnan().nonzero()[:, :2].unique(dim=0), nan_places())
        assert out[0, 97].isnan().all()
        assert out[1, :, 20].isnan().all()
        assert out.isnan().sum() == 21 + 110
        dx, dweight, dbias = BACKWARD(torch.ones_like(out), x, weight, bias, out, activation, 1.3, 0.8)
    # Where the output is NaN the clamp lets no gradient through, but NaN · 0 is NaN.
    assert dx[1, :, 5].isnan().all()
    assert dx.isnan().sum() == 110
    assert dweight[0, :, 3].isnan().all()
    assert not dweight[1].isnan().any()
    assert not dbias.isnan().any()


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_no_gradient_below_zero_of_relu(value: float) -> None:
    x, weight = torch.full((1, 20, 3), -1.0), torch.ones(1, 9, 3)
    with use_backend("native"):
        out = FORWARD(x, weight, None, "relu", 1.3, None)
        dx, dweight, _ = BACKWARD(torch.full_like(out, value), x, weight, None, out, "relu", 1.3, None)
    assert not dx.any()
    assert not dweight.any()


def nan_places() -> Tensor:
    """The rows that hold a NaN in the test above."""
    return torch.cat((torch.tensor([[0, 97]]), torch.stack((torch.ones(110).long(), torch.arange(110)), 1)))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_second_derivatives(activation: str) -> None:
    """A penalty on the gradient, as of the path length, in float32 against float64; 3e-7 was seen, relative in norm."""
    shapes = ((2, 130, 33), (2, 20, 33), (2, 20))
    tensors = [torch.randn(shape) / 3 for shape in shapes]
    probe = torch.randn(2, 130, 20)

    def penalty_gradients(dtype: torch.dtype) -> tuple[Tensor, ...]:
        own = [t.to(dtype).requires_grad_() for t in tensors]
        out = functional.linear_act(*own, activation).sin()
        gradients = torch.autograd.grad(out, own[:2], probe.to(dtype), create_graph=True)
        return torch.autograd.grad(sum(g.square().sum() for g in gradients), own)

    with use_backend("native"):
        found = penalty_gradients(torch.float32)
    for value, exact in zip(found, penalty_gradients(torch.float64), strict=True):
        assert (value.double() - exact).norm() / exact.norm() < 2e-6


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("bias", [1, 2])
def test_stride_zero_gradients(activation: str, bias: int) -> None:
    tensors = [t.requires_grad_() for t in inputs(2, 100, 17, 9, bias) if t is not None]
    with use_backend("native"):
        check_stride_zero_gradient(lambda *args: functional.linear_act(*args, activation, clamp=1.1), tensors)


@pytest.mark.parametrize("shape", [(0, 3, 4, 5), (2, 0, 4, 5), (2, 3, 0, 5), (2, 3, 4, 0)])
@pytest.mark.parametrize("bias", BIASES)
def test_empty(shape: tuple[int, int, int, int], bias: int | None) -> None:
    x, weight, offset = inputs(*shape[:2], max(shape[2], 1), shape[3], bias)
    x, weight = x[..., : shape[2]], weight[..., : shape[2]]
    alive = [t.requires_grad_() for t in (x, weight, offset) if t is not None]
    with use_backend("native"):
        out = functional.linear_act(x, weight, offset, "lrelu")
        out.sum().backward()
    assert out.shape == (*shape[:2], shape[3])
    assert all(t.grad is None or t.grad.isfinite().all() for t in alive)
