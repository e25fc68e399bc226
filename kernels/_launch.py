"""What every launch needs on the host."""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from torch import Tensor


def limits(clamp: float | None, dtype: torch.dtype) -> tuple[float, bool]:
    """The clamp rounded to the output's type, and whether there is one."""
    return (0.0, False) if clamp is None else (float(torch.tensor(clamp, dtype=dtype, device="cpu")), True)


def precision(dtype: torch.dtype) -> str:
    """How products multiply: float32 exactly, or as tf32 if torch's float32 matmul precision is not "highest"."""
    return "tf32" if dtype == torch.float32 and torch.get_float32_matmul_precision() != "highest" else "ieee"


def on_device(tensor: Tensor) -> contextlib.AbstractContextManager[Any]:
    """Within a ``with`` block, launches go to the tensor's device, on its current stream."""
    return torch.cuda.device(tensor.device) if tensor.is_cuda else contextlib.nullcontext()
