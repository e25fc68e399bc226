"""The adapter to compiled code: the only caller of ``data_ptr()``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import overload

import torch
from torch import Tensor

from digan_fast import dispatch

# The order of `enum class Activation` in csrc/include/digan_fast/bias_act.h.
NATIVE_ACTIVATIONS = (
    "linear", "relu", "lrelu", "tanh", "sigmoid", "elu", "selu", "softplus", "swish", "sine",
)  # fmt: skip

# The order of `enum class Number` there; the third is CUDA only.
NATIVE_DTYPES = (torch.float32, torch.bfloat16, torch.float16)

_LARGE = 2**21  # bytes


def ptr(
    tensor: Tensor | None,
    name: str,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    alignment: int = 4,
) -> int:
    """The address of a contiguous tensor, 0 for None.

    Raises ValueError, naming the argument, if device, dtype, contiguity or alignment (bytes) is not as required.
    """
    if tensor is None:
        return 0
    if tensor.device.type != device:
        raise ValueError(f"{name}: on device {tensor.device}, expected {device}")
    if tensor.dtype != dtype:
        raise ValueError(f"{name}: {tensor.dtype}, expected {dtype}")
    if not tensor.is_contiguous():
        raise ValueError(f"{name}: strides {tuple(tensor.stride())} are not contiguous")
    address = tensor.data_ptr()
    if address % alignment:
        raise ValueError(f"{name}: address {address:#x} is not aligned to {alignment} bytes")
    return address


def fresh(
    shape: Sequence[int], dtype: torch.dtype = torch.float32, layout: torch.memory_format = torch.contiguous_format
) -> Tensor:
    """An uninitialised CPU tensor, to be fully written; a large one reuses freed memory, in pages of 2 MiB.

    The operating system would clear memory for such a tensor from the C library page by page.
    """
    if math.prod(shape) * dtype.itemsize < _LARGE:
        return torch.empty(shape, dtype=dtype, memory_format=layout, device="cpu")
    strides = torch.empty(shape, memory_format=layout, device="meta").stride()
    return torch.utils.dlpack.from_dlpack(dispatch.native_module().result(shape, strides, dtype == torch.bfloat16))


@overload
def wide(tensor: Tensor) -> Tensor: ...


@overload
def wide(tensor: Tensor | None) -> Tensor | None: ...


def wide(tensor: Tensor | None) -> Tensor | None:
    """Contiguous and float32, as kernels take small tensors."""
    return None if tensor is None else tensor.to(torch.float32).contiguous()


def one_number(tensor: Tensor) -> Tensor | None:
    """[1], a view, if a tensor of more elements is one value expanded, like the gradient of a sum; else None."""
    if tensor.numel() < 2 or any(n > 1 and step for n, step in zip(tensor.shape, tensor.stride(), strict=True)):
        return None
    return tensor[(slice(0, 1),) * tensor.ndim].reshape(1)


def ptr_wide_or_narrow(tensor: Tensor | None, name: str) -> int:
    """The same for a CPU tensor of float32 or bfloat16."""
    if tensor is not None and tensor.dtype == torch.bfloat16:
        return ptr(tensor, name, dtype=torch.bfloat16, alignment=2)
    return ptr(tensor, name)
