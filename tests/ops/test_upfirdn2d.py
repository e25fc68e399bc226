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
    reduced,
    sliced,
    thread_counts,
)
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from digan_fast import backends, dispatch, functional, use_backend

CASES = [
    (1, 1, (0, 0, 0, 0)),
    (2, 1, (2, 1, 2, 1)),
    (1, 2, (1, 1, 1, 1)),
    (2, 3, (3, -1, 0, 2)),
    (3, 2, (-1, 4, 5, -2)),
]

needs_native = pytest.mark.skipif(backends()["native"] is not None, reason="the compiled module was not built")
EPS = torch.finfo(torch.float32).eps


def formula(x: Tensor, filter: Tensor, up: int, down: int, padding: tuple[int, ...], flip: bool) -> Tensor:
    """Sums over the filter's taps of a zero-inserted, padded or cropped picture."""
    batch, channels, height, width = x.shape
    wide = x.new_zeros(batch, channels, height * up, width * up)
    wide[:, :, ::up, ::up] = x
    left, right, top, bottom = padding
    big = 10
    canvas = x.new_zeros(batch, channels, height * up + 2 * big, width * up + 2 * big)
    canvas[:, :, big : big + height * up, big : big + width * up] = wide
    canvas = canvas[:, :, big - top : big + height * up + bottom, big - left : big + width * up + right]
    taps = filter if flip else filter.flip((0, 1))
    rows, columns = canvas.shape[2] - taps.shape[0] + 1, canvas.shape[3] - taps.shape[1] + 1
    out = sum(
        taps[j, i] * canvas[:, :, j : j + rows, i : i + columns]
        for j in range(taps.shape[0])
        for i in range(taps.shape[1])
    )
    assert isinstance(out, Tensor)
    return out[:, :, ::down, ::down]


def filter_of(rows: int = 4, columns: int = 4) -> Tensor:
    return torch.arange(1.0, rows * columns + 1, dtype=torch.float64).view(rows, columns) / 50


@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize(("up", "down", "padding"), CASES)
@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("size", [(4, 3), (1, 2)])
def test_matches_its_formula(up: int, down: int, padding: tuple[int, ...], flip: bool, size: tuple[int, int]) -> None:
    x, filter = torch.randn(2, 3, 7, 5, dtype=torch.float64), filter_of(*size)
    found = functional.upfirdn2d(x, filter, up, down, padding, flip, gain=1.5)
    torch.testing.assert_close(found, formula(x, filter, up, down, padding, flip) * 1.5)


@pytest.mark.parametrize(("up", "down", "padding"), CASES)
def test_derivatives(up: int, down: int, padding: tuple[int, ...]) -> None:
    check_derivatives(
        lambda x: functional.upfirdn2d(x, filter_of(), up, down, padding, gain=2.0), (normal(1, 2, 5, 6),)
    )


def test_schema_and_compilation() -> None:
    x, filter = normal(2, 3, 6, 6, dtype=torch.float32), filter_of().float()
    check_schema(torch.ops.digan_fast.upfirdn2d.default, (x, filter, 2, 1, [2, 1, 2, 1], False, 4.0))
    check_compiled(lambda t: functional.upfirdn2d(t, filter, down=2, padding=(1, 1, 1, 1)), (x,))


def test_views_and_stride_zero_gradients() -> None:
    def function(x: Tensor) -> Tensor:
        return functional.upfirdn2d(x, filter_of(), 2, 1, (2, 1, 2, 1))

    check_views(function, (normal(2, 3, 5, 4),))
    check_stride_zero_gradient(function, (normal(2, 3, 5, 4),))


def test_channels_last_and_empty_batch() -> None:
    x = torch.randn(2, 3, 6, 6, dtype=torch.float64)
    expected = functional.upfirdn2d(x, filter_of(), down=2, padding=(1, 1, 1, 1))
    last = x.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(functional.upfirdn2d(last, filter_of(), down=2, padding=(1, 1, 1, 1)), expected)
    assert functional.upfirdn2d(x[:0], filter_of(), down=2, padding=(1, 1, 1, 1)).shape == (0, 3, 3, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"up": 0}, "up, down: 0, 1"),
        ({"padding": (1, 1)}, r"padding: \(1, 1\)"),
        ({"padding": (-4, 0, 0, 0)}, "smaller than the filter"),
    ],
)
def test_errors_name_the_argument(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        functional.upfirdn2d(torch.zeros(1, 1, 5, 5), filter_of().float(), **arguments)  # type: ignore[arg-type]


def binomial() -> Tensor:
    """The discriminator's filter, the outer product of [1, 3, 3, 1]/8 with itself."""
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
    return torch.outer(taps, taps)


def close(found: Tensor, x: Tensor, filter: Tensor, *options: object, units: float = 6) -> bool:
    """Within ``units`` of float32's spacing at the sum of the terms' magnitudes, plus half a unit if it is bfloat16.

    A term is rounded at most four times in two factors of the filter, two products and the sums after it.
    """
    expected = functional.upfirdn2d(x.double(), filter.double(), *options)  # type: ignore[arg-type]
    bound = units * EPS * functional.upfirdn2d(x.double().abs(), filter.double().abs(), *options)  # type: ignore[arg-type]
    if found.dtype == torch.bfloat16:
        bound = bound + expected.abs() * 2**-8
    return found.shape == expected.shape and bool(((found.double() - expected).abs() <= bound).all())


@needs_native
@pytest.mark.usefixtures("poisoned")
@settings(deadline=None, max_examples=examples(250))
@given(
    shape=st.tuples(st.integers(0, 3), st.sampled_from([1, 2, 3, 16, 17, 32]), st.integers(1, 13), st.integers(1, 13)),
    taps=st.sampled_from([(4, 4), (4, 4), (1, 1), (2, 3), (3, 2), (5, 1), (1, 6), (6, 5)]),
    separable=st.booleans(),
    up=st.integers(1, 3),
    down=st.integers(1, 3),
    padding=st.tuples(*[st.integers(-3, 6)] * 4),
    flip=st.booleans(),
    layout=st.sampled_from(["contiguous", "channels_last", "transposed", "sliced"]),
    dtype=st.sampled_from([torch.float32, torch.float32, torch.bfloat16]),
    seed=st.integers(0, 2**31),
)
def test_native_matches_the_reference(
    shape: tuple[int, ...],
    taps: tuple[int, int],
    separable: bool,
    up: int,
    down: int,
    padding: tuple[int, ...],
    flip: bool,
    layout: str,
    dtype: torch.dtype,
    seed: int,
) -> None:
    """2.4 units in the last place of the sum of magnitudes observed."""
    for size, before, after, extent in ((shape[3], *padding[:2], taps[1]), (shape[2], *padding[2:], taps[0])):
        assume(size * up + before + after >= extent)
        assume(size * up + min(before, 0) + min(after, 0) > 0)  # torch cannot crop more than the picture
    torch.manual_seed(seed)
    x = torch.randn(shape).to(dtype)
    filter = torch.outer(torch.randn(taps[0]), torch.randn(taps[1])) if separable else torch.randn(taps)
    arranged = {
        "contiguous": x,
        "channels_last": x.contiguous(memory_format=torch.channels_last),
        "transposed": x.transpose(2, 3).contiguous().transpose(2, 3),
        "sliced": sliced(x),
    }[layout]
    with use_backend("native"):
        found = functional.upfirdn2d(arranged, filter, up, down, padding, flip, 1.5)
    assert found.dtype == dtype
    assert close(found, x, filter, up, down, padding, flip, 1.5)


@needs_native
@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize(("up", "down", "padding"), CASES)
@pytest.mark.parametrize("channels", [3, 48, 1040])
def test_native_forward_and_gradient_in_tiles_and_bands(
    channels: int, up: int, down: int, padding: tuple[int, ...], channels_last: bool
) -> None:
    """Pictures with several tiles of columns; gradients of the output and of its sum; any number of threads."""
    x = torch.randn(2, channels, reduced(21, 9), 47 if channels > 1000 else 90)
    x = x.contiguous(memory_format=torch.channels_last) if channels_last else x
    options = (up, down, padding, False, 4.0)
    wide = x.double().requires_grad_()
    y = functional.upfirdn2d(wide, binomial().double(), *options)
    probe = torch.randn_like(y).float()
    expected = [torch.autograd.grad(y, wide, g, retain_graph=True)[0] for g in (probe.double(), torch.ones_like(y))]
    results = []
    for _ in thread_counts(1, 2, 5):
        leaf = x.clone().requires_grad_()
        with use_backend("native"):
            out = functional.upfirdn2d(leaf, binomial(), *options)
            dense = torch.autograd.grad(out, leaf, probe, retain_graph=True)[0]
            summed = torch.autograd.grad(out.sum(), leaf)[0]
        results.append((out.detach(), dense, summed))
    assert close(results[0][0], x, binomial(), *options)
    for found, other in zip(results[0][1:], expected, strict=True):
        torch.testing.assert_close(found.double(), other, rtol=0, atol=16 * EPS * float(other.abs().max()))
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@needs_native
def test_native_propagates_nan_and_infinity_locally() -> None:
    """A sample affects only the outputs whose taps reach it, in any tile and row."""
    for channels in (1, 16):
        for up, down, padding in [(1, 1, (2, 2, 2, 2)), (1, 2, (1, 1, 1, 1)), (2, 1, (2, 1, 2, 1))]:
            x = torch.zeros(1, channels, 9, 9)
            for place in [(0, 0), (4, 5), (8, 8)]:
                for number in (float("nan"), float("inf")):
                    x.zero_()[(0, channels - 1, *place)] = number
                    marked = functional.upfirdn2d(x.nan_to_num(1, 1).double(), binomial().double(), up, down, padding)
                    for layout in (torch.contiguous_format, torch.channels_last):
                        with use_backend("native"):
                            y = functional.upfirdn2d(x.contiguous(memory_format=layout), binomial(), up, down, padding)
                        assert torch.equal(~y.isfinite(), marked != 0)


@needs_native
def test_native_second_derivatives() -> None:
    x, filter = torch.randn(2, 16, 9, 8), binomial()

    def penalty(x: Tensor, filter: Tensor) -> Tensor:
        y = functional.upfirdn2d(x, filter, 1, 2, (1, 1, 1, 1))
        (gradient,) = torch.autograd.grad(y.pow(3).sum(), x, create_graph=True)
        return torch.autograd.grad(gradient.square().sum(), x)[0]

    with use_backend("native"):
        found = penalty(x.requires_grad_(), filter)
    expected = penalty(x.detach().double().requires_grad_(), filter.double())
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-6)


@needs_native
def test_why_native_does_not_run_a_call() -> None:
    with use_backend("native"), pytest.raises(dispatch.BackendUnavailable, match=r"upfirdn2d.*torch.float16"):
        functional.upfirdn2d(torch.zeros(1, 1, 5, 5).half(), binomial())
