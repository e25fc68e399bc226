"""``digan_fast::coord_linear``: sines and cosines of coordinate phases into a linear layer, never stored."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from digan_fast import dispatch
from digan_fast.ops._pointers import NATIVE_ACTIVATIONS, fresh, ptr, why_not_float32
from digan_fast.ops._registry import define, differentiable
from digan_fast.ops._triton import lazily, why_not_one_dtype, why_not_triton
from digan_fast.reference import coord_linear as reference

_TENSORS = "Tensor? base, Tensor frequency, Tensor phase, Tensor weight, Tensor? bias"
_OPTIONS = "int[] grid, str activation, float gain, float? clamp"


def _fake(
    base: Tensor | None,
    frequency: Tensor,
    phase: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    grid: Sequence[int],
    *_: Any,
) -> Tensor:
    return weight.new_empty((*phase.shape[:2], grid[3], grid[4], weight.shape[1]))


def _fake_backward(
    grad: Tensor,
    base: Tensor | None,
    frequency: Tensor,
    phase: Tensor,
    weight: Tensor,
    *_: Any,
) -> tuple[Tensor, ...]:
    return (
        grad.new_empty(0 if base is None else base.shape),
        frequency.new_empty(frequency.shape),
        phase.new_empty(phase.shape),
        weight.new_empty(weight.shape),
        grad.new_empty(weight.shape[1]),
    )


_forward_op = define("coord_linear", f"({_TENSORS}, {_OPTIONS}) -> Tensor", reference.coord_linear, _fake)
_backward_op = define(
    "coord_linear_backward",
    f"(Tensor grad, {_TENSORS}, Tensor out, {_OPTIONS}) -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
    reference.coord_linear_backward,
    _fake_backward,
)

# What the compiled kernels have.
_ACTIVATIONS = ("linear", "relu", "lrelu")


def _arguments(tensors: Sequence[Any], grid: Sequence[int], *options: Any) -> dict[str, Any]:
    base, frequency, phase, weight, bias, out = tensors
    activation, gain, clamp = options
    return {
        "out": ptr(out, "out"),
        "base": ptr(base, "base"),
        "frequency": ptr(frequency, "frequency"),
        "phase": ptr(phase, "phase"),
        "weight": ptr(weight, "weight"),
        "bias": ptr(bias, "bias"),
        "shape": [*phase.shape, weight.shape[1]],
        "grid": list(grid),
        "activation": NATIVE_ACTIVATIONS.index(activation),
        "gain": gain,
        "clamp": math.inf if clamp is None else clamp,
        "threads": torch.get_num_threads(),
    }


def _contiguous(tensors: Sequence[Tensor | None]) -> list[Any]:
    return [None if tensor is None else tensor.contiguous() for tensor in tensors]


def _native(*args: Any) -> Tensor:
    tensors, options = _contiguous(args[:5]), args[5:]
    out = fresh(_fake(*tensors, *options))
    if out.numel() == 0 or tensors[1].numel() == 0:
        return reference.coord_linear(*args)
    dispatch.native_module().coord_linear_cpu(**_arguments([*tensors, out], *options))
    return out


def _native_backward(grad: Tensor, *args: Any) -> tuple[Tensor, ...]:
    (*tensors, contiguous_grad), options = _contiguous((*args[:6], grad)), args[6:]
    out = tensors[5]
    if out.numel() == 0 or tensors[1].numel() == 0:
        return reference.coord_linear_backward(grad, *args)
    dbase, dfrequency, dphase, dweight, dbias = gradients = tuple(map(fresh, _fake_backward(grad, *tensors)))
    dispatch.native_module().coord_linear_backward_cpu(
        **_arguments(tensors, *options),
        grad=ptr(contiguous_grad, "grad"),
        dbase=0 if tensors[0] is None else ptr(dbase, "dbase"),
        dfrequency=ptr(dfrequency, "dfrequency"),
        dphase=ptr(dphase, "dphase"),
        dweight=ptr(dweight, "dweight"),
        dbias=ptr(dbias, "dbias"),
    )
    return gradients


def _why_not_native(
    base: Tensor | None, frequency: Tensor, phase: Tensor, weight: Tensor, bias: Tensor | None, *options: Any
) -> str | None:
    tensors = {"base": base, "frequency": frequency, "phase": phase, "weight": weight, "bias": bias}
    return why_not_float32(_ACTIVATIONS, options[-3], **tensors)


dispatch.register("coord_linear", "native", _native, _why_not_native)
dispatch.register(
    "coord_linear_backward",
    "native",
    _native_backward,
    lambda grad, *args: _why_not_native(*args[:5], *args[6:]),
)


def _why_not_triton(
    base: Tensor | None, frequency: Tensor, phase: Tensor, weight: Tensor, bias: Tensor | None, *options: Any
) -> str | None:
    tensors = {"base": base, "frequency": frequency, "phase": phase, "weight": weight, "bias": bias}
    return why_not_triton(_ACTIVATIONS, options[-3], **tensors)


def _why_not_triton_backward(grad: Tensor, *args: Any) -> str | None:
    reason = _why_not_triton(*args[:5], *args[6:])
    return reason or why_not_one_dtype(grad=grad, weight=args[3], out=args[5])


dispatch.register("coord_linear", "triton", lazily("coord_linear"), _why_not_triton)
dispatch.register("coord_linear_backward", "triton", lazily("coord_linear_backward"), _why_not_triton_backward)

coord_linear = differentiable(_forward_op, _backward_op, reference.coord_linear_backward, tensors=5)
