"""The kernel distance between two sets of features: the squared maximum mean discrepancy, MMD²."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

# Rows and columns of the kernel matrix that are held at once: 8 MiB.
_BLOCK: Final = 1024


@dataclass(frozen=True)
class PolynomialKernel:
    """k(x, y) = (γ·x·y + c)^p, γ one over the number of features if None; ``scale`` multiplies the result."""

    degree: int = 3
    gamma: float | None = None
    coef0: float = 1.0
    unbiased: bool = True
    scale: float = 1.0


def kernel_distance(first: Tensor, second: Tensor, kernel: PolynomialKernel = PolynomialKernel()) -> float:
    """MMD² of features [M, D] and [N, D] in float64; the unbiased estimate may be negative.

    Gretton, Borgwardt, Rasch, Schölkopf, Smola, "A kernel two-sample test", Journal of Machine Learning Research 13,
    2012: equation 3 if ``kernel.unbiased``, which leaves out pairs of a row with itself, else equation 5.  The kernel
    matrix is summed block by block, so that memory does not grow with M and N.

    Raises ValueError if a set has fewer than two rows, or they differ in features.
    """
    for name, rows in (("first", first), ("second", second)):
        if rows.ndim != 2 or len(rows) < 2:
            raise ValueError(f"{name}: shape {tuple(rows.shape)}, expected [N, D] with two rows or more")
    if first.shape[1] != second.shape[1]:
        raise ValueError(f"second: {second.shape[1]} features, expected {first.shape[1]}")
    within = sum(_mean_within(rows, kernel) for rows in (first, second))
    across = math.fsum(_sums(first, second, kernel)) / (len(first) * len(second))
    return kernel.scale * (within - 2 * across)


def _mean_within(rows: Tensor, kernel: PolynomialKernel) -> float:
    count = len(rows)
    total = math.fsum(_sums(rows, rows, kernel))
    if not kernel.unbiased:
        return total / count**2
    itself = math.fsum(
        float(_values(part.double().square().sum(1), part.shape[1], kernel).sum()) for part in rows.split(_BLOCK)
    )
    return (total - itself) / (count * (count - 1))


def _sums(first: Tensor, second: Tensor, kernel: PolynomialKernel) -> Iterator[float]:
    """The sum of each block of the kernel matrix."""
    for rows in first.split(_BLOCK):
        for columns in second.split(_BLOCK):
            products = rows.to("cpu", torch.float64) @ columns.to("cpu", torch.float64).T
            yield float(_values(products, first.shape[1], kernel).sum())


def _values(products: Tensor, features: int, kernel: PolynomialKernel) -> Tensor:
    gamma = 1 / features if kernel.gamma is None else kernel.gamma
    return (gamma * products + kernel.coef0) ** kernel.degree
