"""The kernel distance between two sets of features: the squared maximum mean discrepancy, MMD²."""

from __future__ import annotations

import itertools
import math
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
    blocks = itertools.product(first.split(_BLOCK), second.split(_BLOCK))
    across = math.fsum(_sum(rows, columns, kernel) for rows, columns in blocks) / (len(first) * len(second))
    return kernel.scale * (within - 2 * across)


def _mean_within(rows: Tensor, kernel: PolynomialKernel) -> float:
    """The blocks above the diagonal count twice, since the matrix is symmetric."""
    count, parts = len(rows), rows.split(_BLOCK)
    above = math.fsum(_sum(part, other, kernel) for part, other in itertools.combinations(parts, 2))
    total = math.fsum(_sum(part, part, kernel) for part in parts) + 2 * above
    if not kernel.unbiased:
        return total / count**2
    itself = math.fsum(float(_values(part.double().square().sum(1), part.shape[1], kernel).sum()) for part in parts)
    return (total - itself) / (count * (count - 1))


def _sum(rows: Tensor, columns: Tensor, kernel: PolynomialKernel) -> float:
    """Of one block of the kernel matrix."""
    products = rows.to("cpu", torch.float64) @ columns.to("cpu", torch.float64).T
    return float(_values(products, rows.shape[1], kernel).sum())


def _values(products: Tensor, features: int, kernel: PolynomialKernel) -> Tensor:
    gamma = 1 / features if kernel.gamma is None else kernel.gamma
    return (gamma * products + kernel.coef0) ** kernel.degree
