"""``digan_fast::coord_linear``: a linear layer of sines and cosines of coordinate phases, which are never stored."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from digan_fast import dispatch
from digan_fast.ops import _cuda as _cuda_border
from digan_fast.ops._capabilities import why_not, why_not_one_dtype
from digan_fast.ops._pointers import NATIVE_ACTIVATIONS, NATIVE_DTYPES, fresh, ptr, ptr_wide_or_narrow, wide
from digan_fast.ops._registry import define, differentiable
from digan_fast.ops._triton import lazily
from digan_fast.reference import coord_linear as reference

_TENSORS = "Tensor? base, Tensor frequency, Tensor phase, Tensor weight, Tensor? bias"
_OPTIONS = "int[] grid, str activation, float gain, float? clamp"


def _shape(phase: Tensor, weight: Tensor, grid: Sequence[int]) -> tuple[int, ...]:
    return (*phase.shape[:2], grid[3], grid[4], weight.shape[1])


def _fake(
    base: Tensor | None,
    frequency: Tensor,
    phase: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    grid: Sequence[int],
    *_: Any,
) -> Tensor:
    return weight.new_empty(_shape(phase, weight, grid))


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


def _extents(phase: Tensor, weight: Tensor, grid: Sequence[int]) -> dict[str, int]:
    """Extents among the compiled functions' arguments."""
    named = zip(("side", "top", "left", "height", "width"), grid, strict=True)
    batch, frames, sinusoids = phase.shape
    return {"videos": batch, "frames": frames, "sinusoids": sinusoids, "outputs": weight.shape[1], **dict(named)}


def _options(activation: str, gain: float, clamp: float | None) -> dict[str, Any]:
    return {
        "activation": NATIVE_ACTIVATIONS.index(activation),
        "gain": gain,
        "clamp": math.inf if clamp is None else clamp,
    }


def _arguments(tensors: Sequence[Any], grid: Sequence[int], *options: Any) -> dict[str, Any]:
    base, frequency, phase, weight, bias, out = tensors
    return {
        "out": ptr_wide_or_narrow(out, "out"),
        "base": ptr_wide_or_narrow(base, "base"),
        "frequency": ptr(frequency, "frequency"),
        "phase": ptr(phase, "phase"),
        "weight": ptr_wide_or_narrow(weight, "weight"),
        "bias": ptr(bias, "bias"),
        "number": NATIVE_DTYPES.index(weight.dtype),
        "threads": torch.get_num_threads(),
        **_extents(phase, weight, grid),
        **_options(*options),
    }


def _contiguous(tensors: Sequence[Tensor | None]) -> list[Any]:
    return [None if tensor is None else tensor.contiguous() for tensor in tensors]


def _native_tensors(base: Tensor | None, *tensors: Tensor | None) -> list[Any]:
    """Contiguous, as the native kernels take them: sinusoids and bias in float32."""
    frequency, phase, weight, bias = tensors
    base, weight = _contiguous([base, weight])
    return [base, wide(frequency), wide(phase), weight, wide(bias)]


def _native(*args: Any) -> Tensor:
    tensors, options = _native_tensors(*args[:5]), args[5:]
    out = fresh(_shape(tensors[2], tensors[3], options[0]), tensors[3].dtype)
    if out.numel() == 0 or tensors[1].numel() == 0:
        return reference.coord_linear(*args)
    dispatch.native_module().coord_linear_cpu(**_arguments([*tensors, out], *options))
    return out


def _native_backward(grad: Tensor, *args: Any) -> tuple[Tensor, ...]:
    tensors, options = _native_tensors(*args[:5]), args[6:]
    out, contiguous_grad = _contiguous((args[5], grad))
    if out.numel() == 0 or tensors[1].numel() == 0:
        return reference.coord_linear_backward(grad, *args)
    base, frequency, phase, weight, _ = tensors
    dbase = fresh((0,) if base is None else base.shape, grad.dtype)
    dfrequency, dphase = torch.empty_like(frequency), torch.empty_like(phase)
    dweight, dbias = fresh(weight.shape), fresh(weight.shape[1:2])
    dispatch.native_module().coord_linear_backward_cpu(
        **_arguments([*tensors, out], *options),
        grad=ptr_wide_or_narrow(contiguous_grad, "grad"),
        dbase=0 if base is None else ptr_wide_or_narrow(dbase, "dbase"),
        dfrequency=ptr(dfrequency, "dfrequency"),
        dphase=ptr(dphase, "dphase"),
        dweight=ptr(dweight, "dweight"),
        dbias=ptr(dbias, "dbias"),
    )
    frequency, phase, weight = args[1:4]
    return (
        dbase,
        dfrequency.to(frequency.dtype),
        dphase.to(phase.dtype),
        dweight.to(weight.dtype),
        dbias.to(grad.dtype),
    )


def _why_not_native(
    base: Tensor | None, frequency: Tensor, phase: Tensor, weight: Tensor, bias: Tensor | None, *options: Any
) -> str | None:
    tensors = {"base": base, "frequency": frequency, "phase": phase, "weight": weight, "bias": bias}
    return why_not("coord_linear", "native", options[-3], **tensors) or why_not_one_dtype(base=base, weight=weight)


def _why_not_native_backward(grad: Tensor, *args: Any) -> str | None:
    reason = _why_not_native(*args[:5], *args[6:])
    return reason or why_not_one_dtype(grad=grad, weight=args[3], out=args[5])


dispatch.register("coord_linear", "native", _native, _why_not_native)
dispatch.register("coord_linear_backward", "native", _native_backward, _why_not_native_backward)


def _cuda_options(phase: Tensor, weight: Tensor, grid: Sequence[int], *options: Any) -> dict[str, Any]:
    """The CUDA kernels' arguments other than addresses."""
    return {
        "number": NATIVE_DTYPES.index(weight.dtype),
        "tf32": _cuda_border.multiplies_as_tf32(weight.dtype),
        "stream": _cuda_border.stream(weight),
        **_extents(phase, weight, grid),
        **_options(*options),
    }


def _cuda(*args: Any) -> Tensor:
    (base, frequency, phase, weight, bias), options = args[:5], args[5:]
    out = _fake(*args)
    if out.numel() == 0 or frequency.numel() == 0:
        return reference.coord_linear(*args)
    base, weight = _contiguous([base, weight])
    bias, wide_frequency, wide_phase = map(wide, (bias, frequency, phase))
    with _cuda_border.on_device(weight):
        _cuda_border.module().coord_linear_cuda(
            out=_cuda_border.address(out, "out"),
            base=_cuda_border.address(base, "base"),
            frequency=_cuda_border.address(wide_frequency, "frequency"),
            phase=_cuda_border.address(wide_phase, "phase"),
            weight=_cuda_border.address(weight, "weight"),
            bias=_cuda_border.address(bias, "bias"),
            **_cuda_options(phase, weight, *options),
        )
    return out


def _cuda_backward(grad: Tensor, *args: Any) -> tuple[Tensor, ...]:
    (base, frequency, phase, weight, _, out), options = args[:6], args[6:]
    if out.numel() == 0 or frequency.numel() == 0:
        return reference.coord_linear_backward(grad, *args)
    grad, base, weight, out = _contiguous([grad, base, weight, out])
    wide_frequency, wide_phase = wide(frequency), wide(phase)
    dbase, _, _, dweight, dbias = _fake_backward(grad, *args)
    dbias = torch.empty_like(dbias, dtype=torch.float32)
    (batch, frames, sinusoids), module = phase.shape, _cuda_border.module()
    dtheta = dbias.new_empty((batch, frames, 3, sinusoids))
    dvideo = dbias.new_empty((batch, 3, sinusoids))
    count = module.coord_linear_cuda_partials(
        **_extents(phase, weight, options[0]),
        base=_cuda_border.address(base, "base"),
        number=NATIVE_DTYPES.index(weight.dtype),
    )
    partials = dbias.new_empty(count)
    dz = None if options[1:] == ("linear", 1.0, None) else torch.empty_like(grad)
    with _cuda_border.on_device(weight):
        module.coord_linear_backward_cuda(
            dbase=0 if base is None else _cuda_border.address(dbase, "dbase"),
            dtheta=_cuda_border.address(dtheta, "dtheta"),
            dvideo=_cuda_border.address(dvideo, "dvideo"),
            dweight=_cuda_border.address(dweight, "dweight"),
            dbias=_cuda_border.address(dbias, "dbias"),
            dz=_cuda_border.address(dz, "dz"),
            partials=_cuda_border.address(partials, "partials"),
            grad=_cuda_border.address(grad, "grad"),
            base=_cuda_border.address(base, "base"),
            frequency=_cuda_border.address(wide_frequency, "frequency"),
            phase=_cuda_border.address(wide_phase, "phase"),
            weight=_cuda_border.address(weight, "weight"),
            bias=0,
            out=_cuda_border.address(out, "saved"),
            **_cuda_options(phase, weight, *options),
        )
    dfrequency = dvideo[:, 1:].transpose(1, 2).to(frequency.dtype)
    return dbase, dfrequency, dtheta[:, :, 0].to(phase.dtype), dweight, dbias.to(grad.dtype)


def _why_not_cuda(
    base: Tensor | None, frequency: Tensor, phase: Tensor, weight: Tensor, bias: Tensor | None, *options: Any
) -> str | None:
    tensors = {"base": base, "frequency": frequency, "phase": phase, "weight": weight, "bias": bias}
    return why_not("coord_linear", "cuda", options[-3], **tensors) or why_not_one_dtype(base=base, weight=weight)


def _why_not_cuda_backward(grad: Tensor, *args: Any) -> str | None:
    reason = _why_not_cuda(*args[:5], *args[6:]) or why_not("coord_linear", "cuda", args[-3], grad=grad, out=args[5])
    return reason or why_not_one_dtype(grad=grad, weight=args[3], out=args[5])


dispatch.register("coord_linear", "cuda", _cuda, _why_not_cuda)
dispatch.register("coord_linear_backward", "cuda", _cuda_backward, _why_not_cuda_backward)


def _why_not_triton(
    base: Tensor | None, frequency: Tensor, phase: Tensor, weight: Tensor, bias: Tensor | None, *options: Any
) -> str | None:
    tensors = {"base": base, "frequency": frequency, "phase": phase, "weight": weight, "bias": bias}
    return why_not("coord_linear", "triton", options[-3], **tensors)


def _why_not_triton_backward(grad: Tensor, *args: Any) -> str | None:
    reason = _why_not_triton(*args[:5], *args[6:])
    return reason or why_not_one_dtype(grad=grad, weight=args[3], out=args[5])


dispatch.register("coord_linear", "triton", lazily("coord_linear"), _why_not_triton)
dispatch.register("coord_linear_backward", "triton", lazily("coord_linear_backward"), _why_not_triton_backward)

coord_linear = differentiable("coord_linear", _forward_op, _backward_op, reference.coord_linear_backward, tensors=5)
