"""Functions whose activations are computed again for every derivative, a few samples at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

Function = Callable[[Tensor], Tensor]


def by_parts(function: Function, x: Tensor, parameters: Sequence[Tensor], size: int = 1) -> Tensor:
    """``function(x)``, differentiable twice, which holds the activations of ``size`` samples at a time.

    x [N, …]; ``function`` maps each sample by itself, draws no random numbers and reads the ``parameters`` it was made
    with.  A gradient runs it once more, a gradient of the gradient another time.  ``torch.utils.checkpoint`` frees
    nothing under a gradient penalty: what it computes again becomes part of the penalty's graph.
    """
    if len(x) == 0:
        return function(x)
    out: Tensor = _Value.apply(function, size, x, *parameters)
    return out


class _Sums:
    """The gradients of parameters, summed over the parts."""

    def __init__(self, count: int) -> None:
        self.totals: list[Tensor | None] = [None] * count

    def add(self, grads: Sequence[Tensor | None]) -> None:
        pairs = zip(self.totals, grads, strict=True)
        self.totals = [total if grad is None else grad if total is None else total + grad for total, grad in pairs]


def _gradients(
    out: Tensor, inputs: Sequence[Tensor], grad: Tensor | None = None, **options: Any
) -> list[Tensor | None]:
    """Of the inputs that require one."""
    wanted = [t for t in inputs if t.requires_grad]
    if not wanted or not out.requires_grad:
        return [None] * len(inputs)
    found = iter(torch.autograd.grad(out, wanted, grad, allow_unused=True, **options))
    return [next(found) if t.requires_grad else None for t in inputs]


def _joined(parts: Sequence[Tensor | None]) -> Tensor | None:
    given = [part for part in parts if part is not None]
    return torch.cat(given) if given else None


def _first(function: Function, x: Tensor, grad: Tensor, parameters: Sequence[Tensor], needed: bool) -> list[Any]:
    """The gradients of x [size, …], if ``needed``, and of the parameters.  The graph is gone when this returns."""
    with torch.enable_grad():
        x = x.detach().requires_grad_(needed)
        out = function(x)
    return _gradients(out, [x, *parameters], grad)


def _second(
    function: Function, x: Tensor, grad: Tensor, parameters: Sequence[Tensor], tangents: Sequence[Tensor | None]
) -> list[Any]:
    """The gradients, by grad, x and the parameters, of the inner product of ``tangents`` with :func:`_first`."""
    with torch.enable_grad():
        x, grad = x.detach().requires_grad_(), grad.detach().requires_grad_()
        first = _gradients(function(x), [x, *parameters], grad, create_graph=True)
        products = [(g * t).sum() for g, t in zip(first, tangents, strict=True) if g is not None and t is not None]
        total = torch.stack(products).sum() if products else x.new_zeros([])
    return _gradients(total, [grad, x, *parameters])


class _Value(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, function: Function, size: int, x: Tensor, *parameters: Tensor) -> Tensor:
        ctx.function, ctx.size = function, size
        ctx.save_for_backward(x, *parameters)
        return torch.cat([function(part) for part in x.split(size)])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        needed = ctx.needs_input_grad[2]
        return None, None, *_Gradient.apply(ctx.function, ctx.size, needed, grad, *ctx.saved_tensors)


class _Gradient(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, function: Function, size: int, needed: bool, grad: Tensor, x: Tensor, *parameters: Tensor
    ) -> Any:
        ctx.function, ctx.size = function, size
        ctx.save_for_backward(grad, x, *parameters)
        ctx.set_materialize_grads(False)
        sums, dx = _Sums(len(parameters)), []
        for part, part_grad in zip(x.split(size), grad.split(size), strict=True):
            first, *others = _first(function, part, part_grad, parameters, needed)
            dx.append(first)
            sums.add(others)
        return _joined(dx), *sums.totals

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, dx: Tensor | None, *tangents: Tensor | None) -> Any:
        grad, x, *parameters = ctx.saved_tensors
        sums, dgrad, ddx = _Sums(len(parameters)), [], []
        for i, (part, part_grad) in enumerate(zip(x.split(ctx.size), grad.split(ctx.size), strict=True)):
            own = None if dx is None else dx[i * ctx.size :][: len(part)]
            by_grad, by_x, *others = _second(ctx.function, part, part_grad, parameters, (own, *tangents))
            dgrad.append(by_grad)
            ddx.append(by_x)
            sums.add(others)
        return None, None, None, _joined(dgrad), _joined(ddx), *sums.totals
