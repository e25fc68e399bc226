"""The check of a tensor's shape, for functions and for the ops behind them."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


def check_shape(name: str, tensor: Tensor, expected: Sequence[int | str | None]) -> None:
    """Each entry of ``expected`` is an extent, or a letter that allows any.  Raises ValueError, naming the tensor."""
    fits = tensor.ndim == len(expected) and all(
        not isinstance(want, int) or want == have for want, have in zip(expected, tensor.shape, strict=True)
    )
    if not fits:
        wanted = ", ".join(str(extent) for extent in expected)
        raise ValueError(f"{name}: shape {tuple(tensor.shape)}, expected [{wanted}]")
