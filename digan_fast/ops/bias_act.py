"""``digan_fast::bias_act``: bias, activation, gain and clamp in one pass."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from digan_fast import dispatch
from digan_fast.ops import _cuda as _cuda_border
from digan_fast.ops._capabilities import why_not, why_not_one_dtype
from digan_fast.ops._pointers import NATIVE_ACTIVATIONS, NATIVE_DTYPES, fresh, one_number, ptr, ptr_wide_or_narrow, wide
from digan_fast.ops._registry import define, differentiable, layout
from digan_fast.ops._triton import lazily
from digan_fast.reference import bias_act as reference
from digan_fast.reference.activations import ACTIVATIONS, SLOPE

_OPTIONS = "int dim, str activation, float gain, float? clamp"


def _fake(x: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(x, memory_format=layout(x))


def _fake_backward(
    grad: Tensor, x: Tensor | None, bias: Tensor | None, out: Tensor, dim: int, *_: Any
) -> tuple[Tensor, Tensor]:
    return torch.empty_like(grad, memory_format=layout(out)), grad.new_empty(grad.shape[dim])


def _keep(x: Tensor, bias: Tensor | None, dim: int, activation: str, *_: Any) -> Any:
    return (None, None) if ACTIVATIONS[activation].homogeneous else (x, bias)


def _linear(dim: int, activation: str, *_: Any) -> bool:
    return ACTIVATIONS[activation].homogeneous


def _adjoint(out: Tensor, ddx: Tensor | None, ddbias: Tensor | None, dim: int, *_: Any) -> Tensor | None:
    """dx = grad · s, with s 0, slope or gain, and dbias = Σ dx: the derivative by grad is (ddx + ddbias) · s."""
    if ddbias is None:
        return ddx
    along = ddbias.view([-1 if axis == dim else 1 for axis in range(out.ndim)])
    return along.expand_as(out) if ddx is None else ddx + along


def _options(x: Tensor, dim: int, activation: str, gain: float, clamp: float | None) -> dict[str, Any]:
    """The compiled functions' arguments other than addresses; x contiguous."""
    return {
        "outer": math.prod(x.shape[:dim]),
        "channels": x.shape[dim],
        "inner": math.prod(x.shape[dim + 1 :]),
        "activation": NATIVE_ACTIVATIONS.index(activation),
        "number": NATIVE_DTYPES.index(x.dtype),
        "alpha": SLOPE if activation == "lrelu" else 1.0,
        "gain": gain,
        "clamp": math.inf if clamp is None else clamp,
    }


def _native(x: Tensor, bias: Tensor | None, dim: int, activation: str, gain: float, clamp: float | None) -> Tensor:
    if dim == 1 and layout(x) == torch.channels_last:
        return _native(x.movedim(1, 3), bias, 3, activation, gain, clamp).movedim(3, 1)
    x = x.contiguous()
    out = fresh(x.shape, x.dtype)
    bias = wide(bias)
    dispatch.native_module().bias_act_cpu(
        out=ptr_wide_or_narrow(out, "out"),
        x=ptr_wide_or_narrow(x, "x"),
        bias=ptr(bias, "bias"),
        threads=torch.get_num_threads(),
        **_options(x, dim, activation, gain, clamp),
    )
    return out


def _native_backward(
    grad: Tensor,
    x: Tensor | None,
    bias: Tensor | None,
    out: Tensor,
    dim: int,
    activation: str,
    gain: float,
    clamp: float | None,
) -> tuple[Tensor, Tensor]:
    if dim == 1 and layout(out) == torch.channels_last:
        last = None if x is None else x.movedim(1, 3)
        dx, dbias = _native_backward(grad.movedim(1, 3), last, bias, out.movedim(1, 3), 3, activation, gain, clamp)
        return dx.movedim(3, 1), dbias
    if out.numel() == 0:
        return torch.empty_like(out), out.new_zeros(out.shape[dim])
    out = out.contiguous()
    x = None if x is None or ACTIVATIONS[activation].homogeneous else x.contiguous()
    number = one_number(grad)
    grad = grad.contiguous() if number is None else number
    dx = fresh(out.shape, out.dtype)
    dbias = fresh((out.shape[dim],))
    bias = wide(bias)
    dispatch.native_module().bias_act_backward_cpu(
        dx=ptr_wide_or_narrow(dx, "dx"),
        dbias=ptr(dbias, "dbias"),
        grad=ptr_wide_or_narrow(grad, "grad"),
        x=ptr_wide_or_narrow(x, "x"),
        bias=ptr(bias, "bias"),
        out=ptr_wide_or_narrow(out, "out"),
        grad_expanded=number is not None,
        threads=torch.get_num_threads(),
        **_options(out, dim, activation, gain, clamp),
    )
    return dx, dbias.to(out.dtype)


def _why_not_native(x: Tensor, bias: Tensor | None, dim: int, activation: str, *_: Any) -> str | None:
    return why_not("bias_act", "native", activation, x=x, bias=bias)


def _why_not_native_backward(
    grad: Tensor, x: Tensor | None, bias: Tensor | None, out: Tensor, dim: int, activation: str, *_: Any
) -> str | None:
    for name, tensor in (("grad", grad), ("x", x)):
        if tensor is not None and tensor.dtype != out.dtype:
            return f"{name} is {tensor.dtype} and out {out.dtype}"
    return why_not("bias_act", "native", activation, out=out, bias=bias)


_forward_op = define("bias_act", f"(Tensor x, Tensor? bias, {_OPTIONS}) -> Tensor", reference.bias_act, _fake, like=0)
_backward_op = define(
    "bias_act_backward",
    f"(Tensor grad, Tensor? x, Tensor? bias, Tensor out, {_OPTIONS}) -> (Tensor, Tensor)",
    reference.bias_act_backward,
    _fake_backward,
    like=3,
)
dispatch.register("bias_act", "native", _native, _why_not_native)
dispatch.register("bias_act_backward", "native", _native_backward, _why_not_native_backward)


def _cuda_options(x: Tensor, *options: Any) -> dict[str, Any]:
    """The same for the CUDA kernels."""
    return {**_options(x, *options), "stream": _cuda_border.stream(x)}


def _cuda(x: Tensor, bias: Tensor | None, dim: int, activation: str, gain: float, clamp: float | None) -> Tensor:
    if dim == 1 and layout(x) == torch.channels_last:
        return _cuda(x.movedim(1, 3), bias, 3, activation, gain, clamp).movedim(3, 1)
    x = x.contiguous()
    out, bias = torch.empty_like(x), wide(bias)
    if out.numel() == 0:
        return out
    with _cuda_border.on_device(x):
        _cuda_border.module().bias_act_cuda(
            out=_cuda_border.address(out, "out"),
            x=_cuda_border.address(x, "x"),
            bias=_cuda_border.address(bias, "bias"),
            **_cuda_options(x, dim, activation, gain, clamp),
        )
    return out


def _cuda_backward(
    grad: Tensor,
    x: Tensor | None,
    bias: Tensor | None,
    out: Tensor,
    dim: int,
    activation: str,
    gain: float,
    clamp: float | None,
) -> tuple[Tensor, Tensor]:
    if dim == 1 and layout(out) == torch.channels_last:
        last = None if x is None else x.movedim(1, 3)
        dx, dbias = _cuda_backward(grad.movedim(1, 3), last, bias, out.movedim(1, 3), 3, activation, gain, clamp)
        return dx.movedim(3, 1), dbias
    out, grad, bias = out.contiguous(), grad.contiguous(), wide(bias)
    x = None if x is None or ACTIVATIONS[activation].homogeneous else x.contiguous()
    if out.numel() == 0:
        return torch.empty_like(out), out.new_zeros(out.shape[dim])
    options, module = _cuda_options(out, dim, activation, gain, clamp), _cuda_border.module()
    channels = options["channels"]
    parts = module.bias_act_cuda_parts(options["outer"], options["inner"])
    dx = torch.empty_like(out)
    dbias, partials = dx.new_empty(channels, dtype=torch.float32), dx.new_empty(parts * channels, dtype=torch.float32)
    with _cuda_border.on_device(dx):
        module.bias_act_backward_cuda(
            dx=_cuda_border.address(dx, "dx"),
            dbias=_cuda_border.address(dbias, "dbias"),
            partials=_cuda_border.address(partials, "partials"),
            grad=_cuda_border.address(grad, "grad"),
            x=_cuda_border.address(x, "x"),
            bias=_cuda_border.address(bias, "bias"),
            out=_cuda_border.address(out, "saved"),
            **options,
        )
    return dx, dbias.to(out.dtype)


def _why_not_cuda(x: Tensor, bias: Tensor | None, dim: int, activation: str, *_: Any) -> str | None:
    return why_not("bias_act", "cuda", activation, x=x, bias=bias)


def _why_not_cuda_backward(
    grad: Tensor, x: Tensor | None, bias: Tensor | None, out: Tensor, dim: int, activation: str, *_: Any
) -> str | None:
    reason = why_not("bias_act", "cuda", activation, grad=grad, x=x, bias=bias, out=out)
    return reason or why_not_one_dtype(grad=grad, x=x, out=out)


dispatch.register("bias_act", "cuda", _cuda, _why_not_cuda)
dispatch.register("bias_act_backward", "cuda", _cuda_backward, _why_not_cuda_backward)


def _why_not_triton(x: Tensor, bias: Tensor | None, dim: int, activation: str, *_: Any) -> str | None:
    return why_not("bias_act", "triton", activation, x=x, bias=bias)


def _why_not_triton_backward(
    grad: Tensor, x: Tensor | None, bias: Tensor | None, out: Tensor, dim: int, activation: str, *_: Any
) -> str | None:
    return why_not("bias_act", "triton", activation, grad=grad, x=x, bias=bias, out=out)


dispatch.register("bias_act", "triton", lazily("bias_act"), _why_not_triton)
dispatch.register("bias_act_backward", "triton", lazily("bias_act_backward"), _why_not_triton_backward)

bias_act = differentiable(
    "bias_act",
    _forward_op,
    _backward_op,
    reference.bias_act_backward,
    tensors=2,
    keep=_keep,
    linear=_linear,
    adjoint=_adjoint,
)
