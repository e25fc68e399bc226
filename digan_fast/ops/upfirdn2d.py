"""``digan_fast::upfirdn2d``: FIR up- and downsampling; its derivative of any order is itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from digan_fast import dispatch
from digan_fast.ops import _cuda as _cuda_border
from digan_fast.ops._capabilities import why_not
from digan_fast.ops._pointers import NATIVE_DTYPES, fresh, ptr_wide_or_narrow
from digan_fast.ops._registry import composable, define, layout
from digan_fast.ops._triton import lazily
from digan_fast.reference import upfirdn2d as reference


def _shape(x: Tensor, filter: Tensor, up: int, down: int, padding: Sequence[int]) -> tuple[int, ...]:
    return (*x.shape[:2], *reference.output_size(x.shape[2:], filter.shape, up, down, padding))


def _fake(x: Tensor, filter: Tensor, up: int, down: int, padding: Sequence[int], flip: bool, gain: float) -> Tensor:
    shape = _shape(x, filter, up, down, padding)
    return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=layout(x))


def _taps(filter: Tensor, flip: bool, gain: float) -> Tensor:
    """Filter taps in float32, in the order of a correlation."""
    taps = (filter.to(torch.float32) * gain).contiguous()
    return taps if flip else taps.flip((0, 1))


def _axes(x: Tensor, taps: Tensor, size: Sequence[int], padding: Sequence[int]) -> dict[str, int]:
    """The vertical and the horizontal axis among the compiled functions' arguments."""
    named: dict[str, int] = {}
    for axis, suffix in enumerate(("_y", "_x")):
        named["size" + suffix] = x.shape[2 + axis]
        named["out_size" + suffix] = size[axis]
        named["taps" + suffix] = taps.shape[axis]
        named["before" + suffix] = padding[2 - 2 * axis]
    return named


def _filtered(
    address: Callable[[Tensor, str], int],
    function: Callable[..., None],
    x: Tensor,
    out: Tensor,
    taps: Tensor,
    **options: Any,
) -> None:
    """Calls a compiled function, which takes [images, H, W, channels]."""
    batch, channels = x.shape[:2]
    last = layout(x) == torch.channels_last
    x = x.contiguous(memory_format=layout(x))
    function(
        out=address(out.movedim(1, 3) if last else out, "out"),
        x=address(x.movedim(1, 3) if last else x, "x"),
        filter=address(taps, "filter"),
        images=batch if last else batch * channels,
        channels=channels if last else 1,
        number=NATIVE_DTYPES.index(x.dtype),
        **options,
    )


def _native(x: Tensor, filter: Tensor, up: int, down: int, padding: Sequence[int], flip: bool, gain: float) -> Tensor:
    taps = _taps(filter, flip, gain)
    out = fresh(_shape(x, taps, up, down, padding), x.dtype, layout(x))
    if 0 in (*x.shape, *out.shape):
        return out.zero_()
    axes = _axes(x, taps, out.shape[2:], padding)
    _filtered(
        ptr_wide_or_narrow,
        dispatch.native_module().upfirdn2d_cpu,
        x,
        out,
        taps,
        up=up,
        down=down,
        threads=torch.get_num_threads(),
        **axes,
    )
    return out


def _why_not_native(x: Tensor, filter: Tensor, *_: Any) -> str | None:
    if x.device.type != "cpu" or filter.device.type != "cpu":
        return f"x is on {x.device}, filter on {filter.device}"
    return why_not("upfirdn2d", "native", "linear", x=x)


def _cuda(x: Tensor, filter: Tensor, up: int, down: int, padding: Sequence[int], flip: bool, gain: float) -> Tensor:
    taps = _taps(filter, flip, gain)
    out = _fake(x, taps, up, down, padding, flip, gain)
    if 0 in (*x.shape, *out.shape):
        return out.zero_()
    axes, stream = _axes(x, taps, out.shape[2:], padding), _cuda_border.stream(x)
    with _cuda_border.on_device(x):
        function = _cuda_border.module().upfirdn2d_cuda
        _filtered(_cuda_border.address, function, x, out, taps, up=up, down=down, stream=stream, **axes)
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
