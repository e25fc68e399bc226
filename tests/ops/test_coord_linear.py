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
    normal,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from digan_fast import functional

GRIDS = [(8, 0, 0, 8, 8), (8, 1, -1, 3, 4), (7, -3, 2, 5, 1), (1, 0, 0, 1, 1), (6, 3, 3, 9, 2)]


def base_shape(batch: int, frames: int, grid: tuple[int, ...], outputs: int) -> tuple[int, ...]:
    _, top, left, height, width = grid
    rows = (top + height - 1) // 2 - top // 2 + 1
    columns = (left + width - 1) // 2 - left // 2 + 1
    return (batch, frames, rows, columns, outputs)


def formula(
    base: Tensor | None, frequency: Tensor, phase: Tensor, weight: Tensor, bias: Tensor, grid: tuple[int, ...]
) -> Tensor:
    """Pixel by pixel: θ from the coordinates, sines and cosines, the product, the ancestor's base."""
    side, top, left, height, width = grid
    rows = []
    for j in range(top, top + height):
        row = []
        for i in range(left, left + width):
            xy = torch.tensor([2 * i / side - 1, 2 * (side - 1 - j) / side - 1], dtype=torch.float64)
            theta = (frequency @ xy).unsqueeze(1) + phase
            z = torch.einsum("bok,btk->bto", weight, torch.cat((theta.sin(), theta.cos()), -1)) + bias
            if base is not None:
                z = z + base[:, :, j // 2 - top // 2, i // 2 - left // 2]
            row.append(z)
        rows.append(torch.stack(row, 2))
    z = torch.stack(rows, 2)
    return torch.where(z > 0, z, 0.2 * z) * 2**0.5


def inputs(batch: int, frames: int, sinusoids: int, outputs: int, grid: tuple[int, ...]) -> list[Tensor]:
    shapes = (
        base_shape(batch, frames, grid, outputs),
        (batch, sinusoids, 2),
        (batch, frames, sinusoids),
        (batch, outputs, 2 * sinusoids),
        (outputs,),
    )
    return [normal(*shape) for shape in shapes]


@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("extents", [(1, 1, 1, 1), (2, 3, 5, 7)])
def test_is_its_formula(grid: tuple[int, ...], extents: tuple[int, int, int, int]) -> None:
    tensors = inputs(*extents, grid)
    found = functional.coord_linear(*tensors, grid, "lrelu")
    torch.testing.assert_close(found, formula(*tensors, grid))
    without = functional.coord_linear(None, *tensors[1:], grid, "lrelu")
    torch.testing.assert_close(without, formula(None, *tensors[1:], grid))


@settings(deadline=None, max_examples=examples(40))
@given(
    side=st.integers(2, 12),
    top=st.integers(-5, 12),
    left=st.integers(-5, 12),
    height=st.integers(1, 6),
    width=st.integers(1, 6),
)
def test_a_rectangle_is_part_of_a_larger_one(side: int, top: int, left: int, height: int, width: int) -> None:
    torch.manual_seed(0)
    big = (side, -6, -6, 24, 24)
    tensors = inputs(1, 2, 3, 4, big)
    whole = functional.coord_linear(*tensors, big, "lrelu")
    grid = (side, top, left, height, width)
    rows = slice(top // 2 + 3, (top + height - 1) // 2 + 4)
    columns = slice(left // 2 + 3, (left + width - 1) // 2 + 4)
    part = functional.coord_linear(tensors[0][:, :, rows, columns], *tensors[1:], grid, "lrelu")
    expected = whole[:, :, top + 6 : top + 6 + height, left + 6 : left + 6 + width]
    torch.testing.assert_close(part, expected)


@pytest.mark.parametrize("grid", [(8, 0, 0, 4, 4), (8, 1, -1, 3, 4)])
@pytest.mark.parametrize("clamp", [None, 1.2])
def test_derivatives(grid: tuple[int, ...], clamp: float | None) -> None:
    tensors = inputs(2, 2, 2, 3, grid)
    check_derivatives(lambda *args: functional.coord_linear(*args, grid, "lrelu", clamp=clamp), tensors)
    check_derivatives(lambda *args: functional.coord_linear(None, *args, grid, "linear"), tensors[1:])


def test_schema_and_compilation() -> None:
    grid = (6, 1, 0, 3, 5)
    tensors = [t.detach().float().requires_grad_() for t in inputs(2, 3, 4, 5, grid)]
    forward = torch.ops.digan_fast.coord_linear.default
    check_schema(forward, (*tensors, list(grid), "lrelu", 1.4, None))
    check_schema(forward, (None, *tensors[1:], list(grid), "lrelu", 1.4, 0.5))
    out = torch.randn(2, 3, 3, 5, 5)
    backward = torch.ops.digan_fast.coord_linear_backward.default
    check_schema(backward, (out, *tensors, out, list(grid), "lrelu", 1.4, None))
    check_schema(backward, (out, None, *tensors[1:4], None, out, list(grid), "lrelu", 1.4, None))
    check_compiled(lambda *args: functional.coord_linear(*args, grid, "lrelu"), tensors)


def test_views_and_stride_zero_gradients() -> None:
    grid = (8, 1, 2, 5, 3)

    def function(*args: Tensor) -> Tensor:
        return functional.coord_linear(*args, grid, "lrelu")

    tensors = inputs(2, 3, 4, 5, grid)
    check_views(function, tensors)
    check_stride_zero_gradient(function, tensors)


def test_empty_batch() -> None:
    tensors = inputs(0, 2, 3, 4, (8, 0, 0, 8, 8))
    out = functional.coord_linear(*tensors, (8, 0, 0, 8, 8), "lrelu")
    assert out.shape == (0, 2, 8, 8, 4)
    out.sum().backward()


def test_bfloat16_weights_keep_float32_phases() -> None:
    """Within twice the rounding of inputs and output to bfloat16 (2⁻⁸ each)."""
    grid = (16, 0, 0, 16, 16)
    tensors = [t.detach().float() for t in inputs(2, 2, 32, 16, grid)]
    frequency, phase = tensors[1] * 10, tensors[2] * 10
    exact = functional.coord_linear(tensors[0], frequency, phase, *tensors[3:], grid, "lrelu")
    low = [t.bfloat16() for t in (tensors[0], *tensors[3:])]
    found = functional.coord_linear(low[0], frequency, phase, low[1], low[2], grid, "lrelu")
    assert found.dtype == torch.bfloat16
    assert (found.float() - exact).norm() / exact.norm() < 2**-7


@pytest.mark.parametrize(
    ("index", "shape", "message"),
    [
        (0, (2, 3, 3, 4, 5), "base: shape"),
        (1, (2, 4, 3), "frequency: shape"),
        (2, (2, 3, 5), "phase: shape"),
        (3, (2, 5, 9), "weight: shape"),
        (4, (6,), "bias: shape"),
    ],
)
def test_errors_name_the_argument(index: int, shape: tuple[int, ...], message: str) -> None:
    grid = (8, 0, 0, 8, 8)
    tensors = inputs(2, 3, 4, 5, grid)
    tensors[index] = torch.zeros(shape)
    with pytest.raises(ValueError, match=message):
        functional.coord_linear(*tensors, grid)


def test_a_bad_grid_and_activation_are_named() -> None:
    grid = (8, 0, 0, 8, 8)
    tensors = inputs(1, 1, 2, 3, grid)
    with pytest.raises(ValueError, match="grid"):
        functional.coord_linear(*tensors, (0, 0, 0, 8, 8))
    with pytest.raises(ValueError, match="activation: 'sine'"):
        functional.coord_linear(*tensors, grid, "sine")
