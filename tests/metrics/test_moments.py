"""Streaming mean and covariance: against NumPy, and the same bits for every partition."""

from __future__ import annotations

import numpy
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from digan_fast.metrics.moments import MOST_ROWS, Moments


def rows(count: int = 300, features: int = 7) -> torch.Tensor:
    return torch.randn(count, features) * torch.logspace(-6, 5, features) + torch.linspace(-1000, 1000, features)


@pytest.mark.parametrize("unbiased", [True, False])
def test_mean_and_covariance_are_those_of_numpy(unbiased: bool) -> None:
    x = torch.randn(300, 7, dtype=torch.float64) * torch.logspace(-3, 3, 7, dtype=torch.float64)
    found = Moments.of([x])
    numpy.testing.assert_allclose(found.mean, x.numpy().mean(0), rtol=1e-12, atol=1e-15)
    expected = numpy.cov(x.numpy().T, ddof=int(unbiased))
    scale = numpy.sqrt(numpy.outer(expected.diagonal(), expected.diagonal()))
    assert numpy.abs(found.covariance(unbiased).numpy() - expected).max() < 1e-12 * scale.max()


def test_a_large_mean_costs_nothing() -> None:
    """Integers have an exact covariance, which the mean must not change by a bit."""
    x = torch.randint(-5, 6, (200, 4)).double()
    assert torch.equal(Moments.of([x]).covariance(), Moments.of([x + 2.0**40]).covariance())


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 299), max_size=6), st.randoms())
def test_any_partition_in_any_order_gives_the_same_bits(cuts, random) -> None:
    torch.manual_seed(1)
    x = rows()
    whole = Moments.of([x])
    parts = list(torch.tensor_split(x[torch.randperm(300)], sorted(cuts)))
    random.shuffle(parts)
    merged = Moments(7)
    for part in parts:
        one = Moments(7)
        one.update(part)
        merged.merge(one)
    assert merged.count == 300
    assert torch.equal(merged.mean, whole.mean)
    assert torch.equal(merged.covariance(), whole.covariance())


def test_float64_values_at_rounding_boundaries_end() -> None:
    """Values halfway between two integers of a slice leave a remainder of the next slice, not of the same one."""
    x = torch.tensor([[2.0**place + 2.0 ** (place - 15), 2.0**-place] for place in range(-60, 60)], dtype=torch.float64)
    assert Moments.of([x]).covariance().isfinite().all()


def test_bad_rows_are_named() -> None:
    found = Moments(3)
    with pytest.raises(ValueError, match=r"rows: shape \(2, 4\), expected \[N, 3\]"):
        found.update(torch.zeros(2, 4))
    found.update(torch.zeros(2, 3))
    bad = torch.zeros(5, 3)
    bad[3, 1] = torch.nan
    with pytest.raises(ValueError, match="row 5 is not finite"):
        found.update(bad)
    with pytest.raises(ValueError, match="other: 2 features, expected 3"):
        found.merge(Moments(2))
    found.count = MOST_ROWS
    with pytest.raises(ValueError, match="expected at most 4194304"):
        found.update(torch.zeros(1, 3))


def test_one_row_has_no_covariance() -> None:
    found = Moments.of([torch.ones(1, 3)])
    assert torch.equal(found.mean, torch.ones(3).double())
    with pytest.raises(ValueError, match="a covariance of 1 row, expected 2 or more"):
        found.covariance()
    with pytest.raises(ValueError, match="a mean of no rows"):
        _ = Moments(3).mean
    with pytest.raises(ValueError, match="batches: none"):
        Moments.of([])
