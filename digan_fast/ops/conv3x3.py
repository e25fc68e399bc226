"""``digan_fast::conv3x3`` and its two gradients; derivatives of any order are again these three."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from digan_fast import dispatch
from digan_fast.ops._capabilities import why_not, why_not_one_dtype
from digan_fast.ops._pointers import NATIVE_DTYPES, fresh, ptr, ptr_wide_or_narrow, wide
from digan_fast.ops._registry import composable, define, layout
from digan_fast.reference import conv3x3 as reference
from digan_fast.shapes import check_shape

# From where minimal filtering is faster than oneDNN's direct convolution, for each stride: the fewest channels on both
# sides, and with them the fewest pixels of output in a batch.  On two Zen 5 cores at DIGAN's sizes oneDNN takes 1.1 to
# 3.3 times as long.
_PAYS = {
    "output": {1: [(48, 512)], 2: [(128, 4096), (256, 1024)]},
    "weight": {1: [(64, 16)], 2: [(64, 16)]},
}

# The same in bfloat16, by the processor's fastest unit for it; with others, such as AMX's, all is left to oneDNN.  On
# the same cores, of layers with 256 and 512 channels and 32² pixels or more in batches of four, it takes 1.1 to 1.8
# times as long with vdpbf16ps (stride 1), and held to AVX-512 without it 3 to 16 times.
_PAYS_IN_BFLOAT16 = {
    "vdpbf16ps": {"output": {1: [(128, 4096), (512, 2048)], 2: []}, "weight": {1: [(64, 512)], 2: []}},
    "fma": {"output": {1: [(16, 512)], 2: [(32, 1024)]}, "weight": {1: [(16, 32)], 2: [(16, 32)]}},
}


def _fake(x: Tensor, weight: Tensor, stride: int, padding: int, gain: float) -> Tensor:
    size = reference.output_size(x.shape[2:], stride, padding)
    return torch.empty((len(x), len(weight), *size), dtype=x.dtype, device=x.device, memory_format=layout(x))


def _fake_input_gradient(
    grad: Tensor, weight: Tensor, size: Sequence[int], stride: int, padding: int, gain: float
) -> Tensor:
    shape = (len(grad), weight.shape[1], *size)
    return torch.empty(shape, dtype=grad.dtype, device=grad.device, memory_format=layout(grad))


def _fake_weight_gradient(grad: Tensor, x: Tensor, stride: int, padding: int, gain: float) -> Tensor:
    return grad.new_empty(grad.shape[1], x.shape[1], 3, 3)


def _last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def _address(x: Tensor, name: str) -> int:
    return ptr_wide_or_narrow(x.movedim(1, 3), name)


def _options(
    dtype: torch.dtype, x_shape: Sequence[int], outputs: int, stride: int, padding: int, gain: float
) -> dict[str, Any]:
    images, inputs, height, width = x_shape
    return {
        "number": NATIVE_DTYPES.index(dtype),
        "images": images,
        "inputs": inputs,
        "outputs": outputs,
        "height": height,
        "width": width,
        "stride": stride,
        "padding": padding,
        "gain": gain,
        "threads": torch.get_num_threads(),
    }


def _output_size(size: Sequence[int], stride: int, padding: int) -> tuple[int, int]:
    """Kernels read as far as this and the other tensor's shape say."""
    if len(size) != 2 or min(size) + 2 * padding < 3:
        raise ValueError(f"size: {tuple(size)}, expected height and width of {3 - 2 * padding} at least")
    return reference.output_size(size, stride, padding)


def _empty_last(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    return fresh(shape, dtype, torch.channels_last)


def _native(x: Tensor, weight: Tensor, stride: int, padding: int, gain: float) -> Tensor:
    check_shape("x", x, ("N", "I", "H", "W"))
    check_shape("weight", weight, ("O", x.shape[1], 3, 3))
    out = _empty_last((len(x), len(weight), *_output_size(x.shape[2:], stride, padding)), x.dtype)
    if 0 in (*x.shape, *weight.shape, *out.shape):
        return out.zero_()
    x, weight = _last(x), wide(weight)
    dispatch.native_module().conv3x3_cpu(
        out=_address(out, "out"),
        x=_address(x, "x"),
        weight=ptr(weight, "weight"),
        **_options(x.dtype, x.shape, len(weight), stride, padding, gain),
    )
    return out


def _native_input_gradient(
    grad: Tensor, weight: Tensor, size: Sequence[int], stride: int, padding: int, gain: float
) -> Tensor:
    out_size = _output_size(size, stride, padding)
    check_shape("grad", grad, ("N", "O", *out_size))
    check_shape("weight", weight, (grad.shape[1], "I", 3, 3))
    dx = _empty_last((len(grad), weight.shape[1], *size), grad.dtype)
    if 0 in (*grad.shape, *weight.shape, *dx.shape):
        return dx.zero_()
    grad, weight = _last(grad), wide(weight)
    dispatch.native_module().conv3x3_input_gradient_cpu(
        dx=_address(dx, "dx"),
        grad=_address(grad, "grad"),
        weight=ptr(weight, "weight"),
        **_options(dx.dtype, dx.shape, len(weight), stride, padding, gain),
    )
    return dx


def _native_weight_gradient(grad: Tensor, x: Tensor, stride: int, padding: int, gain: float) -> Tensor:
    check_shape("x", x, ("N", "I", "H", "W"))
    check_shape("grad", grad, (len(x), "O", *_output_size(x.shape[2:], stride, padding)))
    dweight = fresh((grad.shape[1], x.shape[1], 3, 3))
    if 0 in (*grad.shape, *x.shape):
        return dweight.zero_().to(x.dtype)
    grad, x = _last(grad), _last(x)
    dispatch.native_module().conv3x3_weight_gradient_cpu(
        dweight=ptr(dweight, "dweight"),
        grad=_address(grad, "grad"),
        x=_address(x, "x"),
        **_options(x.dtype, x.shape, grad.shape[1], stride, padding, gain),
    )
    return dweight.to(x.dtype)


def _why_not(*args: Any) -> str | None:
    first, second = args[:2]
    unable = why_not("conv3x3", "native", "linear", first=first, second=second)
    return unable or why_not_one_dtype(first=first, second=second)


_op = define(
    "conv3x3",
    "(Tensor x, Tensor weight, int stride, int padding, float gain) -> Tensor",
    reference.conv3x3,
    _fake,
    like=0,
)
_input_gradient_op = define(
    "conv3x3_input_backward",
    "(Tensor grad, Tensor weight, int[] size, int stride, int padding, float gain) -> Tensor",
    reference.input_gradient,
    _fake_input_gradient,
    like=0,
)
_weight_gradient_op = define(
    "conv3x3_weight_backward",
    "(Tensor grad, Tensor x, int stride, int padding, float gain) -> Tensor",
    reference.weight_gradient,
    _fake_weight_gradient,
)
dispatch.register("conv3x3", "native", _native, _why_not)
dispatch.register("conv3x3_input_backward", "native", _native_input_gradient, _why_not)
dispatch.register("conv3x3_weight_backward", "native", _native_weight_gradient, _why_not)


class _Conv3x3(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int, padding: int, gain: float) -> Any:
        # A factor is kept only for the other one's gradient.
        by_x, by_weight = ctx.needs_input_grad[:2]
        ctx.save_for_backward(x if by_weight else None, weight if by_x else None)
        ctx.size, ctx.options = x.shape[2:], (stride, padding, gain)
        return _op(x, weight, stride, padding, gain)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        x, weight = ctx.saved_tensors
        dx = None if weight is None else input_gradient(grads[0], weight, ctx.size, *ctx.options)
        dweight = None if x is None else weight_gradient(grads[0], x, *ctx.options)
        return dx, dweight, None, None, None


class _InputGradient(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, grad: Tensor, weight: Tensor, size: Sequence[int], stride: int, padding: int, gain: float
    ) -> Any:
        by_grad, by_weight = ctx.needs_input_grad[:2]
        ctx.save_for_backward(grad if by_weight else None, weight if by_grad else None)
        ctx.options = (stride, padding, gain)
        return _input_gradient_op(grad, weight, size, stride, padding, gain)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        grad, weight = ctx.saved_tensors
        dgrad = None if weight is None else conv3x3(grads[0], weight, *ctx.options)
        dweight = None if grad is None else weight_gradient(grad, grads[0], *ctx.options)
        return dgrad, dweight, None, None, None, None


class _WeightGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, grad: Tensor, x: Tensor, stride: int, padding: int, gain: float) -> Any:
        by_grad, by_x = ctx.needs_input_grad[:2]
        ctx.save_for_backward(grad if by_x else None, x if by_grad else None)
        ctx.size, ctx.options = x.shape[2:], (stride, padding, gain)
        return _weight_gradient_op(grad, x, stride, padding, gain)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        grad, x = ctx.saved_tensors
        dgrad = None if x is None else conv3x3(x, grads[0], *ctx.options)
        dx = None if grad is None else input_gradient(grad, grads[0], ctx.size, *ctx.options)
        return dgrad, dx, None, None, None


def _native_runs(*tensors: Tensor) -> bool:
    return dispatch.runs_natively() and all(t.device.type == "cpu" for t in tensors) and not _why_not(*tensors)


def _pays(result: str, images: Tensor, weight: Sequence[int], size: Sequence[int], stride: int) -> bool:
    """Whether minimal filtering computes the result faster; it always does if it is asked for by name."""
    wide = images.dtype == torch.float32
    table = _PAYS if wide else _PAYS_IN_BFLOAT16.get(dispatch.native_module().bfloat16_unit())
    least, count = min(weight[:2]), len(images) * size[0] * size[1]
    cases: Sequence[tuple[int, int]] = table[result][stride] if table else ()
    enough = any(least >= channels and count >= pixels for channels, pixels in cases)
    return enough or dispatch.requested() == "native"


def _differentiable(
    name: str, function: type[torch.autograd.Function], op: Any, pays: Callable[..., bool]
) -> Callable[..., Tensor]:
    """``op``, or its reference, which is PyTorch's convolution, wherever that is the faster."""
    formula = dispatch.reference(name)

    def run(*args: Any) -> Tensor:
        if not (_native_runs(*args[:2]) and pays(*args)):
            composed: Tensor = formula(*args)
            return composed
        needs_grad = torch.is_grad_enabled() and any(arg.requires_grad for arg in args[:2])
        found: Tensor = function.apply(*args) if needs_grad else op(*args)
        return found

    return composable(name, run)


def _output_pays(x: Tensor, weight: Tensor, stride: int, padding: int, gain: float) -> bool:
    size = reference.output_size(x.shape[2:], stride, padding)
    return _pays("output", x, weight.shape, size, stride)


def _input_pays(grad: Tensor, weight: Tensor, size: Sequence[int], stride: int, padding: int, gain: float) -> bool:
    return _pays("output", grad, weight.shape, grad.shape[2:], stride)


def _weight_pays(grad: Tensor, x: Tensor, stride: int, padding: int, gain: float) -> bool:
    return _pays("weight", grad, (grad.shape[1], x.shape[1]), grad.shape[2:], stride)


conv3x3 = _differentiable("conv3x3", _Conv3x3, _op, _output_pays)
input_gradient = _differentiable("conv3x3_input_backward", _InputGradient, _input_gradient_op, _input_pays)
weight_gradient = _differentiable("conv3x3_weight_backward", _WeightGradient, _weight_gradient_op, _weight_pays)
