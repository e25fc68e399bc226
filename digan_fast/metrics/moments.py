"""Mean and covariance of a stream of rows, the same bits for any order, batching and number of processes.

Every value is split into integers of 14 bits at fixed binary places, x = Σ q_k·2^(14k).  Sums of the integers and of
their products stay below 2^53, so float64 holds them exactly and merging adds exactly; only the last step rounds.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import torch
from torch import Tensor

_BITS: Final = 14
# |q| ≤ 2^14, so 2^22 rows' products at one place, of up to 8 pairs of slices, sum to 2^53 at most.
MOST_ROWS: Final = 2**22
# Rows multiplied at once.
_CHUNK: Final = 4096
# Numbers of a covariance computed at once: the terms stay in cache, and torch uses one thread.
_TOGETHER: Final = 2**14
_SPLIT: Final = float(2**27 + 1)


class Moments:
    """Mean [D] and covariance [D, D] in float64 of rows that arrive in batches; memory is a few D² numbers."""

    def __init__(self, features: int) -> None:
        self.features = features
        self.count = 0
        # Sums of the slices by place k, and of products of two slices by place i + j; symmetric.
        self._sums: dict[int, Tensor] = {}
        self._products: dict[int, Tensor] = {}

    @classmethod
    def of(cls, batches: Iterable[Tensor]) -> Moments:
        """Of all rows of the batches.  Raises ValueError if there are none."""
        found: Moments | None = None
        for rows in batches:
            found = cls(rows.shape[1]) if found is None else found
            found.update(rows)
        if found is None:
            raise ValueError("batches: none, expected at least one")
        return found

    def update(self, rows: Tensor) -> None:
        """Add rows [N, D] of any floating-point type.

        Raises ValueError for another shape, for values that are not finite, and beyond 4,194,304 rows.
        """
        if rows.ndim != 2 or rows.shape[1] != self.features:
            raise ValueError(f"rows: shape {tuple(rows.shape)}, expected [N, {self.features}]")
        if not bool(rows.isfinite().all()):
            (bad,) = (~rows.isfinite()).any(1).nonzero()[:1].tolist()[0]
            raise ValueError(f"rows: row {self.count + bad} is not finite")
        self._count(len(rows))
        for chunk in rows.detach().to("cpu", torch.float64).split(_CHUNK):
            slices = _slices(chunk)
            for place, part in slices.items():
                _add(self._sums, place, part.sum(0))
                for other, second in slices.items():
                    if other < place:
                        product = part.T @ second
                        _add(self._products, place + other, product + product.T)
                    elif other == place:
                        _add(self._products, 2 * place, part.T @ part)

    def merge(self, other: Moments) -> None:
        """Add the rows of another: exactly what one pass over all of them gives.

        Raises ValueError for another number of features, and beyond 4,194,304 rows.
        """
        if other.features != self.features:
            raise ValueError(f"other: {other.features} features, expected {self.features}")
        self._count(other.count)
        for own, theirs in ((self._sums, other._sums), (self._products, other._products)):
            for place, values in theirs.items():
                _add(own, place, values)

    @property
    def mean(self) -> Tensor:
        """[D]; raises ValueError without a row."""
        if self.count == 0:
            raise ValueError("a mean of no rows")
        total = _Sum(torch.zeros(self.features, dtype=torch.float64))
        for place in sorted(self._sums, reverse=True):
            total.add(self._sums[place] * 2.0 ** (_BITS * place))
        return total.value / self.count

    def covariance(self, unbiased: bool = True) -> Tensor:
        """[D, D], divided by n − 1, or by n if not ``unbiased``; raises ValueError for fewer than two rows.

        Computed as (n·Σxxᵀ − ΣxΣxᵀ)/(n(n − 1)) in twice the precision of float64, so that a large mean costs nothing.
        """
        if self.count < 2:
            raise ValueError(f"a covariance of {self.count} row{'' if self.count == 1 else 's'}, expected 2 or more")
        together = max(1, _TOGETHER // self.features)
        parts = [slice(first, first + together) for first in range(0, self.features, together)]
        return torch.cat([self._scatter(part) for part in parts]) / (self.count * (self.count - (1 if unbiased else 0)))

    def _scatter(self, part: slice) -> Tensor:
        """Some rows of n·Σxxᵀ − ΣxΣxᵀ."""
        count = torch.tensor(float(self.count), dtype=torch.float64)
        height = len(range(self.features)[part])
        total = _Sum(torch.zeros(height, self.features, dtype=torch.float64))
        for place in sorted(self._products, reverse=True):
            scale = 2.0 ** (_BITS * place)
            for term in _exact_product(count, self._products[place][part]):
                total.add(term * scale)
            for first in self._sums:
                if place - first in self._sums:
                    for term in _exact_product(self._sums[first][part, None], self._sums[place - first]):
                        total.add(-term * scale)
        return total.value

    def _count(self, more: int) -> None:
        if self.count + more > MOST_ROWS:
            raise ValueError(f"rows: {self.count + more} in all, expected at most {MOST_ROWS}")
        self.count += more


def _slices(rows: Tensor) -> dict[int, Tensor]:
    """Integers of magnitude 2^14 at most by place, their scaled sum exactly the rows; empty ones are left out."""
    largest = float(rows.abs().max()) if rows.numel() else 0.0
    found: dict[int, Tensor] = {}
    while largest > 0:
        place = (torch.frexp(torch.tensor(largest, dtype=torch.float64)).exponent.item() - 1) // _BITS
        scale = 2.0 ** (_BITS * place)
        part = (rows / scale).round_()
        rows = rows - part * scale
        found[int(place)] = part
        largest = float(rows.abs().max())
    return found


def _add(into: dict[int, Tensor], place: int, values: Tensor) -> None:
    into[place] = into[place] + values if place in into else values


class _Sum:
    """A compensated sum: the value and what rounding left over."""

    def __init__(self, zero: Tensor) -> None:
        self._high = zero
        self._low = zero.clone()

    def add(self, term: Tensor) -> None:
        total = self._high + term
        back = total - self._high
        self._low = self._low + ((self._high - (total - back)) + (term - back))
        self._high = total

    @property
    def value(self) -> Tensor:
        return self._high + self._low


def _exact_product(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """a·b as the sum of two float64 numbers, by Dekker's algorithm."""
    product = a * b
    a_high, b_high = a * _SPLIT - (a * _SPLIT - a), b * _SPLIT - (b * _SPLIT - b)
    a_low, b_low = a - a_high, b - b_high
    error = ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low
    return product, error
