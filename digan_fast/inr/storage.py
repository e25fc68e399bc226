"""How the tensors of a video's network are stored: as they are, in float16, or in int8 with a scale for each row."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import torch
from torch import Tensor

STORAGES: Final = ("float32", "float16", "int8")
# What the name of a matrix of int8 is followed by, for its scales.
_SCALE: Final = ".scale"
_LARGEST: Final = 127


def packed(tensors: Mapping[str, Tensor], storage: str, exact: Sequence[str]) -> dict[str, Tensor]:
    """The tensors of a file, by name.

    float32 keeps every tensor as it is.  The others store tensors whose name ends with one of ``exact`` in float32 and
    the rest in float16; in int8, weights [B, O, I] become ``round(W / s)`` with a float32 scale s = max|W| / 127 for
    each row, [B, O, 1].  A tensor with values beyond the range of float16 stays float32.  Raises ValueError for another
    storage, or a value that is not finite.
    """
    if storage not in STORAGES:
        raise ValueError(f"storage: {storage!r}, expected one of {', '.join(STORAGES)}")
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if not bool(tensor.isfinite().all()):
            raise ValueError(f"{name}: a value that is not finite, expected finite ones")
        if storage == "float32":
            found[name] = tensor
        elif name.endswith(tuple(exact)):
            found[name] = tensor.to(torch.float32)
        elif storage == "int8" and tensor.ndim == 3:
            rows = tensor.detach().to(torch.float32)
            scale = rows.abs().amax(2, keepdim=True) / _LARGEST
            found[name] = (rows / torch.where(scale > 0, scale, 1)).round().to(torch.int8)
            found[name + _SCALE] = scale
        else:
            half = tensor.to(torch.float16)
            found[name] = half if bool(half.isfinite().all()) else tensor.to(torch.float32)
    return found


def unpacked(names: Sequence[str], tensor: Callable[[str], Tensor]) -> Callable[[str], Tensor]:
    """``tensor``, which reads from a file with these names, with what :func:`packed` stored in float32 again."""
    known = set(names)

    def read(name: str) -> Tensor:
        stored = tensor(name)
        if name + _SCALE in known:
            scale = tensor(name + _SCALE)
            if stored.dtype != torch.int8 or scale.shape != (*stored.shape[:-1], 1):
                raise ValueError(
                    f"{name}: {stored.dtype} with scales {list(scale.shape)}, expected int8 with one a row"
                )
            return stored.to(torch.float32) * scale
        if not stored.is_floating_point():
            raise ValueError(f"{name}: {stored.dtype} without scales, expected a floating-point type")
        return stored.to(torch.float32)

    return read
