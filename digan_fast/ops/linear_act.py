"""``digan_fast::linear_act``: a linear layer with per-video weights, bias, activation, gain and clamp.

x is multiplied in the weight's type, which is the output's; its gradient has its own.  To-RGB layers in float32 read
bfloat16 activations this way.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from digan_fast import dispatch
from digan_fast.ops import _cuda as _cuda_border
from digan_fast.ops._capabilities import why_not, why_not_one_dtype
from digan_fast.ops._pointers import NATIVE_ACTIVATIONS, NATIVE_DTYPES, fresh, ptr, ptr_wide_or_narrow, wide
from digan_fast.ops._registry import define, differentiable
from digan_fast.ops._triton import lazily
from digan_fast.reference import linear_act as reference

_TENSORS = "Tensor x, Tensor weight, Tensor? bias"
_OPTIONS = "str activation, float gain, float? clamp"


def _shape(x: Tensor, weight: Tensor) -> tuple[int, ...]:
    return (*x.shape[:-1], weight.shape[1])


def _fake(x: Tensor, weight: Tensor, *_: Any) -> Tensor:
    return weight.new_empty(_shape(x, weight))


def _fake_backward(grad: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None, *_: Any) -> tuple[Tensor, ...]:
    dbias = grad.new_empty(weight.shape[1] if bias is None else bias.shape)
    return x.new_empty(x.shape), weight.new_empty(weight.shape), dbias


_forward_op = define("linear_act", f"({_TENSORS}, {_OPTIONS}) -> Tensor", reference.linear_act, _fake)
_backward_op = define(
    "linear_act_backward",
    f"(Tensor grad, {_TENSORS}, Tensor out, {_OPTIONS}) -> (Tensor, Tensor, Tensor)",
    reference.linear_act_backward,
    _fake_backward,
)


def _extents(x: Tensor, weight: Tensor, bias: Tensor | None) -> dict[str, int]:
    """Extents among the compiled functions' arguments."""
    return {
        "videos": len(x),
        "rows": math.prod(x.shape[1:-1]),
        "inputs": weight.shape[2],
        "outputs": weight.shape[1],
        "own_biases": bias is not None and bias.ndim == 2,
    }


def _options(activation: str, gain: float, clamp: float | None) -> dict[str, Any]:
    return {
        "activation": NATIVE_ACTIVATIONS.index(activation),
        "gain": gain,
        "clamp": math.inf if clamp is None else clamp,
    }


def _arguments(x: Tensor, weight: Tensor, bias: Tensor | None, out: Tensor, *options: Any) -> dict[str, Any]:
    return {
        "out": ptr_wide_or_narrow(out, "out"),
        "x": ptr_wide_or_narrow(x, "x"),
        "weight": ptr_wide_or_narrow(weight, "weight"),
        "bias": ptr(bias, "bias"),
        "number": NATIVE_DTYPES.index(weight.dtype),
        "x_number": NATIVE_DTYPES.index(x.dtype),
        "threads": torch.get_num_threads(),
        **_extents(x, weight, bias),
        **_options(*options),
    }


def _native_operand(x: Tensor, weight: Tensor, activation: str) -> Tensor:
    """x, contiguous, in a type that the native kernels multiply by this weight (linear_act_takes in csrc)."""
    few_outputs = weight.shape[1] <= min(_FEW_ROWS, math.prod(x.shape[1:-1])) and activation != "sine"
    if x.dtype == torch.bfloat16 and weight.dtype == torch.float32 and few_outputs:
        return x.contiguous()
    return x.to(weight.dtype).contiguous()


def _native(x: Tensor, weight: Tensor, bias: Tensor | None, *options: Any) -> Tensor:
    out = fresh(_shape(x, weight), weight.dtype)
    if out.numel() == 0 or x.shape[-1] == 0:
        return reference.linear_act(x, weight, bias, *options)
    x, weight, bias = _native_operand(x, weight, options[0]), weight.contiguous(), wide(bias)
    dispatch.native_module().linear_act_cpu(**_arguments(x, weight, bias, out, *options))
    return out


def _native_backward(
    grad: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None, out: Tensor, *options: Any
) -> tuple[Tensor, ...]:
    if out.numel() == 0 or x.shape[-1] == 0:
        return reference.linear_act_backward(grad, x, weight, bias, out, *options)
    grad, weight, out = grad.contiguous(), weight.contiguous(), out.contiguous()
    operand, bias = _native_operand(x, weight, options[0]), wide(bias)
    dx, dweight = fresh(operand.shape, operand.dtype), fresh(weight.shape)
    dbias = fresh(weight.shape[1:2] if bias is None else bias.shape)
    dispatch.native_module().linear_act_backward_cpu(
        **_arguments(operand, weight, bias, out, *options),
        grad=ptr_wide_or_narrow(grad, "grad"),
        dx=ptr_wide_or_narrow(dx, "dx"),
        dweight=ptr(dweight, "dweight"),
        dbias=ptr(dbias, "dbias"),
    )
    return dx.to(x.dtype), dweight.to(weight.dtype), dbias.to(grad.dtype)


def _why_not_native(x: Tensor, weight: Tensor, bias: Tensor | None, *options: Any) -> str | None:
    return why_not("linear_act", "native", options[-3], x=x, weight=weight, bias=bias)


def _why_not_native_backward(
    grad: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None, out: Tensor, *options: Any
) -> str | None:
    return _why_not_native(x, weight, bias, *options) or why_not_one_dtype(grad=grad, weight=weight, out=out)


dispatch.register("linear_act", "native", _native, _why_not_native)
dispatch.register("linear_act_backward", "native", _native_backward, _why_not_native_backward)


def _rows(x: Tensor) -> tuple[Tensor, bool]:
    """[B, M, I] contiguous, or [M, I] if the videos share it."""
    flat = x.flatten(1, -2)
    shared = len(flat) > 1 and flat.stride(0) == 0
    return (flat[0] if shared else flat).contiguous(), shared


def _cuda_options(x: Tensor, weight: Tensor, bias: Tensor | None, shared: bool, *options: Any) -> dict[str, Any]:
    """The CUDA kernels' arguments other than addresses."""
    return {
        "shared_x": shared,
        "number": NATIVE_DTYPES.index(x.dtype),
        "tf32": _cuda_border.multiplies_as_tf32(x.dtype),
        "stream": _cuda_border.stream(x),
        **_extents(x, weight, bias),
        **_options(*options),
    }


def _cuda(x: Tensor, weight: Tensor, bias: Tensor | None, *options: Any) -> Tensor:
    out = _fake(x, weight)
    if out.numel() == 0 or x.shape[-1] == 0:
        return reference.linear_act(x, weight, bias, *options)
    (rows, shared), weight, bias = _rows(x), weight.contiguous(), wide(bias)
    with _cuda_border.on_device(x):
        _cuda_border.module().linear_act_cuda(
            out=_cuda_border.address(out, "out"),
            x=_cuda_border.address(rows, "x"),
            weight=_cuda_border.address(weight, "weight"),
            bias=_cuda_border.address(bias, "bias"),
            **_cuda_options(x, weight, bias, shared, *options),
        )
    return out


def _cuda_backward(
    grad: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None, out: Tensor, *options: Any
) -> tuple[Tensor, ...]:
    if out.numel() == 0 or x.shape[-1] == 0:
        return reference.linear_act_backward(grad, x, weight, bias, out, *options)
    (rows, shared), weight, wide_bias = _rows(x), weight.contiguous(), wide(bias)
    grad, out = grad.contiguous(), out.contiguous()
    dx, dweight, dbias = _fake_backward(grad, x, weight, bias)
    dbias = torch.empty_like(dbias, dtype=torch.float32)
    module = _cuda_border.module()
    count = module.linear_act_cuda_partials(**_extents(x, weight, bias), number=NATIVE_DTYPES.index(x.dtype))
    partials = x.new_empty(count, dtype=torch.float32)
    dz = None if options == ("linear", 1.0, None) else torch.empty_like(grad)
    with _cuda_border.on_device(x):
        module.linear_act_backward_cuda(
            dx=_cuda_border.address(dx, "dx"),
            dweight=_cuda_border.address(dweight, "dweight"),
            dbias=_cuda_border.address(dbias, "dbias"),
            dz=_cuda_border.address(dz, "dz"),
            partials=_cuda_border.address(partials, "partials"),
            grad=_cuda_border.address(grad, "grad"),
            x=_cuda_border.address(rows, "x"),
            weight=_cuda_border.address(weight, "weight"),
            bias=_cuda_border.address(wide_bias, "bias"),
            out=_cuda_border.address(out, "saved"),
            **_cuda_options(x, weight, bias, shared, *options),
        )
    return dx, dweight, dbias.to(grad.dtype)


def _why_not_cuda(x: Tensor, weight: Tensor, bias: Tensor | None, *options: Any) -> str | None:
    return why_not("linear_act", "cuda", options[-3], x=x, weight=weight, bias=bias)


def _why_not_cuda_backward(
    grad: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None, out: Tensor, *options: Any
) -> str | None:
    reason = why_not("linear_act", "cuda", options[-3], grad=grad, x=x, weight=weight, bias=bias, out=out)
    return reason or why_not_one_dtype(grad=grad, weight=weight, out=out)


def _in_one_type(run: Callable[..., Any]) -> Callable[..., Any]:
    """A forward whose kernels multiply operands of one type, weight's."""
    return lambda x, weight, *rest: run(x.to(weight.dtype), weight, *rest)


def _backward_in_one_type(run: Callable[..., Any]) -> Callable[..., Any]:
    def converted(grad: Tensor, x: Tensor, weight: Tensor, *rest: Any) -> tuple[Tensor, ...]:
        dx, dweight, dbias = run(grad, x.to(weight.dtype), weight, *rest)
        return dx.to(x.dtype), dweight, dbias

    return converted


dispatch.register("linear_act", "cuda", _in_one_type(_cuda), _why_not_cuda)
dispatch.register("linear_act_backward", "cuda", _backward_in_one_type(_cuda_backward), _why_not_cuda_backward)


def _why_not_triton(x: Tensor, weight: Tensor, bias: Tensor | None, *options: Any) -> str | None:
    return why_not("linear_act", "triton", options[-3], x=x, weight=weight, bias=bias)


def _why_not_triton_backward(
    grad: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None, out: Tensor, *options: Any
) -> str | None:
    return _why_not_triton(x, weight, bias, *options) or why_not_one_dtype(weight=weight, grad=grad, out=out)


dispatch.register("linear_act", "triton", _in_one_type(lazily("linear_act")), _why_not_triton)
dispatch.register(
    "linear_act_backward", "triton", _backward_in_one_type(lazily("linear_act_backward")), _why_not_triton_backward
)

# Elements from which a matrix is large, and rows up to which the native kernel multiplies it in one pass and is
# memory-bandwidth-bound (csrc/cpu/gemm/skinny_kernel.h).
_LARGE = 2**20
_FEW_ROWS = 8

linear_act = differentiable("linear_act", _forward_op, _backward_op, reference.linear_act_backward, tensors=3)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``F.linear``, with the native kernel for few rows and a large matrix: x [N, I], weight [O, I], bias [O]."""
    large = weight.numel() >= _LARGE and x.device.type == "cpu" and x.dtype == weight.dtype == torch.float32
    # Tracing must not ask for the number of rows, which would specialise the graph to it.
    if large and dispatch.runs_natively() and x.ndim == 2 and 1 <= x.shape[0] <= _FEW_ROWS:
        return linear_act(x.unsqueeze(0), weight.unsqueeze(0), bias, "linear", 1.0, None).squeeze(0)
    return F.linear(x, weight, bias)
