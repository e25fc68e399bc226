"""The native kernels on bfloat16 tensors against the reference in float64 on the same numbers.

Products of two bfloat16 are exact in float32 and their sums are float32.  What else is rounded, each to 2⁻⁸ of itself:
results, gradients by z, rotated weights and features.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from checks import check_schema, check_stride_zero_gradient, examples, layouts, thread_counts
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from digan_fast import backends, dispatch, functional, use_backend
from digan_fast.ops.linear_act import linear_act
from digan_fast.reference import coord_linear as features
from digan_fast.reference import linear_act as reference

pytestmark = pytest.mark.skipif(backends()["native"] is not None, reason="the compiled module was not built")

OPS = torch.ops.digan_fast
LOW = 2**-8 * 1.01
UNIT = 2**-24
SINE = 2e-7
GAIN = 1.3


def run(op: str, *args: Any) -> Any:
    with use_backend("native"):
        return getattr(OPS, op)(*args)


def double(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.double()


def inputs(videos: int, rows: int, wide: int, outputs: int, kind: torch.dtype = torch.bfloat16) -> list[Tensor]:
    """x in bfloat16, weight and bias in ``kind``."""
    x, weight, bias = torch.randn(videos, rows, wide), torch.randn(videos, outputs, wide), torch.randn(outputs)
    return [x.bfloat16(), (weight / math.sqrt(wide)).to(kind), bias.to(kind)]


def within(found: Tensor, exact: Tensor, off: Tensor) -> bool:
    """Whether each number is off by no more than ``off`` and, in bfloat16, its own rounding."""
    own = LOW * (exact.abs() + off) if found.dtype == torch.bfloat16 else 0
    return found.shape == exact.shape and bool(((found.double() - exact).abs() <= off + own + 1e-30).all())


def check_linear_act(tensors: list[Tensor], activation: str, clamp: float | None) -> None:
    x, weight, bias = tensors
    out = run("linear_act", x, weight, bias, activation, GAIN, clamp)
    assert out.dtype == weight.dtype
    wide_x, wide_weight, wide_bias = (t.double() for t in tensors)
    exact = reference.linear_act(wide_x, wide_weight, wide_bias, activation, GAIN, clamp)
    terms = reference.product(wide_x.abs(), wide_weight.abs(), wide_bias.abs())
    z_off = UNIT * (x.shape[-1] + 4) * terms
    assert within(out, exact, GAIN * (z_off + (SINE if activation == "sine" else 0)))

    grad = torch.randn(out.shape).to(out.dtype)
    found = run("linear_act_backward", grad, x, weight, bias, out, activation, GAIN, clamp)
    args = (grad.double(), wide_x, wide_weight, wide_bias, out.double(), activation, GAIN, clamp)
    expected = reference.linear_act_backward(*args)
    assert [t.dtype for t in found] == [x.dtype, weight.dtype, bias.dtype]
    z = reference.product(wide_x, wide_weight, wide_bias)
    dz = reference.pre_activation_gradient(args[0], z, args[4], activation, GAIN, clamp).abs()
    exact_z = 1.01 * GAIN * args[0].abs() * (z_off + SINE) if activation == "sine" else 0
    operand = (LOW if weight.dtype == torch.bfloat16 else 3 * UNIT) * dz + exact_z
    own = 3 * UNIT * dz + exact_z
    rows, outputs = x.shape[0] * x.shape[1], weight.shape[1]
    assert within(found[0], expected[0], (operand + UNIT * (outputs + 2) * dz) @ wide_weight.abs())
    assert within(found[1], expected[1], (operand + UNIT * (rows + 2) * dz).mT @ wide_x.abs())
    assert within(found[2], expected[2], (own + UNIT * (rows + 2) * dz).sum((0, 1)))


@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("activation", ["linear", "relu", "lrelu", "sine"])
@pytest.mark.parametrize("clamp", [None, 0.8])
@pytest.mark.parametrize(
    "shape",
    [(1, 1, 1, 1), (2, 97, 33, 35), (3, 193, 16, 64), (1, 400, 5, 7), (2, 9, 31, 3), (1, 3, 64, 40), (2, 3205, 35, 19)],
)
def test_linear_act(shape: tuple[int, int, int, int], clamp: float | None, activation: str, kind: torch.dtype) -> None:
    check_linear_act(inputs(*shape, kind), activation, clamp)


@settings(deadline=None, max_examples=examples(60))
@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 300), st.integers(1, 70), st.integers(1, 70)),
    activation=st.sampled_from(["linear", "relu", "lrelu", "sine"]),
    clamp=st.sampled_from([None, 0.8]),
    threads=st.integers(1, 3),
)
def test_linear_act_of_any_shape(
    shape: tuple[int, int, int, int], activation: str, clamp: float | None, threads: int
) -> None:
    for _ in thread_counts(threads):
        check_linear_act(inputs(*shape), activation, clamp)


@pytest.mark.parametrize("clamp", [0.8, 0.9])
def test_clamped_outputs_get_no_gradient(clamp: float) -> None:
    """Whether bfloat16 rounds the clamp up, as 0.8, or down."""
    x, weight, bias = torch.ones(1, 20, 1), torch.ones(1, 9, 1), torch.full((9,), 9.0)
    low = [t.bfloat16() for t in (x, weight, bias)]
    out = run("linear_act", *low, "linear", 1.0, clamp)
    for gradient in run("linear_act_backward", torch.ones_like(out), *low, out, "linear", 1.0, clamp):
        assert not gradient.any()
    below, frequency, phase, rotated, offset = sinusoids(3, 9, (8, 0, 0, 8, 8), base=True)
    tensors = [below, frequency, phase, rotated / 64, offset * 0 + 99]
    options = [8, 0, 0, 8, 8], "linear", 1.0, clamp
    out = run("coord_linear", *tensors, *options)
    for gradient in run("coord_linear_backward", torch.ones_like(out), *tensors, out, *options):
        assert not gradient.any()


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("activation", ["linear", "relu", "lrelu"])
def test_gradient_at_a_nan(activation: str, kind: torch.dtype) -> None:
    """As PyTorch has it: relu lets it through, and lrelu takes the slope of negative numbers."""
    x, weight = torch.ones(1, 20, 3, dtype=kind), torch.ones(1, 9, 3, dtype=kind)
    x[0, 4, 0] = float("nan")
    out = run("linear_act", x, weight, None, activation, 1.0, None)
    dx, _, _ = run("linear_act_backward", torch.ones_like(out), x, weight, None, out, activation, 1.0, None)
    alive = x.double().requires_grad_()
    exact = reference.linear_act(alive, weight.double(), None, activation, 1.0, None)
    (wanted,) = torch.autograd.grad(exact.sum(), alive)
    torch.testing.assert_close(dx.double(), wanted, rtol=2**-7, atol=0)


Grid = tuple[int, int, int, int, int]
GRIDS: list[Grid] = [(1, 0, 0, 1, 1), (8, 0, 0, 8, 8), (8, 1, -1, 3, 4), (33, 4, 4, 9, 11), (64, 3, 5, 45, 46)]


def sinusoids(K: int, outputs: int, grid: Grid, base: bool, kind: torch.dtype = torch.bfloat16) -> list[Any]:
    """base, frequency, phase, weight, bias of 2 videos of 2 frames."""
    parents = [(at + extent - 1) // 2 - at // 2 + 1 for at, extent in zip(grid[1:3], grid[3:], strict=True)]
    below = torch.randn(2, 2, *parents, outputs).to(kind) if base else None
    weight = (torch.randn(2, outputs, 2 * K) / math.sqrt(K)).to(kind)
    return [below, torch.randn(2, K, 2) * 5, torch.randn(2, 2, K), weight, torch.randn(outputs).to(kind)]


@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize("activation", ["linear", "relu", "lrelu"])
@pytest.mark.parametrize("base", [False, True])
@pytest.mark.parametrize("size", [(1, 1), (5, 37), (64, 66), (130, 20)])
@pytest.mark.parametrize("grid", GRIDS)
def test_coord_linear(grid: Grid, size: tuple[int, int], base: bool, activation: str) -> None:
    """Of a sine, a cosine and their products with other operands, two factors of a term are rounded: 2·2⁻⁸ of it."""
    tensors = sinusoids(*size, grid, base)
    options = list(grid), activation, GAIN, 0.9
    out = run("coord_linear", *tensors, *options)
    wide = [double(t) for t in tensors]
    below, _, phase, weight, bias = wide
    assert phase is not None
    assert weight is not None
    assert bias is not None
    assert out.dtype == torch.bfloat16
    # |P| and |Q| are at most |W_s| + |W_c|, and float32 sums and angles add less than a hundredth of the roundings.
    pairs = sum(part.abs() for part in weight.chunk(2, -1))
    two = 2.02 * LOW
    forward = GAIN * two * 2 * pairs.sum(-1)[:, None, None, None]
    start = UNIT * 8 * (bias.abs() + (0 if below is None else below.abs().amax()))
    assert within(out, features.coord_linear(*wide, *options), (forward + start).expand(out.shape))

    grad = torch.randn(out.shape).bfloat16()
    found = run("coord_linear_backward", grad, *tensors, out, *options)
    options = *options[:3], float(torch.tensor(0.9).bfloat16())  # of a clamped output
    expected = features.coord_linear_backward(grad.double(), *wide, out.double(), *options)
    dz = features.pre_activation_gradient(grad.double(), None, out.double(), *options[1:]).abs()
    x, y = features.coordinates(grid, phase)
    reach = max(1.0, float(x.abs().max()), float(y.abs().max()))
    over_pixels = dz.sum((2, 3))  # [B, T, O]
    through = torch.einsum("bto,bok->btk", over_pixels, pairs)
    dweight = (2 * two * over_pixels.sum(1))[..., None].expand(weight.shape)
    if base:
        assert below is not None
        sums = features.upsample_backward(dz, grid, below.shape)
        assert within(found[0], expected[0], 8 * UNIT * sums)
    assert within(found[1], expected[1], (2 * two * reach * through.sum(1))[..., None].expand(expected[1].shape))
    assert within(found[2], expected[2], 4 * two * through)
    assert within(found[3], expected[3], dweight)
    assert within(found[4], expected[4], UNIT * (dz[..., 0].numel() + 4) * dz.sum((0, 1, 2, 3)))
    assert [t.dtype for t in found[1:]] == [torch.float32, torch.float32, torch.bfloat16, torch.bfloat16]


@pytest.mark.parametrize("activation", ["demod", "tanh", "sigmoid", "linear"])
@pytest.mark.parametrize("extents", [(1, 1, 1, 1), (2, 70, 33, 5), (3, 16, 64, 10)])
def test_fmm_weights_rounds_results_alone(extents: tuple[int, int, int, int], activation: str) -> None:
    batch, outputs, wide, rank = extents
    low = [torch.randn(shape).bfloat16() for shape in ((outputs, wide), (batch, outputs, rank), (batch, rank, wide))]
    grad = torch.randn(batch, outputs, wide).bfloat16()
    out = run("fmm_weights", *low, activation)
    assert torch.equal(out, run("fmm_weights", *(t.float() for t in low), activation).bfloat16())
    found = run("fmm_weights_backward", grad, *low, out, activation)
    expected = run("fmm_weights_backward", *(t.float() for t in (grad, *low, out)), activation)
    assert all(torch.equal(a, b.bfloat16()) for a, b in zip(found, expected, strict=True))


def both(op: str, tensors: list[Any], grad: Tensor, *options: Any) -> list[Tensor]:
    out = run(op, *tensors, *options)
    return [out, *run(f"{op}_backward", grad, *tensors, out, *options)]


def same(found: list[Tensor], expected: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 977, 37, 41), (5, 97, 129, 3)])
def test_the_number_of_threads_changes_no_bit(shape: tuple[int, int, int, int], kind: torch.dtype) -> None:
    tensors, grad = inputs(*shape, kind), torch.randn(*shape[:2], shape[3]).to(kind)
    found = [both("linear_act", tensors, grad, "lrelu", GAIN, None) for _ in thread_counts(1, 2, 3, 5)]
    assert all(same(a, b) for a, b in pairwise(found))


def test_the_number_of_threads_changes_no_bit_of_coordinates() -> None:
    grid: Grid = (33, 4, 4, 29, 31)
    tensors, grad = sinusoids(17, 37, grid, True), torch.randn(2, 2, 29, 31, 37).bfloat16()
    options = list(grid), "lrelu", GAIN, None
    found = [both("coord_linear", tensors, grad, *options) for _ in thread_counts(1, 2, 3, 5)]
    assert all(same(a, b) for a, b in pairwise(found))


def test_views_give_the_same_bits() -> None:
    tensors, grad = inputs(2, 100, 17, 9), torch.randn(2, 100, 9).bfloat16()
    options = "sine", GAIN, None
    expected = both("linear_act", tensors, grad, *options)
    for index in range(3):
        for changed in layouts(tensors[index]):
            varied = [*tensors[:index], changed, *tensors[index + 1 :]]
            assert same(both("linear_act", varied, grad, *options), expected)
    for changed in layouts(grad):
        assert same(both("linear_act", tensors, changed, *options), expected)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float32])
def test_stride_zero_gradients(kind: torch.dtype) -> None:
    tensors = [t.requires_grad_() for t in inputs(2, 100, 17, 5, kind)]
    with use_backend("native"):
        check_stride_zero_gradient(lambda *args: linear_act(*args, "lrelu", GAIN, 1.1), tensors)
    grid: Grid = (8, 0, 0, 8, 8)
    given = [t.requires_grad_() for t in sinusoids(5, 6, grid, True)]
    with use_backend("native"):
        check_stride_zero_gradient(lambda *args: functional.coord_linear(*args, grid, "lrelu"), given)


@pytest.mark.parametrize("shape", [(0, 3, 4, 5), (2, 0, 4, 5), (2, 3, 4, 0)])
def test_empty(shape: tuple[int, int, int, int]) -> None:
    alive = [t.requires_grad_() for t in inputs(*shape)]
    with use_backend("native"):
        out = functional.linear_act(*alive, "lrelu")
        out.sum().backward()
    assert out.dtype == torch.bfloat16
    assert all(t.grad is not None and t.grad.shape == t.shape for t in alive)


def test_schemas() -> None:
    with use_backend("native"):
        for kind in (torch.bfloat16, torch.float32):
            tensors = inputs(2, 5, 4, 3, kind)
            check_schema(OPS.linear_act.default, (*tensors, "lrelu", 1.0, None))
            out = OPS.linear_act(*tensors, "lrelu", 1.0, None)
            check_schema(OPS.linear_act_backward.default, (out, *tensors, out, "lrelu", 1.0, None))
        grid: Grid = (8, 1, 1, 5, 5)
        given = sinusoids(3, 4, grid, True)
        check_schema(OPS.coord_linear.default, (*given, list(grid), "lrelu", 1.0, None))


@pytest.mark.parametrize(
    ("term", "expected"),
    [(2**-8, 1.0), (3 * 2**-8, 1 + 2**-6), (1.01 * 2**-8, 1 + 2**-7), (math.inf, math.inf), (math.nan, math.nan)],
)
@pytest.mark.parametrize("outputs", [3, 40])
def test_results_are_rounded_to_nearest_even_and_nan_stays(outputs: int, term: float, expected: float) -> None:
    x, weight = torch.ones(1, 33, 2).bfloat16(), torch.tensor([1.0, term]).bfloat16().expand(1, outputs, 2)
    found = run("linear_act", x, weight, None, "linear", 1.0, None)
    torch.testing.assert_close(found, torch.full_like(found, expected), rtol=0, atol=0, equal_nan=True)


def test_what_native_cannot_run_says_why() -> None:
    low = sinusoids(3, 4, (8, 0, 0, 8, 8), True)
    with pytest.raises(dispatch.BackendUnavailable, match=r"base is torch.bfloat16, weight is torch.float32"):
        run("coord_linear", *low[:3], low[3].float(), low[4], [8, 0, 0, 8, 8], "lrelu", 1.0, None)
    x, weight, _ = inputs(1, 4, 3, 2)
    with pytest.raises(dispatch.BackendUnavailable, match=r"x is torch.float16; it takes float32 and bfloat16"):
        run("linear_act", x.half(), weight, None, "lrelu", 1.0, None)
    lists = [[torch.randn(1, 3, 2).bfloat16()], *([None] for _ in range(5))]
    with pytest.raises(dispatch.BackendUnavailable, match=r"weights\[0\] is torch.bfloat16; it takes float32"):
        run("coord_mlp", torch.randn(1, 3, 2), *lists, ["linear"], [1.0], [False], False, "float32")
    lists[0] = [torch.randn(1, 3, 2)]
    with pytest.raises(dispatch.BackendUnavailable, match="it has no products in int8"):
        run("coord_mlp", torch.randn(1, 3, 2), *lists, ["linear"], [1.0], [False], False, "int8")
