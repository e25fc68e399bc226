"""``digan_fast::upfirdn2d``: FIR up- and downsampling; its derivative of any order is itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from digan_fast import dispatch
from digan_fast.ops import _cuda as _cuda_border
from digan_fast.ops._capabilities import why_not
from digan_fast.ops._pointers import fresh, ptr, ptr_wide_or_narrow
from digan_fast.ops._registry import composable, define, layout
from digan_fast.ops._triton import lazily
from digan_fast.reference import upfirdn2d as reference


def _fake(x: Tensor, filter: Tensor, up: int, down: int, padding: Sequence[int], flip: bool, gain: float) -> Tensor:
    size = reference.output_size(x.shape[2:], filter.shape, up, down, padding)
    return torch.empty((*x.shape[:2], *size), dtype=x.dtype, device=x.device, memory_format=layout(x))


def _taps(filter: Tensor, flip: bool, gain: float) -> Tensor:
    """In float32, in the order of a correlation."""
    taps = (filter.to(torch.float32) * gain).contiguous()
    return taps if flip else taps.flip((0, 1))


def _native(x: Tensor, filter: Tensor, up: int, down: int, padding: Sequence[int], flip: bool, gain: float) -> Tensor:
    taps = _taps(filter, flip, gain)
    batch, channels, height, width = x.shape
    size = reference.output_size((height, width), taps.shape, up, down, padding)
    last = layout(x) == torch.channels_last
    x = x.contiguous(memory_format=layout(x))
    out = fresh(torch.empty((batch, channels, *size), dtype=x.dtype, memory_format=layout(x)))
    dispatch.native_module().upfirdn2d_cpu(
        out=ptr_wide_or_narrow(out.movedim(1, 3) if last else out, "out"),
        x=ptr_wide_or_narrow(x.movedim(1, 3) if last else x, "x"),
        filter=ptr(taps, "filter"),
        images=batch if last else batch * channels,
        channels=channels if last else 1,
        size=(height, width),
        out_size=size,
        taps=tuple(taps.shape),
        before=(padding[2], padding[0]),
        up=up,
        down=down,
        bfloat16=x.dtype == torch.bfloat16,
        threads=torch.get_num_threads(),
    )
    return out


def _why_not_native(x: Tensor, filter: Tensor, *_: Any) -> str | None:
    if x.device.type != "cpu" or filter.device.type != "cpu":
        return f"x is on {x.device}, filter on {filter.device}"
    return why_not("upfirdn2d", "native", "linear", x=x)


def _cuda(x: Tensor, filter: Tensor, up: int, down: int, padding: Sequence[int], flip: bool, gain: float) -> Tensor:
    taps = _taps(filter, flip, gain)
    batch, channels, height, width = x.shape
    size = reference.output_size((height, width), taps.shape, up, down, padding)
    last = layout(x) == torch.channels_last
    x = x.contiguous(memory_format=layout(x))
    out = torch.empty((batch, channels, *size), dtype=x.dtype, device=x.device, memory_format=layout(x))
    if 0 in (*x.shape, *out.shape):
        return out.zero_()
    with _cuda_border.on_device(x):
        _cuda_border.module().upfirdn2d_cuda(
            out=_cuda_border.address(out.movedim(1, 3) if last else out, "out"),
            x=_cuda_border.address(x.movedim(1, 3) if last else x, "x"),
            filter=_cuda_border.address(taps, "filter"),
            images=batch if last else batch * channels,
            channels=channels if last else 1,
            size=(height, width),
            out_size=size,
            taps=tuple(taps.shape),
            before=(padding[2], padding[0]),
            up=up,
            down=down,
            number=_cuda_border.DTYPES.index(x.dtype),
            stream=_cuda_border.stream(x),
        )
    return out


_op = define(
    "upfirdn2d",
    "(Tensor x, Tensor filter, int up, int down, int[] padding, bool flip, float gain) -> Tensor",
    reference.upfirdn2d,
    _fake,
    like=0,
)
dispatch.register(
    "upfirdn2d",
    "cuda",
    _cuda,
    lambda x, filter, *_: why_not("upfirdn2d", "cuda", "linear", x=x, filter=filter),
)
dispatch.register("upfirdn2d", "native", _native, _why_not_native)
dispatch.register(
    "upfirdn2d",
    "triton",
    lazily("upfirdn2d"),
    lambda x, filter, *_: why_not("upfirdn2d", "triton", "linear", x=x, filter=filter),
)


class _Upfirdn2d(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, filter: Tensor, *options: Any) -> Any:
        up, down, padding, flip, gain = options
        ctx.save_for_backward(filter)
        adjoint = reference.adjoint(x.shape[2:], filter.shape, up, down, padding)
        ctx.adjoint = (down, up, adjoint, not flip, gain)
        return _op(x, filter, *options)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (filter,) = ctx.saved_tensors
        return upfirdn2d(grads[0], filter, *ctx.adjoint), None, None, None, None, None, None


def _run(x: Tensor, filter: Tensor, up: int, down: int, padding: Sequence[int], flip: bool, gain: float) -> Tensor:
    if torch.is_grad_enabled() and x.requires_grad:
        result: Tensor = _Upfirdn2d.apply(x, filter, up, down, padding, flip, gain)
        return result
    out: Tensor = _op(x, filter, up, down, padding, flip, gain)
    return out


upfirdn2d = composable("upfirdn2d", _run)
