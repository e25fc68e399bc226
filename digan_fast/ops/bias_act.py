"""``digan_fast::bias_act``: bias, activation, gain and clamp in one pass."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from digan_fast import dispatch
from digan_fast.ops._pointers import ptr
from digan_fast.ops._registry import define, differentiable, layout
from digan_fast.reference import bias_act as reference
from digan_fast.reference.activations import ACTIVATIONS, SLOPE

# The order of `enum class Activation` in csrc/include/digan_fast/bias_act.h.
_NATIVE_ACTIVATIONS = (
    "linear", "relu", "lrelu", "tanh", "sigmoid", "elu", "selu", "softplus", "swish",
)  # fmt: skip

_OPTIONS = "int dim, str activation, float gain, float? clamp"


def _fake(x: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(x, memory_format=layout(x))


def _fake_backward(
    grad: Tensor, x: Tensor | None, bias: Tensor | None, out: Tensor, dim: int, *_: Any
) -> tuple[Tensor, Tensor]:
    return torch.empty_like(grad, memory_format=layout(out)), grad.new_empty(grad.shape[dim])


def _keep(x: Tensor, bias: Tensor | None, dim: int, activation: str, *_: Any) -> Any:
    return (None, None) if ACTIVATIONS[activation].homogeneous else (x, bias)


def _native(x: Tensor, bias: Tensor | None, dim: int, activation: str, gain: float, clamp: float | None) -> Tensor:
    if dim == 1 and layout(x) == torch.channels_last:
        return _native(x.movedim(1, 3), bias, 3, activation, gain, clamp).movedim(3, 1)
    x = x.contiguous()
    out = torch.empty_like(x)
    dispatch.native_module().bias_act_cpu(
        out=ptr(out, "out"),
        x=ptr(x, "x"),
        bias=ptr(None if bias is None else bias.contiguous(), "bias"),
        outer=math.prod(x.shape[:dim]),
        channels=x.shape[dim],
        inner=math.prod(x.shape[dim + 1 :]),
        activation=_NATIVE_ACTIVATIONS.index(activation),
        alpha=SLOPE if activation == "lrelu" else 1.0,
        gain=gain,
        clamp=math.inf if clamp is None else clamp,
        threads=torch.get_num_threads(),
    )
    return out


def _why_not_native(x: Tensor, bias: Tensor | None, dim: int, activation: str, *_: Any) -> str | None:
    if x.device.type != "cpu":
        return f"x is on {x.device}"
    if x.dtype != torch.float32 or (bias is not None and bias.dtype != torch.float32):
        return f"x is {x.dtype}; it takes float32"
    if activation not in _NATIVE_ACTIVATIONS:
        return f"it has no activation {activation!r}"
    return None


_forward_op = define("bias_act", f"(Tensor x, Tensor? bias, {_OPTIONS}) -> Tensor", reference.bias_act, _fake, like=0)
_backward_op = define(
    "bias_act_backward",
    f"(Tensor grad, Tensor? x, Tensor? bias, Tensor out, {_OPTIONS}) -> (Tensor, Tensor)",
    reference.bias_act_backward,
    _fake_backward,
    like=3,
)
dispatch.register("bias_act", "native", _native, _why_not_native)

bias_act = differentiable(_forward_op, _backward_op, reference.bias_act_backward, tensors=2, keep=_keep)
