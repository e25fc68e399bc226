"""How an op is registered: schema, fake, dispatching body, autograd outside."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from digan_fast import dispatch, transforms
from digan_fast.precision import full_precision


def layout(x: Tensor) -> torch.memory_format:
    """The layout of an op's output for an input x: channels last if x is, else contiguous."""
    if x.ndim == 4 and not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last):
        return torch.channels_last
    return torch.contiguous_format


# A fragment, since the package may be imported again in one process, as when a notebook reloads it; torch keeps the
# ops.
_LIBRARY = torch.library.Library("digan_fast", "FRAGMENT")


def define(
    name: str,
    signature: str,
    reference: Callable[..., Any],
    fake: Callable[..., Any],
    like: int | None = None,
) -> Callable[..., Any]:
    """Register ``digan_fast::name`` with its fake; its body calls :mod:`digan_fast.dispatch`.

    Outputs are contiguous for every backend; the first is channels last if argument ``like`` is.  Autocast does not
    apply inside the body.
    """

    @full_precision
    def body(*args: Any) -> Any:
        result = sys.modules.get(dispatch.__name__, dispatch).call(name, *args)
        first = torch.contiguous_format if like is None else layout(args[like])
        if isinstance(result, Tensor):
            return result.contiguous(memory_format=first)
        return result[0].contiguous(memory_format=first), *(out.contiguous() for out in result[1:])

    def guarded(*args: Any) -> Any:
        transforms.forbid_tangents(name, args)
        with torch._C._AutoDispatchBelowAutograd():
            return overload(*args)

    if not hasattr(torch.ops.digan_fast, name):
        _LIBRARY.define(f"{name}{signature}")
        _LIBRARY.impl(name, guarded, "Autograd")
        _LIBRARY.impl(name, body, "CompositeExplicitAutograd")
        torch.library.register_fake(f"digan_fast::{name}", fake, lib=_LIBRARY)
    dispatch.register(name, "reference", reference)
    overload: Callable[..., Any] = getattr(torch.ops.digan_fast, name).default

    def below_autograd(*args: Any) -> Any:
        """The op for calls whose derivatives are handled elsewhere: without the guard, which takes 8 µs."""
        if torch.compiler.is_compiling():
            return overload(*args)
        with torch._C._AutoDispatchBelowAutograd():
            return overload(*args)

    return below_autograd


@full_precision
def recompose(
    reference: Callable[..., Any],
    inputs: Sequence[Tensor | None],
    options: Sequence[Any],
    needed: Sequence[bool],
    grads: Sequence[Tensor | None],
) -> list[Tensor | None]:
    """Gradients of ``reference`` with respect to the inputs that need them, by running it again under autograd.

    It reads aliases: one input may depend on another (a gradient on the output it came from), and only partial
    derivatives are needed here.
    """
    with torch.enable_grad():
        aliases = [t if t is None else t.view_as(t) for t in inputs]
        outputs = reference(*aliases, *options)
    wanted = [t for t, need in zip(aliases, needed, strict=True) if need and t is not None]
    pairs = [(out, grad) for out, grad in zip(outputs, grads, strict=True) if grad is not None and out.requires_grad]
    if not pairs or not wanted:
        return [None] * len(inputs)
    outs, gradients = zip(*pairs, strict=True)
    found = iter(torch.autograd.grad(outs, wanted, gradients, create_graph=torch.is_grad_enabled(), allow_unused=True))
    return [next(found) if need and t is not None else None for t, need in zip(inputs, needed, strict=True)]


def composable(name: str, op: Callable[..., Any]) -> Callable[..., Tensor]:
    """``op(*args)``, or its reference if :mod:`digan_fast.transforms` requires the formula."""
    formula = full_precision(dispatch.reference(name))

    def run(*args: Any) -> Tensor:
        result: Tensor = formula(*args) if transforms.composed(name, *args) else op(*args)
        return result

    return run


def differentiable(
    name: str,
    forward_op: Callable[..., Any],
    backward_op: Callable[..., Any],
    reference_backward: Callable[..., Any],
    tensors: int,
    keep: Callable[..., Sequence[Tensor | None]] = lambda *inputs: inputs,
    linear: Callable[..., bool] = lambda *_: False,
    adjoint: Callable[..., Tensor | None] = lambda *_: None,
) -> Callable[..., Tensor]:
    """An autograd function for the op ``name``, ``forward_op(*tensors, *options) -> out``.

    ``backward_op(grad, *tensors, out, *options)`` returns the gradients of the tensors; their own derivatives come from
    ``reference_backward`` (same signature), run again under autograd.  ``keep(*tensors, *options)`` says which tensors
    the backward reads.  If ``linear(*options)``, the backward is linear in ``grad`` and constant in all else, and its
    derivative is the first of ``backward_op``'s results for the ``grad`` that ``adjoint(out, *gradients, *options)``
    makes of the gradients of all results.
    """

    class Backward(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *args: Any) -> Any:
            ctx.options = args[tensors + 2 :]
            grad = None if linear(*ctx.options) else args[0]
            ctx.save_for_backward(grad, *args[1 : tensors + 2])
            ctx.set_materialize_grads(False)
            return tuple(backward_op(*args))

        @staticmethod
        def backward(ctx: Any, *grads: Tensor | None) -> Any:
            if linear(*ctx.options):
                grad = adjoint(ctx.saved_tensors[-1], *grads, *ctx.options)
                found = None if grad is None else Backward.apply(grad, *ctx.saved_tensors[1:], *ctx.options)[0]
                return found, *(None for _ in range(tensors + 1)), *(None for _ in ctx.options)
            gradients = recompose(
                reference_backward,
                ctx.saved_tensors,
                ctx.options,
                ctx.needs_input_grad[: tensors + 2],
                grads,
            )
            return (*gradients, *(None for _ in ctx.options))

    class Forward(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *args: Any) -> Any:
            out = forward_op(*args)
            kept = keep(*args)
            ctx.save_for_backward(*kept[:tensors], out)
            ctx.given = [arg is not None for arg in args[:tensors]]
            ctx.options = args[tensors:]
            return out

        @staticmethod
        def backward(ctx: Any, *grads: Tensor) -> Any:
            given = grads[0], *ctx.saved_tensors, *ctx.options
            formula = transforms.composed(f"{name}_backward", *given)
            gradients = full_precision(reference_backward)(*given) if formula else Backward.apply(*given)
            return (
                *(g if given else None for g, given in zip(gradients, ctx.given, strict=True)),
                *(None for _ in ctx.options),
            )

    def run(*args: Any) -> Tensor:
        needs_grad = torch.is_grad_enabled() and any(arg is not None and arg.requires_grad for arg in args[:tensors])
        result: Tensor = Forward.apply(*args) if needs_grad else forward_op(*args)
        return result

    return composable(name, run)
