"""Functions whose activations are computed again for every derivative, one sample at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

Function = Callable[[Tensor], Tensor]
Gradients = list[Tensor | None]


def recomputed(function: Function, x: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    """``function(x)``, differentiable twice, which holds the activations of one sample at a time.

    x [N, …]; ``function`` maps each sample by itself, draws no random numbers and reads the ``parameters`` it was made
    with.  A gradient runs it once more, a gradient of the gradient another time.  ``torch.utils.checkpoint`` frees
    nothing under a gradient penalty: what it computes again becomes part of the penalty's graph.
    """
    if len(x) == 0:
        return function(x)
    out: Tensor = _Value.apply(function, x, *parameters)
    return out


def _added(totals: Gradients, grads: Gradients) -> Gradients:
    pairs = zip(totals, grads, strict=True)
    return [total if grad is None else grad if total is None else total + grad for total, grad in pairs]


def _joined(samples: Gradients) -> Tensor | None:
    given = [sample for sample in samples if sample is not None]
    return torch.cat(given) if given else None


def _gradients(out: Tensor, inputs: Sequence[Tensor], grad: Tensor | None = None, **options: Any) -> Gradients:
    """Of the inputs that require one."""
    wanted = [t for t in inputs if t.requires_grad]
    if not wanted or not out.requires_grad:
        return [None] * len(inputs)
    found = iter(torch.autograd.grad(out, wanted, grad, allow_unused=True, **options))
    return [next(found) if t.requires_grad else None for t in inputs]


def _first(function: Function, x: Tensor, grad: Tensor, parameters: Sequence[Tensor], needed: bool) -> Gradients:
    """The gradients of the sample x, if ``needed``, and of the parameters.  The graph is gone when this returns."""
    with torch.enable_grad():
        x = x.detach().requires_grad_(needed)
        out = function(x)
    return _gradients(out, [x, *parameters], grad)


def _second(
    function: Function, x: Tensor, grad: Tensor, parameters: Sequence[Tensor], tangents: Sequence[Tensor | None]
) -> Gradients:
    """The gradients, by grad, x and the parameters, of the inner product of ``tangents`` with :func:`_first`."""
    with torch.enable_grad():
        x, grad = x.detach().requires_grad_(), grad.detach().requires_grad_()
        first = _gradients(function(x), [x, *parameters], grad, create_graph=True)
        products = [(g * t).sum() for g, t in zip(first, tangents, strict=True) if g is not None and t is not None]
        total = torch.stack(products).sum() if products else x.new_zeros([])
    return _gradients(total, [grad, x, *parameters])


class _Value(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, function: Function, x: Tensor, *parameters: Tensor) -> Tensor:
        ctx.function = function
        ctx.save_for_backward(x, *parameters)
        return torch.cat([function(sample) for sample in x.split(1)])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return None, *_Gradient.apply(ctx.function, ctx.needs_input_grad[1], grad, *ctx.saved_tensors)


class _Gradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, function: Function, needed: bool, grad: Tensor, x: Tensor, *parameters: Tensor) -> Any:
        ctx.function = function
        ctx.save_for_backward(grad, x, *parameters)
        ctx.set_materialize_grads(False)
        dx: Gradients = []
        totals: Gradients = [None] * len(parameters)
        for sample, sample_grad in zip(x.split(1), grad.split(1), strict=True):
            first, *others = _first(function, sample, sample_grad, parameters, needed)
            dx.append(first)
            totals = _added(totals, others)
        return _joined(dx), *totals

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, dx: Tensor | None, *tangents: Tensor | None) -> Any:
        grad, x, *parameters = ctx.saved_tensors
        by_grad: Gradients = []
        by_x: Gradients = []
        totals: Gradients = [None] * len(parameters)
        for i, (sample, sample_grad) in enumerate(zip(x.split(1), grad.split(1), strict=True)):
            own = None if dx is None else dx[i : i + 1]
            first, second, *others = _second(ctx.function, sample, sample_grad, parameters, (own, *tangents))
            by_grad.append(first)
            by_x.append(second)
            totals = _added(totals, others)
        return None, None, _joined(by_grad), _joined(by_x), *totals
