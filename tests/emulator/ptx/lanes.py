"""Which threads of a batch of blocks execute an instruction."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
REMEMBERED = 32


class Lanes:
    """A set of a batch's threads, with two ways for an instruction to visit it.

    `select` lists the threads whose values are gathered; None uses whole registers. `keep` marks the threads whose
    results are kept; None keeps all. Instructions without side effects use `alu`, which computes every thread and keeps
    some if the set is dense, since gathers cost more than arithmetic.
    """

    __slots__ = ("_alu", "_warps", "_within", "count", "keep", "mask", "select", "total")

    def __init__(self, total: int, mask: Array | None, count: int) -> None:
        self.total, self.mask, self.count = total, mask, count
        self.select: Array | None = None if mask is None else np.flatnonzero(mask)
        self.keep: Array | None = None
        self._alu: Lanes | None = self if mask is None else None
        self._within: dict[tuple[int, bool], tuple[Array, Lanes | None]] = {}
        self._warps: Array | None = None

    @classmethod
    def of(cls, mask: Array) -> Lanes | None:
        """The marked threads, or None if there are none."""
        count = int(np.count_nonzero(mask))
        if not count:
            return None
        return cls(mask.size, None if count == mask.size else mask, count)

    @property
    def alu(self) -> Lanes:
        if self._alu is None:
            if self.count * 4 < self.total:
                self._alu = self
            else:
                dense = object.__new__(Lanes)
                dense.total, dense.mask, dense.count = self.total, self.mask, self.count
                dense.select, dense.keep = None, self.mask
                dense._alu, dense._within, dense._warps = dense, {}, None
                self._alu = dense
        return self._alu

    @property
    def indices(self) -> Array:
        return np.arange(self.total) if self.select is None else self.select

    @property
    def marked(self) -> Array:
        return np.ones(self.total, np.bool_) if self.mask is None else self.mask

    @property
    def warps(self) -> Array:
        """Numbers of the batch's warps that have a thread in the set."""
        if self._warps is None:
            if self.mask is None:
                self._warps = np.arange(self.total // 32)
            else:
                self._warps = np.flatnonzero(self.mask.reshape(-1, 32).any(axis=1))
        return self._warps

    def within(self, predicate: Array, negated: bool) -> Lanes | None:
        """The threads whose predicate holds; register values are never modified in place, so the result is cached."""
        key = id(predicate), negated
        known = self._within.get(key)
        if known is not None:
            return known[1]
        found: Lanes | None
        if predicate.size == 1:
            found = self if bool(predicate[0]) != negated else None
        else:
            mask = ~predicate if negated else predicate
            if self.mask is not None:
                mask = mask & self.mask
            found = Lanes.of(mask)
            if found is not None and found.count == self.count:
                found = self
        if len(self._within) >= REMEMBERED:
            self._within.clear()
        self._within[key] = predicate, found
        return found

    def union(self, other: Lanes) -> Lanes:
        if self.mask is None or other.mask is None:
            return self if self.mask is None else other
        joined = Lanes.of(self.mask | other.mask)
        assert joined is not None
        return joined

    def picked(self, values: Array) -> Array:
        """The set's elements of an array with one value per thread of the batch."""
        return values if self.select is None else values[self.select]
