"""The native backward of bias_act, conversions to and from bfloat16, and the sines that they use."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from checks import examples, sliced, thread_counts
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from digan_fast import backends, dispatch, functional, use_backend
from digan_fast.reference.activations import ACTIVATIONS
from digan_fast.reference.bias_act import bias_act as reference
from digan_fast.reference.bias_act import bias_act_backward as reference_backward

pytestmark = pytest.mark.skipif(backends()["native"] is not None, reason="the compiled module was not built")

FORWARD = torch.ops.digan_fast.bias_act.default
BACKWARD = torch.ops.digan_fast.bias_act_backward.default
EPS = torch.finfo(torch.float32).eps
# Length of the chains of float32 additions in a channel's sum, which continues in double (csrc/cpu): 64 rows of
# channels, or a sixteenth of at most 2¹⁴ pixels, then four. Each addition rounds by half a unit of its partial sum, in
# the same direction if the terms are equal, so together they err by half as many units of the sum of magnitudes.
CHAIN = 64
LAYOUTS = ("contiguous", "channels_last", "transposed", "sliced")


def arranged(x: Tensor, layout: str) -> Tensor:
    if layout == "channels_last" and x.ndim == 4:
        return x.contiguous(memory_format=torch.channels_last)
    if layout == "transposed":
        return x.transpose(0, -1).contiguous().transpose(0, -1)
    return sliced(x) if layout == "sliced" else x


def close(found: Tensor, expected: Tensor, size: Tensor, units: float) -> bool:
    """Within ``units`` of float32's spacing at max(1, size), plus half a unit of bfloat16 if ``found`` is bfloat16."""
    bound = units * EPS * size.clamp(min=1)
    if found.dtype == torch.bfloat16:
        bound = bound + torch.ldexp((expected != 0).double(), torch.frexp(expected).exponent - 9)
    return bool(((found.double() - expected).abs() <= bound).all())


def magnitude(grad: Tensor, x: Tensor, bias: Tensor | None, dim: int) -> Tensor:
    """The scale of rounding errors of grad · act'(x + b): half a unit of x + b moves a sine by as much."""
    z = x.double() if bias is None else x.double() + bias.double().view([-1 if i == dim else 1 for i in range(x.ndim)])
    return grad.double().abs() * z.abs().clamp(min=1)


@pytest.mark.usefixtures("poisoned")
@settings(deadline=None, max_examples=examples(200))
@given(
    name=st.sampled_from(list(ACTIVATIONS)),
    shape=st.lists(st.integers(0, 9) | st.sampled_from([1, 16, 33]), min_size=2, max_size=4),
    dim=st.integers(0, 3),
    with_bias=st.booleans(),
    clamp=st.sampled_from([None, 0.25, 0.75, 2.0]),
    gain=st.sampled_from([1.0, math.sqrt(2)]),
    layouts=st.tuples(*[st.sampled_from(LAYOUTS)] * 3),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
    expanded=st.booleans(),
    seed=st.integers(0, 2**31),
)
@example(
    "linear", [2, 2, 3, 33], 1, False, None, 1.0, ("contiguous", "contiguous", "channels_last"), torch.float32, True, 0
)
@example(
    "linear",
    [16, 1, 16, 33],
    1,
    False,
    None,
    1.0,
    ("contiguous", "contiguous", "channels_last"),
    torch.float32,
    True,
    0,
)
@example(
    "linear", [4, 3, 90, 99], 1, False, None, 1.0, ("contiguous", "contiguous", "channels_last"), torch.float32, True, 0
)
def test_matches_the_reference(
    name: str,
    shape: list[int],
    dim: int,
    with_bias: bool,
    clamp: float | None,
    gain: float,
    layouts: tuple[str, str, str],
    dtype: torch.dtype,
    expanded: bool,
    seed: int,
) -> None:
    """dx within 4 units in the last place of the float64 reference (2.5 observed), dbias within its chain's bound."""
    dim %= len(shape)
    generator = torch.Generator().manual_seed(seed)
    x = (torch.randn(shape, generator=generator) * 3).to(dtype)
    bias = torch.randn(shape[dim], generator=generator).to(dtype) if with_bias else None
    wide = None if bias is None else bias.double()
    out = reference(x.double(), wide, dim, name, gain, clamp).to(dtype)
    grad = torch.randn(shape, generator=generator).to(dtype)
    if expanded:
        grad = torch.randn(1, generator=generator).to(dtype).expand(shape)
    kept = (None, None) if ACTIVATIONS[name].homogeneous else (arranged(x, layouts[0]), bias)
    arranged_grad = grad if expanded else arranged(grad, layouts[1])
    with use_backend("native"):
        dx, dbias = BACKWARD(arranged_grad, *kept, arranged(out, layouts[2]), dim, name, gain, clamp)
    expected, expected_bias = reference_backward(grad.double(), x.double(), wide, out.double(), dim, name, gain, clamp)
    assert dx.dtype == dbias.dtype == dtype
    assert dx.shape == expected.shape
    size = magnitude(grad, x, bias, dim)
    assert close(dx, expected, size, 4)
    chain = max(CHAIN, -(-math.prod(shape[dim + 1 :]) // 16) + 4)
    assert close(dbias, expected_bias, size.sum([i for i in range(len(shape)) if i != dim]), 4 + (chain - 1) / 2)


@pytest.mark.usefixtures("poisoned")
@settings(deadline=None, max_examples=examples(100))
@given(
    name=st.sampled_from(list(ACTIVATIONS)),
    shape=st.lists(st.integers(0, 9) | st.sampled_from([1, 33]), min_size=2, max_size=4),
    dim=st.integers(0, 3),
    clamp=st.sampled_from([None, 0.25, 2.0]),
    layout=st.sampled_from(LAYOUTS),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
    seed=st.integers(0, 2**31),
)
def test_forward_of_every_activation_and_type(
    name: str, shape: list[int], dim: int, clamp: float | None, layout: str, dtype: torch.dtype, seed: int
) -> None:
    """Within 4 units of float32 of the float64 reference on the same inputs (2.9 observed), and bfloat16's rounding."""
    dim %= len(shape)
    generator = torch.Generator().manual_seed(seed)
    x = (torch.randn(shape, generator=generator) * 3).to(dtype)
    bias = torch.randn(shape[dim], generator=generator).to(dtype)
    with use_backend("native"):
        found = functional.bias_act(arranged(x, layout), bias, dim, name, 1.5, clamp)
    expected = functional.bias_act(x.double(), bias.double(), dim, name, 1.5, clamp)
    assert found.dtype == dtype
    assert close(found, expected, magnitude(torch.ones(()), x, bias, dim), 4)


def test_bfloat16_rounds_to_the_nearest() -> None:
    """All midpoints between two numbers, and their neighbours; subnormal numbers, overflow, infinity and NaN."""
    halves = torch.arange(0, 2**16, dtype=torch.int32).view(-1, 1) << 16
    x = (halves + torch.tensor([0x7FFF, 0x8000, 0x8001], dtype=torch.int32)).view(torch.float32).flatten()
    big = x.bfloat16()
    with use_backend("native"):
        found = functional.bias_act(big.view(1, -1), None, 1, "linear", 0.75)
    torch.testing.assert_close(found, (big.float() * 0.75).bfloat16().view(1, -1), rtol=0, atol=0, equal_nan=True)


def test_large_sums_of_many_chunks() -> None:
    """Parts of rows, many rows per task, more channels than a block, few channels in runs of rows."""
    for shape, dim in [((2, 3, 40_001), 1), ((700, 3, 50), 1), ((40, 2500), 1), ((30_001, 5), 1), ((17, 700), 1)]:
        grad, out = torch.randn(shape), torch.randn(shape)
        with use_backend("native"):
            dx, dbias = BACKWARD(grad, None, None, out, dim, "lrelu", 1.5, None)
        expected, expected_bias = reference_backward(grad.double(), None, None, out.double(), dim, "lrelu", 1.5, None)
        assert close(dx, expected, grad.double().abs(), 1)
        others = [i for i in range(len(shape)) if i != dim]
        # Sums of up to 2^10 per lane, then in double: the error grows as the square root of the number of terms.
        assert close(dbias, expected_bias, 8 * expected.square().sum(others).sqrt(), 1)


@pytest.mark.parametrize("name", list(ACTIVATIONS))
def test_gradients_of_nan_and_infinity(name: str) -> None:
    x = torch.tensor([[math.nan, math.inf, -math.inf, 0.0, -0.0, 100.0, -100.0]])
    out = FORWARD(x, None, 1, name, 1.0, None)
    for clamp in (None, 2.0):
        arguments = (torch.ones_like(x), x, None, out, 1, name, 1.5, clamp)
        with use_backend("native"):
            dx, _ = BACKWARD(*arguments)
        expected, _ = reference_backward(*(a.double() if isinstance(a, Tensor) else a for a in arguments))
        torch.testing.assert_close(dx.double(), expected, rtol=1e-6, atol=1e-6, equal_nan=True)


def test_bit_identical_for_any_number_of_threads() -> None:
    for shape, dim in [((5, 64, 333), 1), ((2, 3, 40_001), 1), ((3000, 65), 1)]:
        grad, x, bias = torch.randn(shape), torch.randn(shape), torch.randn(shape[dim])
        for dtype in (torch.float32, torch.bfloat16):
            inputs = [t.to(dtype) for t in (grad, x, bias, x)]
            with use_backend("native"):
                results = [BACKWARD(*inputs, dim, "swish", 1.4, 1.0) for _ in thread_counts(1, 2, 3)]
            for other in results[1:]:
                assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("name", ["lrelu", "swish"])
def test_second_derivatives_through_the_native_first_derivative(name: str) -> None:
    """R1's pattern in float32: a gradient of a gradient, both first derivatives from the kernel."""

    def penalty(x: Tensor, bias: Tensor) -> tuple[Tensor, ...]:
        y = functional.bias_act(x, bias, 1, name)
        (gradient,) = torch.autograd.grad((y * y).sum(), x, create_graph=True)
        return torch.autograd.grad(gradient.square().sum(), (x, bias))

    x, bias = torch.randn(2, 5, 6, 7), torch.randn(5)
    wide = penalty(x.double().requires_grad_(), bias.double().requires_grad_())
    for layout in ("contiguous", "channels_last"):
        with use_backend("native"):
            found = penalty(arranged(x, layout).requires_grad_(), bias.clone().requires_grad_())
        for a, b in zip(found, wide, strict=True):
            torch.testing.assert_close(a.double(), b, rtol=1e-5, atol=1e-4)


def test_why_native_does_not_run_a_call() -> None:
    x = torch.zeros(2, 3)
    with use_backend("native"), pytest.raises(dispatch.BackendUnavailable, match=r"grad is torch.bfloat16 and out"):
        BACKWARD(x.bfloat16(), None, None, x, 1, "lrelu", 1.0, None)
    with use_backend("native"), pytest.raises(dispatch.BackendUnavailable, match=r"out is torch.float16"):
        BACKWARD(x.half(), None, None, x.half(), 1, "lrelu", 1.0, None)


def sines(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """sin x and cos x of csrc/cpu/simd/sincos-inl.h, from the activation sine and its derivative."""
    numbers = torch.from_numpy(x).view(1, -1)
    with use_backend("native"):
        sine = FORWARD(numbers, None, 1, "sine", 1.0, None)
        cosine, _ = BACKWARD(torch.ones(1).expand(numbers.shape), numbers, None, sine, 1, "sine", 1.0, None)
    return sine[0].numpy(), cosine[0].numpy()


def near_quarter_turns() -> np.ndarray:
    """Floats next to the multiples of π/4 up to 1e4, where sine or cosine is near 0 or the quadrant changes."""
    turns = (np.arange(-12732, 12733) * (math.pi / 4)).astype(np.float32)
    return (turns[:, None] + np.spacing(np.abs(turns))[:, None] * np.arange(-4, 5, dtype=np.float32)).ravel()


@pytest.mark.parametrize(
    ("x", "bound"),
    [
        (np.random.default_rng(0).uniform(-1e4, 1e4, 1_000_000), 2.4e-7),
        (np.random.default_rng(1).uniform(-10, 10, 1_000_000), 2.4e-7),
        (near_quarter_turns(), 2.4e-7),
        (np.arange(2**23, dtype=np.uint32)[::7] + np.float32(4096).view(np.uint32), 2.4e-7),
        (np.random.default_rng(2).uniform(-1e8, 1e8, 20_000), 6e-8),
        (np.random.default_rng(3).uniform(-1e30, 1e30, 20_000), 6e-8),
        (np.float32([1e4, -1e4, 10000.001, 1e8, -1e8, 1e30, 3.4e38, -3.4e38]), 2.4e-7),
    ],
    ids=["1e4", "10", "quarter turns", "floats from 4096", "1e8", "1e30", "ends"],
)
def test_sine_and_cosine(x: np.ndarray, bound: float) -> None:
    """2.4e-7 up to 1e4 (9.5e-8 observed over all floats from 0.5 on), half a unit of 1 further out."""
    x = x.view(np.float32) if x.dtype == np.uint32 else x.astype(np.float32)
    wide = x.astype(np.float64)
    for found, expected in zip(sines(x), (np.sin(wide), np.cos(wide)), strict=True):
        assert np.abs(found - expected).max() <= bound


def test_sine_and_cosine_of_special_values() -> None:
    with np.errstate(all="ignore"):
        for found in sines(np.float32([np.nan, np.inf, -np.inf])):
            assert np.isnan(found).all()
        tiny = np.float32([0.0, -0.0, 1e-45, -1e-45, 1e-40, -1e-38, 1e-20])
        sine, cosine = sines(tiny)
    np.testing.assert_array_equal(sine, tiny)
    np.testing.assert_array_equal(cosine, 1)


def test_a_sine_does_not_depend_on_its_neighbours() -> None:
    """One number beyond the fast path's range, anywhere in a block, leaves the others bit-identical."""
    x = np.random.default_rng(4).uniform(-1e4, 1e4, 2100).astype(np.float32)
    plain = sines(x)
    for place in (0, 5, 1023, 1024, 2099):
        changed = x.copy()
        changed[place] = 1e9
        for found, before in zip(sines(changed), plain, strict=True):
            same = np.arange(len(x)) != place
            np.testing.assert_array_equal(found[same], before[same])
    for length in (1, 2, 3, 15, 17, 31, 33):
        for found, before in zip(sines(x[:length].copy()), plain, strict=True):
            np.testing.assert_array_equal(found, before[:length])
