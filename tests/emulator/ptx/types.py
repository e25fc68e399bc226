"""PTX types and the numpy types that hold them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

UNSIGNED: dict[int, type[np.generic]] = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}
SIGNED: dict[int, type[np.generic]] = {1: np.int8, 2: np.int16, 4: np.int32, 8: np.int64}


@dataclass(frozen=True)
class Type:
    """`kind` is p(redicate), b(its), u(nsigned), s(igned) or f(loat); `dtype` holds a value's bits in a register."""

    name: str
    kind: str
    bytes: int
    dtype: np.dtype[Any]

    @property
    def signed(self) -> bool:
        return self.kind == "s"


def _types() -> dict[str, Type]:
    found = {"pred": Type("pred", "p", 1, np.dtype(np.bool_))}
    for size in (1, 2, 4, 8):
        for kind, dtype in (("b", UNSIGNED[size]), ("u", UNSIGNED[size]), ("s", SIGNED[size])):
            found[f"{kind}{size * 8}"] = Type(f"{kind}{size * 8}", kind, size, np.dtype(dtype))
    for name, size, float_dtype in (
        ("f16", 2, np.float16),
        ("bf16", 2, np.uint16),
        ("f16x2", 4, np.uint32),
        ("bf16x2", 4, np.uint32),
        ("tf32", 4, np.uint32),
        ("f32", 4, np.float32),
        ("f64", 8, np.float64),
    ):
        found[name] = Type(name, "f", size, np.dtype(float_dtype))
    return found


TYPES = _types()
