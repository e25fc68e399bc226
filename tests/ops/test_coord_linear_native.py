"""The native kernels of ``coord_linear`` against the reference in float64, and what must not change their bits."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from checks import check_stride_zero_gradient, examples, layouts, reduced, thread_counts
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from digan_fast import backends, functional, use_backend
from digan_fast.reference import coord_linear as reference

pytestmark = pytest.mark.skipif(backends()["native"] is not None, reason="the compiled module was not built")

FORWARD = torch.ops.digan_fast.coord_linear.default
BACKWARD = torch.ops.digan_fast.coord_linear_backward.default
ACTIVATIONS = ["linear", "relu", "lrelu"]
GAIN = 1.3
UNIT = 2**-24
# Of a pixel's sine or cosine, from those of its column and its row, 3e-7 off each
# (csrc/cpu/fourier/axis_features-inl.h).
WAVE = 7e-7

Grid = tuple[int, int, int, int, int]
# Blocks of the kernels are 24 parents, 96 pixels: sides beyond 24 columns, single rows and columns, odd borders.
GRIDS: list[Grid] = [
    (1, 0, 0, 1, 1),
    (8, 0, 0, 8, 8),
    (8, 1, -1, 3, 4),
    (7, -3, 2, 5, 1),
    (6, 3, 3, 9, 2),
    (64, 5, -7, 2, 101),
    (64, -1, 1, 101, 1),
    (33, 4, 4, 17, 23),
]


def inputs(
    videos: int, frames: int, sinusoids: int, outputs: int, grid: Grid, base: bool = True, bias: bool = True
) -> list[Tensor | None]:
    _, top, left, height, width = grid
    parents = [(start + extent - 1) // 2 - start // 2 + 1 for start, extent in ((top, height), (left, width))]
    return [
        torch.randn(videos, frames, *parents, outputs) if base else None,
        torch.randn(videos, sinusoids, 2) * 10,
        torch.randn(videos, frames, sinusoids) * 3,
        torch.randn(videos, outputs, 2 * sinusoids) / math.sqrt(2 * sinusoids),
        torch.randn(outputs) if bias else None,
    ]


def wide(tensors: list[Any]) -> list[Any]:
    return [None if t is None else t.double() for t in tensors]


def check_forward(tensors: list[Any], grid: Grid, activation: str, clamp: float | None) -> Tensor:
    """Each number within the rounding of its sum, and its waves' errors."""
    with use_backend("native"):
        out = FORWARD(*tensors, grid, activation, GAIN, clamp)
    base, _, phase, weight, bias = wide(tensors)
    exact = reference.coord_linear(*wide(tensors), grid, activation, GAIN, clamp)
    columns = weight.abs().sum(-1)[:, None, None, None]
    others = columns + (0 if bias is None else bias.abs())
    if base is not None:
        others = others + reference.upsample(base.abs(), grid)
    bound = GAIN * (UNIT * (2 * phase.shape[-1] + 5) * others + WAVE * columns)
    assert out.shape == exact.shape
    assert (out.double() - exact).abs().le(bound).all()
    return out


def check(tensors: list[Any], grid: Grid, activation: str, clamp: float | None) -> None:
    """The same for gradients, which take the slope and the clamp from the same ``out``; |sin| and |cos| count as 1."""
    out = check_forward(tensors, grid, activation, clamp)
    grad = torch.randn_like(out)
    with use_backend("native"):
        found = BACKWARD(grad, *tensors, out, grid, activation, GAIN, clamp)
    base, frequency, phase, weight, _ = wide(tensors)
    exact = reference.coord_linear_backward(grad.double(), *wide(tensors), out.double(), grid, activation, GAIN, clamp)
    dz = reference.pre_activation_gradient(grad.double(), None, out.double(), activation, GAIN, clamp).abs()
    outputs, terms = weight.shape[1], dz.shape[1:4].numel()
    both = weight.abs().unflatten(-1, (2, -1)).sum(2)
    dtheta = torch.einsum("bthwo,bok->bthwk", dz, both)
    # x = q + c about the grid's centre, −1/side (csrc/cpu/fourier/grid_centre.h): both shares are rounded.
    centre = 1 / grid[0]
    x, y = ((axis + centre).abs() + centre for axis in reference.coordinates(grid, frequency.double()))
    by = torch.stack((torch.einsum("bthwk,w->bk", dtheta, x), torch.einsum("bthwk,h->bk", dtheta, y)), -1)
    through = UNIT * (outputs + terms + 9) + 2 * WAVE
    bounds = (
        0 if base is None else 8 * UNIT * reference.upsample_backward(dz, grid, base.shape),
        through * by,
        through * dtheta.sum((2, 3)),
        (UNIT * (terms + 6) + WAVE) * dz.sum((1, 2, 3))[:, :, None],
        UNIT * (terms * len(phase) + 6) * dz.sum((0, 1, 2, 3)),
    )
    for value, want, bound in zip(found, exact, bounds, strict=True):
        assert value.shape == want.shape
        assert (value.double() - want).abs().le(bound).all()


@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("extents", [(1, 1, 1, 1), (2, 3, 5, 7), (1, 2, 33, 65)])
@pytest.mark.parametrize("base", [False, True])
@pytest.mark.parametrize(("activation", "clamp"), [("lrelu", None), ("relu", 0.8), ("linear", 1.5)])
def test_native_is_the_reference(
    grid: Grid, extents: tuple[int, int, int, int], base: bool, activation: str, clamp: float | None
) -> None:
    check(inputs(*extents, grid, base), grid, activation, clamp)


@settings(deadline=None, max_examples=examples(80))
@given(
    extents=st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 20), st.integers(1, 40)),
    grid=st.tuples(
        st.integers(1, 40), st.integers(-30, 50), st.integers(-30, 50), st.integers(1, 20), st.integers(1, 20)
    ),
    base=st.booleans(),
    bias=st.booleans(),
    activation=st.sampled_from(ACTIVATIONS),
    clamp=st.sampled_from([None, 0.8]),
    threads=st.integers(1, 3),
)
def test_any_shape(
    extents: tuple[int, int, int, int],
    grid: Grid,
    base: bool,
    bias: bool,
    activation: str,
    clamp: float | None,
    threads: int,
) -> None:
    for _ in thread_counts(threads):
        check(inputs(*extents, grid, base, bias), grid, activation, clamp)


@pytest.mark.usefixtures("poisoned")
def test_the_published_width() -> None:
    """128 sinusoids, 512 channels; relative in norm roundings that add up at random come to 2⁻²⁴·√256 = 1e-6."""
    grid = (64, 20, 0, 10, reduced(64, 20))
    tensors = inputs(1, 2, 128, 512, grid)
    check(tensors, grid, "lrelu", None)
    with use_backend("native"):
        found = FORWARD(*tensors, grid, "lrelu", 1.4, None).double()
    exact = FORWARD(*wide(tensors), grid, "lrelu", 1.4, None)
    assert (found - exact).norm() / exact.norm() < 1e-6


def both(tensors: list[Any], grad: Tensor, grid: Grid) -> list[Tensor]:
    with use_backend("native"):
        out = FORWARD(*tensors, grid, "lrelu", GAIN, None)
        return [out, *BACKWARD(grad, *tensors, out, grid, "lrelu", GAIN, None)]


def same(found: list[Tensor], expected: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("base", [False, True])
@pytest.mark.parametrize("grid", GRIDS)
def test_the_number_of_threads_changes_no_bit(grid: Grid, base: bool) -> None:
    tensors, grad = inputs(2, 3, 7, 37, grid, base), torch.randn(2, 3, *grid[3:], 37)
    found = [both(tensors, grad, grid) for _ in thread_counts(1, 2, 3, 5, 16)]
    assert all(same(a, b) for a, b in pairwise(found))


def test_videos_frames_and_rectangles_are_each_their_own() -> None:
    grid = (32, -4, -6, 40, 44)
    tensors = inputs(2, 3, 6, 19, grid)
    with use_backend("native"):
        whole = FORWARD(*tensors, grid, "lrelu", GAIN, None)
        for video in range(2):
            one = [None if t is None else t if t.ndim == 1 else t[video : video + 1] for t in tensors]
            assert torch.equal(FORWARD(*one, grid, "lrelu", GAIN, None), whole[video : video + 1])
        base, frequency, phase, weight, bias = tensors
        assert base is not None
        assert phase is not None
        last = FORWARD(base[:, 2:], frequency, phase[:, 2:], weight, bias, grid, "lrelu", GAIN, None)
        assert torch.equal(last, whole[:, 2:])
        for top, left, height, width in ((0, 0, 1, 1), (-3, 5, 7, 2), (11, -5, 25, 43), (-4, 37, 40, 1)):
            rows = slice(top // 2 + 2, (top + height - 1) // 2 + 3)
            columns = slice(left // 2 + 3, (left + width - 1) // 2 + 4)
            part = base[:, :, rows, columns], frequency, phase, weight, bias, (32, top, left, height, width)
            expected = whole[:, :, top + 4 : top + 4 + height, left + 6 : left + 6 + width]
            assert torch.equal(FORWARD(*part, "lrelu", GAIN, None), expected)


def test_views_give_the_same_bits() -> None:
    grid = (12, 1, 2, 9, 5)
    tensors, grad = inputs(2, 3, 4, 5, grid), torch.randn(2, 3, 9, 5, 5)
    expected = both(tensors, grad, grid)
    for index, tensor in enumerate(tensors):
        assert tensor is not None
        for changed in layouts(tensor):
            assert same(both([*tensors[:index], changed, *tensors[index + 1 :]], grad, grid), expected)
    for changed in layouts(grad):
        assert same(both(tensors, changed, grid), expected)
    one = grad[:1, :1, :1, :1, :1].expand(grad.shape)
    assert same(both(tensors, one, grid), both(tensors, one.contiguous(), grid))


def test_nan_reaches_what_depends_on_it_alone() -> None:
    grid = (12, 1, 2, 9, 5)
    for index, where, reached in (
        (0, (0, 1, 2, 1, 3), lambda out: out[0, 1, 3:5, 2:4, 3]),  # rows and columns 4 and 5 of the grid
        (1, (1, 2, 0), lambda out: out[1]),
        (2, (1, 2, 3), lambda out: out[1, 2]),
        (3, (0, 4, 1), lambda out: out[0, ..., 4]),
        (4, (2,), lambda out: out[..., 2]),
    ):
        torch.manual_seed(1)
        tensors = inputs(2, 3, 4, 5, grid)
        with use_backend("native"):
            clean = FORWARD(*tensors, grid, "lrelu", GAIN, 0.8)
            tensors[index][where] = float("nan")  # type: ignore[index]
            found = FORWARD(*tensors, grid, "lrelu", GAIN, 0.8)
        expected = torch.zeros_like(found, dtype=torch.bool)
        reached(expected).fill_(True)
        assert torch.equal(found.isnan(), expected)
        assert torch.equal(found[~expected], clean[~expected])


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("base", [False, True])
def test_second_derivatives(activation: str, base: bool) -> None:
    """A penalty on the gradient, as of the path length, in float32 against float64; 9e-7 was seen, relative in norm.

    The second derivative is the reference's, where phases of up to 30 are rounded to float32 by 2e-6.
    """
    grid = (16, 3, 0, 9, 16)
    tensors = [t for t in inputs(2, 2, 7, 9, grid, base) if t is not None]
    probe = torch.randn(2, 2, 9, 16, 9)

    def penalty_gradients(dtype: torch.dtype) -> tuple[Tensor, ...]:
        own = [t.to(dtype).requires_grad_() for t in tensors]
        given = own if base else [None, *own]
        out = functional.coord_linear(*given, grid, activation).sin()
        gradients = torch.autograd.grad(out, own[:-1], probe.to(dtype), create_graph=True)
        return torch.autograd.grad(sum(g.square().mean() for g in gradients), own)

    with use_backend("native"):
        found = penalty_gradients(torch.float32)
    for value, exact in zip(found, penalty_gradients(torch.float64), strict=True):
        assert (value.double() - exact).norm() / exact.norm() < 5e-6


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_stride_zero_gradients(activation: str) -> None:
    grid = (12, 1, 2, 9, 5)
    tensors = [t.requires_grad_() for t in inputs(2, 3, 4, 5, grid) if t is not None]
    with use_backend("native"):
        check_stride_zero_gradient(lambda *args: functional.coord_linear(*args, grid, activation, clamp=1.1), tensors)


@pytest.mark.parametrize("extents", [(0, 2, 3, 4), (2, 0, 3, 4), (2, 2, 3, 0)])
@pytest.mark.parametrize("base", [False, True])
def test_empty(extents: tuple[int, int, int, int], base: bool) -> None:
    grid = (8, 1, 2, 3, 5)
    tensors = inputs(*extents, grid, base)
    alive = [t.requires_grad_() for t in tensors if t is not None]
    with use_backend("native"):
        out = functional.coord_linear(*tensors, grid, "lrelu")
        out.sum().backward()
    assert out.shape == (*extents[:2], 3, 5, extents[3])
    assert all(t.grad is None or t.grad.isfinite().all() for t in alive)
