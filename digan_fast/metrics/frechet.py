"""The Fréchet distance between two Gaussians, and between two sets of features."""

from __future__ import annotations

import torch
from torch import Tensor

from digan_fast.metrics.moments import Moments
from digan_fast.threads import using_threads


def frechet(first: Moments, second: Moments, unbiased: bool = True) -> float:
    """The Fréchet distance between Gaussians fitted to two sets of features, their covariances over n − 1 or n.

    Raises ValueError if a set has fewer than two rows, or they differ in features.
    """
    if first.features != second.features:
        raise ValueError(f"second: {second.features} features, expected {first.features}")
    return frechet_gaussians(first.mean, first.covariance(unbiased), second.mean, second.covariance(unbiased))


def frechet_gaussians(mean: Tensor, covariance: Tensor, other_mean: Tensor, other_covariance: Tensor) -> float:
    """‖μ − μ'‖² + tr(Σ + Σ' − 2(Σ^½ Σ' Σ^½)^½) in float64, of means [D] and covariances [D, D].

    Dowson, Landau, "The Fréchet distance between multivariate normal distributions", Journal of Multivariate Analysis
    12, 1982.  The last trace is the sum of the singular values of Σ^½ Σ'^½, with symmetric roots by eigendecomposition,
    which are those of FᵀF' for Σ = FFᵀ: it is real, and accurate for covariances without full rank.

    One thread computes it, so that the bits do not depend on how many there are.  Decompositions of a few thousand
    features gain a factor of two from more at best, and lose one of thirty where other work occupies the cores.
    """
    mean, covariance, other_mean, other_covariance = (
        values.to("cpu", torch.float64) for values in (mean, covariance, other_mean, other_covariance)
    )
    apart = (mean - other_mean).square().sum()
    with using_threads(1):
        common = torch.linalg.svdvals(factor(covariance).T @ factor(other_covariance)).sum()
    distance = float(apart + covariance.trace() + other_covariance.trace() - 2 * common)
    return max(0.0, distance)


def factor(covariance: Tensor) -> Tensor:
    """F [D, r] with Σ = FFᵀ: eigenvectors times roots of the r eigenvalues that rounding can tell from zero.

    Raises ValueError for a matrix that is not positive semidefinite.
    """
    values, vectors = torch.linalg.eigh((covariance + covariance.T) / 2)
    bound = float(values.abs().max()) * len(values) * torch.finfo(torch.float64).eps
    if float(values.min()) < -1e6 * bound:
        raise ValueError(f"covariance: an eigenvalue of {float(values.min()):g}, expected no negative one")
    kept = values > bound
    return vectors[:, kept] * values[kept].sqrt()
