"""The Fréchet distance: closed forms, invariances, scipy's root, degenerate covariances, bias."""

from __future__ import annotations

import numpy
import pytest
import scipy.linalg
import torch

from digan_fast.metrics.frechet import frechet, frechet_gaussians
from digan_fast.metrics.moments import Moments
from digan_fast.threads import using_threads


def covariance(features: int, rank: int | None = None) -> torch.Tensor:
    factor = torch.randn(features, features if rank is None else rank, dtype=torch.float64)
    return factor @ factor.T / features


def rotation(features: int) -> torch.Tensor:
    return torch.linalg.qr(torch.randn(features, features, dtype=torch.float64)).Q


def test_gaussians_in_closed_form() -> None:
    zero = torch.zeros(3, dtype=torch.float64)
    variances, others = torch.tensor([1.0, 4.0, 9.0]), torch.tensor([4.0, 4.0, 1.0])
    found = frechet_gaussians(zero, variances.diag(), zero + 2, others.diag())
    # ‖2·1‖² = 12, and Σ(σ − σ')² = 1 + 0 + 4.
    assert found == pytest.approx(17, abs=1e-12)
    # Commuting covariances: the same in any basis.
    turned = rotation(3)
    first, second = (turned @ values.double().diag() @ turned.T for values in (variances, others))
    assert frechet_gaussians(zero, first, zero, second) == pytest.approx(5, abs=1e-12)
    # One dimension: (μ − μ')² + (σ − σ')².
    one = torch.ones(1, dtype=torch.float64)
    assert frechet_gaussians(one, 9 * one[None], 3 * one, 4 * one[None]) == pytest.approx(5, abs=1e-12)


@pytest.mark.parametrize("features", [2, 50, 400])
def test_it_agrees_with_scipy_s_root(features: int) -> None:
    first, second = covariance(features), covariance(features)
    mean, other = torch.randn(2, features, dtype=torch.float64)
    common = scipy.linalg.sqrtm((first @ second).numpy())
    expected = float((mean - other).square().sum() + first.trace() + second.trace()) - 2 * numpy.trace(common).real
    assert frechet_gaussians(mean, first, other, second) == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("rank", [None, 5, 1])
def test_identical_sets_give_zero(rank: int | None) -> None:
    same = covariance(60, rank)
    mean = torch.randn(60, dtype=torch.float64)
    # The roots cancel to the accuracy of an eigenvalue, 60·ε·λmax.
    bound = 60 * 2.3e-16 * 60 * float(torch.linalg.eigvalsh(same).max())
    assert frechet_gaussians(mean, same, mean, same) <= bound


def test_invariances() -> None:
    first, second = covariance(20), covariance(20)
    mean, other = torch.randn(2, 20, dtype=torch.float64)
    found = frechet_gaussians(mean, first, other, second)
    assert frechet_gaussians(other, second, mean, first) == pytest.approx(found, rel=1e-12)
    assert frechet_gaussians(mean + 7, first, other + 7, second) == pytest.approx(found, rel=1e-12)
    turned = rotation(20)
    parts = (turned @ mean, turned @ first @ turned.T, turned @ other, turned @ second @ turned.T)
    assert frechet_gaussians(*parts) == pytest.approx(found, rel=1e-10)
    assert frechet_gaussians(3 * mean, 9 * first, 3 * other, 9 * second) == pytest.approx(9 * found, rel=1e-12)


def test_degenerate_covariances() -> None:
    """Ranges that are orthogonal have nothing in common: the distance is the sum of the traces."""
    basis = rotation(30)
    first, second = basis[:, :4] @ basis[:, :4].T, 4 * basis[:, 4:10] @ basis[:, 4:10].T
    zero = torch.zeros(30, dtype=torch.float64)
    assert frechet_gaussians(zero, first, zero, second) == pytest.approx(4 + 24, rel=1e-12)
    nothing = torch.zeros(30, 30, dtype=torch.float64)
    assert frechet_gaussians(zero, nothing, zero + 1, second) == pytest.approx(30 + 24, rel=1e-12)
    assert frechet_gaussians(zero, nothing, zero, nothing) == 0
    with pytest.raises(ValueError, match="covariance: an eigenvalue of -1, expected no negative one"):
        frechet_gaussians(zero, -first, zero, second)


def test_of_sets_it_is_biased_in_their_number() -> None:
    """Two sets of one distribution are further apart the fewer they are, and n gives less than n − 1."""
    found = []
    for count in (50, 200, 800):
        first, second = (Moments.of([torch.randn(count, 10)]) for _ in range(2))
        found.append(frechet(first, second))
        assert frechet(first, second, unbiased=False) < found[-1]
    assert found[0] > 2 * found[1] > 4 * found[2] > 0


def test_bad_sets() -> None:
    with pytest.raises(ValueError, match="a covariance of 1 row"):
        frechet(Moments.of([torch.ones(1, 2)]), Moments.of([torch.ones(9, 2)]))
    with pytest.raises(ValueError, match="second: 3 features, expected 2"):
        frechet(Moments.of([torch.ones(9, 2)]), Moments.of([torch.ones(9, 3)]))


def test_the_number_of_threads_changes_no_bit_and_is_kept() -> None:
    first, second, mean = covariance(300), covariance(300), torch.zeros(300, dtype=torch.float64)
    found = set()
    for threads in (1, 2, 3):
        with using_threads(threads):
            found.add(frechet_gaussians(mean, first, mean, second))
            assert torch.get_num_threads() == threads
    assert len(found) == 1
