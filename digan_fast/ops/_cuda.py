"""The adapter to csrc/cuda: addresses on a CUDA device and its current stream."""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from torch import Tensor

from digan_fast import dispatch
from digan_fast.ops._pointers import ptr

DEVICE = "cuda"


def module() -> Any:
    """The module with the CUDA kernels' bindings."""
    return dispatch.native_module()


def address(tensor: Tensor | None, name: str, dtype: torch.dtype | None = None, alignment: int | None = None) -> int:
    """:func:`ptr` on the CUDA device; the type defaults to the tensor's own."""
    if tensor is None:
        return 0
    dtype = dtype or tensor.dtype
    return ptr(tensor, name, DEVICE, dtype, alignment or dtype.itemsize)


def multiplies_as_tf32(dtype: torch.dtype) -> bool:
    """Whether torch is set, explicitly, to multiply float32 as tf32, with 10 mantissa bits."""
    return dtype == torch.float32 and torch.get_float32_matmul_precision() != "highest"


def stream(tensor: Tensor) -> int:
    """The current stream of the tensor's device: a cudaStream_t as an integer."""
    return int(torch.cuda.current_stream(tensor.device).cuda_stream)


def on_device(tensor: Tensor) -> contextlib.AbstractContextManager[Any]:
    """Launches in this block go to the tensor's device."""
    return torch.cuda.device(tensor.device)
