"""What every launch needs on the host's side."""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from torch import Tensor


def limits(clamp: float | None, dtype: torch.dtype) -> tuple[float, bool]:
    """The clamp as the output's type rounds it, and whether there is one."""
    return (0.0, False) if clamp is None else (float(torch.tensor(clamp, dtype=dtype)), True)


def precision(dtype: torch.dtype) -> str:
    """How products multiply: float32 exactly, or as tf32 where torch was told so by name."""
    return "tf32" if dtype == torch.float32 and torch.get_float32_matmul_precision() != "highest" else "ieee"


def on_device(tensor: Tensor) -> contextlib.AbstractContextManager[Any]:
    """Launches in this block go to the tensor's device, on its current stream."""
    return torch.cuda.device(tensor.device) if tensor.is_cuda else contextlib.nullcontext()
