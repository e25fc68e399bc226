"""``digan_fast::fmm_weights``: the weights of B videos from shared weights and two low-rank factors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from digan_fast import dispatch
from digan_fast.ops import _cuda as _cuda_border
from digan_fast.ops._capabilities import MODULATIONS, why_not
from digan_fast.ops._pointers import fresh, one_number, ptr, wide
from digan_fast.ops._registry import define, differentiable
from digan_fast.ops._triton import lazily
from digan_fast.reference import fmm_weights as reference

# The order of `enum class Modulation` in csrc/include/digan_fast/fmm_weights.h.

# kFmmWeightsCudaInputs there.
_CUDA_INPUTS = 4096

_TENSORS = "Tensor weight, Tensor left, Tensor right"


def _fake(weight: Tensor, left: Tensor, right: Tensor, activation: str) -> Tensor:
    return weight.new_empty((left.shape[0], *weight.shape))


def _fake_backward(grad: Tensor, weight: Tensor, left: Tensor, right: Tensor, *_: Any) -> tuple[Tensor, ...]:
    return weight.new_empty(weight.shape), left.new_empty(left.shape), right.new_empty(right.shape)


def _reference_backward(
    grad: Tensor, weight: Tensor, left: Tensor, right: Tensor, out: Tensor, activation: str
) -> tuple[Tensor, Tensor, Tensor]:
    return reference.fmm_weights_backward(grad, weight, left, right, activation)


def _options(weight: Tensor, left: Tensor, activation: str) -> dict[str, Any]:
    """The compiled functions' arguments other than addresses."""
    return {
        "batch": left.shape[0],
        "outputs": weight.shape[0],
        "inputs": weight.shape[1],
        "rank": left.shape[-1],
        "modulation": MODULATIONS.index(activation),
        "scale": left.shape[-1] ** -0.5,
    }


def _native(weight: Tensor, left: Tensor, right: Tensor, activation: str) -> Tensor:
    dtype = weight.dtype
    weight, left, right = (wide(tensor) for tensor in (weight, left, right))
    out = fresh((len(left), *weight.shape))
    dispatch.native_module().fmm_weights_cpu(
        out=ptr(out, "out"),
        weight=ptr(weight, "weight"),
        left=ptr(left, "left"),
        right=ptr(right, "right"),
        threads=torch.get_num_threads(),
        **_options(weight, left, activation),
    )
    return out.to(dtype)


def _native_backward(
    grad: Tensor, weight: Tensor, left: Tensor, right: Tensor, out: Tensor, activation: str
) -> tuple[Tensor, Tensor, Tensor]:
    if grad.numel() == 0:
        return reference.fmm_weights_backward(grad, weight, left, right, activation)
    dtypes = weight.dtype, left.dtype, right.dtype
    weight, left, right = (wide(tensor) for tensor in (weight, left, right))
    number = one_number(grad)
    grad = wide(grad if number is None else number)
    gradients = fresh(weight.shape), torch.empty_like(left), torch.empty_like(right)
    dispatch.native_module().fmm_weights_backward_cpu(
        dweight=ptr(gradients[0], "dweight"),
        dleft=ptr(gradients[1], "dleft"),
        dright=ptr(gradients[2], "dright"),
        grad=ptr(grad, "grad"),
        weight=ptr(weight, "weight"),
        left=ptr(left, "left"),
        right=ptr(right, "right"),
        grad_expanded=number is not None,
        threads=torch.get_num_threads(),
        **_options(weight, left, activation),
    )
    dweight, dleft, dright = (gradient.to(dtype) for gradient, dtype in zip(gradients, dtypes, strict=True))
    return dweight, dleft, dright


def _cuda_options(weight: Tensor, left: Tensor, activation: str) -> dict[str, Any]:
    return {**_options(weight, left, activation), "stream": _cuda_border.stream(weight)}


def _cuda(weight: Tensor, left: Tensor, right: Tensor, activation: str) -> Tensor:
    wide, out = (
        [tensor.float().contiguous() for tensor in (weight, left, right)],
        _fake(weight, left, right, activation),
    )
    if 0 in (*out.shape, left.shape[-1]):
        return reference.fmm_weights(weight, left, right, activation)
    made = out if out.dtype == torch.float32 else torch.empty_like(out, dtype=torch.float32)
    with _cuda_border.on_device(out):
        _cuda_border.module().fmm_weights_cuda(
            out=_cuda_border.address(made, "out"),
            weight=_cuda_border.address(wide[0], "weight"),
            left=_cuda_border.address(wide[1], "left"),
            right=_cuda_border.address(wide[2], "right"),
            **_cuda_options(wide[0], wide[1], activation),
        )
    return made.to(out.dtype)


def _cuda_backward(
    grad: Tensor, weight: Tensor, left: Tensor, right: Tensor, out: Tensor, activation: str
) -> tuple[Tensor, Tensor, Tensor]:
    if 0 in (*grad.shape, left.shape[-1]):
        return reference.fmm_weights_backward(grad, weight, left, right, activation)
    wide = [tensor.float().contiguous() for tensor in (weight, left, right, grad)]
    dweight, dleft, dright, partials = (torch.empty_like(tensor) for tensor in wide)
    with _cuda_border.on_device(grad):
        _cuda_border.module().fmm_weights_backward_cuda(
            dweight=_cuda_border.address(dweight, "dweight"),
            dleft=_cuda_border.address(dleft, "dleft"),
            dright=_cuda_border.address(dright, "dright"),
            partials=_cuda_border.address(partials, "partials"),
            grad=_cuda_border.address(wide[3], "grad"),
            weight=_cuda_border.address(wide[0], "weight"),
            left=_cuda_border.address(wide[1], "left"),
            right=_cuda_border.address(wide[2], "right"),
            **_cuda_options(wide[0], wide[1], activation),
        )
    return dweight.to(weight.dtype), dleft.to(left.dtype), dright.to(right.dtype)


def _why_not_cuda(weight: Tensor, left: Tensor, right: Tensor, activation: str) -> str | None:
    if weight.shape[1] > _CUDA_INPUTS:
        return f"weight has {weight.shape[1]} inputs; it takes {_CUDA_INPUTS} at most"
    return why_not("fmm_weights", "cuda", activation, weight=weight, left=left, right=right)


def _why_not_cuda_backward(
    grad: Tensor, weight: Tensor, left: Tensor, right: Tensor, out: Tensor, activation: str
) -> str | None:
    return why_not("fmm_weights", "cuda", activation, grad=grad) or _why_not_cuda(weight, left, right, activation)


def _why_not_native(weight: Tensor, left: Tensor, right: Tensor, activation: str) -> str | None:
    return why_not("fmm_weights", "native", activation, weight=weight, left=left, right=right)


def _why_not_native_backward(
    grad: Tensor, weight: Tensor, left: Tensor, right: Tensor, out: Tensor, activation: str
) -> str | None:
    return why_not("fmm_weights", "native", activation, grad=grad) or _why_not_native(weight, left, right, activation)


_forward_op = define("fmm_weights", f"({_TENSORS}, str activation) -> Tensor", reference.fmm_weights, _fake)
_backward_op = define(
    "fmm_weights_backward",
    f"(Tensor grad, {_TENSORS}, Tensor out, str activation) -> (Tensor, Tensor, Tensor)",
    _reference_backward,
    _fake_backward,
)
dispatch.register("fmm_weights", "cuda", _cuda, _why_not_cuda)
dispatch.register("fmm_weights_backward", "cuda", _cuda_backward, _why_not_cuda_backward)
dispatch.register("fmm_weights", "native", _native, _why_not_native)
dispatch.register("fmm_weights_backward", "native", _native_backward, _why_not_native_backward)


def _why_not_triton(weight: Tensor, left: Tensor, right: Tensor, activation: str) -> str | None:
    if left.shape[-1] > 256:
        return f"left has rank {left.shape[-1]}; it takes 256 at most"
    return why_not("fmm_weights", "triton", activation, weight=weight, left=left, right=right)


def _why_not_triton_backward(
    grad: Tensor, weight: Tensor, left: Tensor, right: Tensor, out: Tensor, activation: str
) -> str | None:
    return why_not("fmm_weights", "triton", activation, grad=grad) or _why_not_triton(weight, left, right, activation)


dispatch.register("fmm_weights", "triton", lazily("fmm_weights"), _why_not_triton)
dispatch.register("fmm_weights_backward", "triton", lazily("fmm_weights_backward"), _why_not_triton_backward)

fmm_weights = differentiable("fmm_weights", _forward_op, _backward_op, _reference_backward, tensors=3)
