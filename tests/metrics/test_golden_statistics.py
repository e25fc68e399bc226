"""The statistics against a golden file, written by mpmath in 50 digits and, for many features, by SciPy."""

from __future__ import annotations

import json
from typing import Any

import independent_statistics as independent
import numpy
import pytest
import torch

from digan_fast.metrics.frechet import frechet
from digan_fast.metrics.inception_score import inception_score
from digan_fast.metrics.kernel import PolynomialKernel, kernel_distance
from digan_fast.metrics.moments import Moments
from digan_fast.metrics.psnr import psnr
from digan_fast.metrics.ssim import ssim

GOLDEN: dict[str, Any] = json.loads(independent.GOLDEN.read_text())


def tensors(counts: tuple[int, int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    first, second = independent.sets(*counts)
    return torch.from_numpy(first), torch.from_numpy(second)


@pytest.mark.parametrize("case", independent.CASES)
def test_moments(case: str) -> None:
    """Sums are exact, so that only the last step rounds."""
    expected, found = GOLDEN[case], Moments.of([tensors(independent.CASES[case])[0]])
    numpy.testing.assert_allclose(found.mean, expected["mean"], rtol=3e-16)
    numpy.testing.assert_allclose(found.covariance(), expected["covariance"], rtol=1e-15)


@pytest.mark.parametrize("case", independent.CASES)
@pytest.mark.parametrize("covariance", ["n-1", "n"])
def test_the_frechet_distance(case: str, covariance: str) -> None:
    first, second = (Moments.of([rows]) for rows in tensors(independent.CASES[case]))
    found = frechet(first, second, unbiased=covariance == "n-1")
    assert found == pytest.approx(GOLDEN[case][f"frechet, {covariance}"], rel=1e-13)


def test_the_frechet_distance_of_many_features() -> None:
    found = frechet(*(Moments.of([rows]) for rows in tensors(independent.LARGE)))
    assert found == pytest.approx(GOLDEN["scipy"]["frechet, n-1"], rel=1e-8)


@pytest.mark.parametrize("case", independent.CASES)
@pytest.mark.parametrize(("degree", "coef0", "bias"), [(3, 1, "unbiased"), (3, 1, "biased"), (2, 0, "biased")])
def test_the_kernel_distance(case: str, degree: int, coef0: int, bias: str) -> None:
    kernel = PolynomialKernel(degree=degree, coef0=coef0, unbiased=bias == "unbiased")
    found = kernel_distance(*tensors(independent.CASES[case]), kernel)
    # The difference of means of (x·y/D + c)^p, of about 3000^p each: ten roundings of these, four means.
    bound = 4 * 10 * 1.2e-16 * 3000**degree
    assert found == pytest.approx(GOLDEN[case][f"kernel, degree {degree}, coef0 {coef0}, {bias}"], rel=0, abs=bound)


@pytest.mark.parametrize("splits", independent.SPLITS)
def test_the_inception_score(splits: int) -> None:
    logits = tensors(independent.CASES["full rank"])[0] / 20
    expected = GOLDEN["inception score"][str(splits)]
    assert inception_score(logits, splits) == pytest.approx(expected, rel=1e-13, abs=1e-15)


def test_pictures() -> None:
    pictures = [torch.from_numpy(picture) for picture in independent.pictures()]
    assert psnr(*pictures) == pytest.approx(GOLDEN["pictures"]["psnr"], rel=1e-13)
    assert ssim(*pictures) == pytest.approx(GOLDEN["pictures"]["ssim"], rel=1e-11)


def test_the_golden_file_is_what_the_independent_writing_gives() -> None:
    first, second = (independent.exact(rows) for rows in independent.sets(*independent.CASES["few rows"]))
    expected = GOLDEN["few rows"]
    assert float(independent.frechet(first, second, 1)) == expected["frechet, n-1"]
    assert float(independent.kernel(first, second, 3, 1, True)) == expected["kernel, degree 3, coef0 1, unbiased"]
