"""The inception score at its extremes, by hand, and in splits."""

from __future__ import annotations

import math

import pytest
import torch

from digan_fast.metrics.inception_score import inception_score


def test_the_extremes() -> None:
    sure = 1000.0 * torch.eye(5).repeat(4, 1)
    assert inception_score(sure, 1) == pytest.approx((5, 0), abs=1e-12)
    assert inception_score(torch.zeros(20, 5), 1) == pytest.approx((1, 0), abs=1e-12)
    assert inception_score(sure[:1].repeat(20, 1), 4) == pytest.approx((1, 0), abs=1e-12)


def test_by_hand() -> None:
    p = torch.tensor([[0.5, 0.5], [0.9, 0.1]], dtype=torch.float64)
    q = (0.7, 0.3)
    divergence = [sum(float(x) * math.log(float(x) / y) for x, y in zip(row, q, strict=True)) for row in p]
    found = inception_score(p.log() + 17, 1)
    assert found == pytest.approx((math.exp(sum(divergence) / 2), 0), rel=1e-12)


def test_splits_are_consecutive_and_their_deviation_is_of_the_population() -> None:
    logits = torch.randn(23, 6)
    parts = [inception_score(part, 1)[0] for part in (logits[:8], logits[8:16], logits[16:])]
    mean = sum(parts) / 3
    deviation = math.sqrt(sum((part - mean) ** 2 for part in parts) / 3)
    assert inception_score(logits, 3) == pytest.approx((mean, deviation), rel=1e-12)


def test_bad_logits() -> None:
    with pytest.raises(ValueError, match=r"logits: shape \(3, 5\), expected \[N, C\] with at least 10 rows"):
        inception_score(torch.zeros(3, 5))
    bad = torch.zeros(12, 5)
    bad[7, 2] = math.inf
    with pytest.raises(ValueError, match="row 7 is not finite"):
        inception_score(bad)
