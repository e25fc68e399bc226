"""The kernel distance: the sums written out, bias, invariances, blocks."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch

from digan_fast.metrics import kernel
from digan_fast.metrics.kernel import PolynomialKernel, kernel_distance

BIASED = PolynomialKernel(unbiased=False)


def by_hand(x: torch.Tensor, y: torch.Tensor, of: PolynomialKernel) -> float:
    gamma = 1 / x.shape[1] if of.gamma is None else of.gamma

    def k(a: torch.Tensor, b: torch.Tensor) -> float:
        return float((gamma * a.double().dot(b.double()) + of.coef0) ** of.degree)

    def within(z: torch.Tensor) -> float:
        pairs = itertools.permutations(z, 2) if of.unbiased else itertools.product(z, z)
        count = len(z) * (len(z) - 1) if of.unbiased else len(z) ** 2
        return sum(k(a, b) for a, b in pairs) / count

    across = sum(k(a, b) for a, b in itertools.product(x, y)) / (len(x) * len(y))
    return of.scale * (within(x) + within(y) - 2 * across)


@pytest.mark.parametrize(
    "of", [PolynomialKernel(), BIASED, PolynomialKernel(2, 0.5, 0.0, False, 100.0), PolynomialKernel(1, 1.0, 3.0)]
)
def test_it_is_the_sum_over_pairs(of: PolynomialKernel) -> None:
    x, y = torch.randn(7, 5), torch.randn(9, 5) + 0.3
    assert kernel_distance(x, y, of) == pytest.approx(by_hand(x, y, of), rel=1e-12)


def test_blocks_do_not_change_it(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = torch.randn(40, 6), torch.randn(33, 6) + 1
    whole = kernel_distance(x, y)
    monkeypatch.setattr(kernel, "_BLOCK", 7)
    assert kernel_distance(x, y) == pytest.approx(whole, rel=1e-12)


def test_identical_sets_and_invariances() -> None:
    x, y = torch.randn(30, 4), torch.randn(20, 4) + 0.5
    assert kernel_distance(x, x, BIASED) == pytest.approx(0, abs=1e-13)
    # Without the diagonal, a set is closer to itself than two samples of its distribution are.
    assert kernel_distance(x, x) < 0
    assert kernel_distance(y, x) == pytest.approx(kernel_distance(x, y), rel=1e-12)
    turned = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64)).Q
    assert kernel_distance(x.double() @ turned, y.double() @ turned) == pytest.approx(kernel_distance(x, y), rel=1e-10)
    assert kernel_distance(x, y, replace(BIASED, scale=100.0)) == pytest.approx(100 * kernel_distance(x, y, BIASED))


def test_one_estimate_is_biased_and_the_other_is_not() -> None:
    draws = [(torch.randn(12, 3), torch.randn(12, 3)) for _ in range(400)]
    unbiased = torch.tensor([kernel_distance(x, y) for x, y in draws])
    biased = torch.tensor([kernel_distance(x, y, BIASED) for x, y in draws])
    error = float(unbiased.std() / 20)
    assert abs(float(unbiased.mean())) < 4 * error
    assert float(biased.mean()) > 10 * error
    assert float(biased.min()) >= 0


def test_bad_sets() -> None:
    with pytest.raises(ValueError, match=r"first: shape \(1, 3\), expected \[N, D\] with two rows or more"):
        kernel_distance(torch.ones(1, 3), torch.ones(4, 3))
    with pytest.raises(ValueError, match="second: 2 features, expected 3"):
        kernel_distance(torch.ones(4, 3), torch.ones(4, 2))
