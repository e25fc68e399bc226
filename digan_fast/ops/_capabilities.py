"""What each backend's kernels support of each op, and the one sentence that says why they do not support a call."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from digan_fast.ops import _cuda
from digan_fast.ops._pointers import NATIVE_DTYPES
from digan_fast.reference.activations import ACTIVATIONS
from digan_fast.reference.coord_mlp import MLP_ACTIVATIONS

_HOMOGENEOUS = ("linear", "relu", "lrelu")
_OF_PRODUCTS = (*_HOMOGENEOUS, "sine")
# In the order of the modulations in csrc.
MODULATIONS = ("linear", "demod", "tanh", "sigmoid")


@dataclass(frozen=True)
class Capability:
    """The tensor types and activations supported in an op's forward and backward."""

    dtypes: tuple[torch.dtype, ...]
    activations: tuple[str, ...]


_WIDE = (torch.float32,)
_WIDE_OR_BFLOAT16 = (torch.float32, torch.bfloat16)

TABLE = {
    "native": {
        "bias_act": Capability(_WIDE_OR_BFLOAT16, tuple(ACTIVATIONS)),
        "conv3x3": Capability(_WIDE_OR_BFLOAT16, ("linear",)),
        "coord_linear": Capability(_WIDE_OR_BFLOAT16, _HOMOGENEOUS),
        "coord_mlp": Capability(_WIDE, tuple(MLP_ACTIVATIONS)),
        "fmm_weights": Capability(_WIDE_OR_BFLOAT16, MODULATIONS),
        "linear_act": Capability(_WIDE_OR_BFLOAT16, _OF_PRODUCTS),
        "render": Capability(_WIDE, _OF_PRODUCTS),
        "upfirdn2d": Capability(_WIDE_OR_BFLOAT16, ("linear",)),
    },
    **{
        backend: {
            "bias_act": Capability(NATIVE_DTYPES, tuple(ACTIVATIONS)),
            "coord_linear": Capability(NATIVE_DTYPES, _HOMOGENEOUS),
            "coord_mlp": Capability(_WIDE, tuple(MLP_ACTIVATIONS)),
            "fmm_weights": Capability(NATIVE_DTYPES, MODULATIONS),
            "linear_act": Capability(NATIVE_DTYPES, _OF_PRODUCTS),
            "render": Capability(NATIVE_DTYPES, _OF_PRODUCTS),
            "upfirdn2d": Capability(NATIVE_DTYPES, ("linear",)),
        }
        for backend in ("cuda", "triton")
    },
}


def why_not(op: str, backend: str, activation: str, **tensors: Tensor | None) -> str | None:
    """Why the backend's kernels for ``op`` do not support these tensors with this activation; None if they do."""
    able = TABLE[backend][op]
    # The simulator runs csrc/cuda on another device than CUDA's.
    device = {"native": "cpu", "cuda": _cuda.DEVICE, "triton": "cuda"}[backend]
    devices = set()
    for name, tensor in tensors.items():
        if tensor is None:
            continue
        if tensor.device.type != device:
            return f"{name} is on {tensor.device}"
        if tensor.dtype not in able.dtypes:
            return f"{name} is {tensor.dtype}; it takes {_listed(able.dtypes)}"
        devices.add(tensor.device)
    if len(devices) > 1 and device != "cpu":
        return f"the tensors are on {', '.join(sorted(map(str, devices)))}"
    return None if activation in able.activations else f"it has no activation {activation!r}"


def why_not_one_dtype(**tensors: Tensor | None) -> str | None:
    """Why not, for a product whose operands must have the same type."""
    present = {name: tensor.dtype for name, tensor in tensors.items() if tensor is not None}
    if len(set(present.values())) > 1:
        return ", ".join(f"{name} is {dtype}" for name, dtype in present.items())
    return None


def unknown(op: str, backend: str, activations: list[str] | tuple[str, ...]) -> str:
    """The first of the activations that the kernels do not have, else one that they have."""
    able = TABLE[backend][op].activations
    return next((name for name in activations if name not in able), able[0])


def _listed(dtypes: tuple[torch.dtype, ...]) -> str:
    *names, last = (str(dtype).removeprefix("torch.") for dtype in dtypes)
    return f"{', '.join(names)} and {last}" if names else last
