"""``digan_fast::upfirdn2d``: FIR up- and downsampling; its derivative of any order is itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from digan_fast.ops._registry import define, layout
from digan_fast.reference import upfirdn2d as reference


def _fake(x: Tensor, filter: Tensor, up: int, down: int, padding: Sequence[int], flip: bool, gain: float) -> Tensor:
    size = reference.output_size(x.shape[2:], filter.shape, up, down, padding)
    return torch.empty((*x.shape[:2], *size), dtype=x.dtype, device=x.device, memory_format=layout(x))


_op = define(
    "upfirdn2d",
    "(Tensor x, Tensor filter, int up, int down, int[] padding, bool flip, float gain) -> Tensor",
    reference.upfirdn2d,
    _fake,
    like=0,
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


def upfirdn2d(x: Tensor, filter: Tensor, up: int, down: int, padding: Sequence[int], flip: bool, gain: float) -> Tensor:
    if torch.is_grad_enabled() and x.requires_grad:
        result: Tensor = _Upfirdn2d.apply(x, filter, up, down, padding, flip, gain)
        return result
    out: Tensor = _op(x, filter, up, down, padding, flip, gain)
    return out
