"""The border to Triton: kernels are imported by the first call that runs one."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

_DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def lazily(op: str) -> Callable[..., Any]:
    """The function of this name in ``digan_fast.kernels.<op>``, its backward in the same file."""

    def run(*args: Any) -> Any:
        module = importlib.import_module(f"digan_fast.kernels.{op.removesuffix('_backward')}")
        return getattr(module, op)(*args)

    return run


def why_not_triton(allowed: Sequence[str], activation: str, **tensors: Tensor | None) -> str | None:
    """Why Triton kernels with these activations cannot take the tensors; None if they can."""
    devices = set()
    for name, tensor in tensors.items():
        if tensor is None:
            continue
        if tensor.device.type != "cuda":
            return f"{name} is on {tensor.device}"
        if tensor.dtype not in _DTYPES:
            return f"{name} is {tensor.dtype}; it takes float32, bfloat16 and float16"
        devices.add(tensor.device)
    if len(devices) > 1:
        return f"the tensors are on {', '.join(sorted(map(str, devices)))}"
    return None if activation in allowed else f"it has no activation {activation!r}"


def why_not_one_dtype(**tensors: Tensor | None) -> str | None:
    """Why not, where a product takes operands of one type alone."""
    present = {name: tensor.dtype for name, tensor in tensors.items() if tensor is not None}
    if len(set(present.values())) > 1:
        return ", ".join(f"{name} is {dtype}" for name, dtype in present.items())
    return None
