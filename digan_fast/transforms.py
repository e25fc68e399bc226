"""Decides when a call is composed of PyTorch's own operations instead of being one op of ours.

A compiled kernel has a value and a gradient.  Forward-mode derivatives, the transforms of torch.func and graphs that
must run without this package need the formula itself: the reference, whose every step PyTorch knows.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.autograd.forward_ad as forward_ad
from torch import Tensor

from digan_fast import dispatch


def composed(op: str, *args: Any) -> bool:
    """Whether to compose this call from the reference.

    Raises BackendUnavailable if another backend, requested by name, does not support this.
    """
    if torch.compiler.is_exporting():
        return _reference_wanted()
    if torch._C._get_tracing_state() is not None:
        return dispatch.requested() in (None, "reference")
    reason = why_formula(args)
    if reason is None:
        return False
    if not _reference_wanted() and all(tensor.dtype != torch.float64 for tensor in _floating(args)):
        raise dispatch.BackendUnavailable(f"{op}: backend {dispatch.requested()!r} was asked for, but {reason}")
    return True


def active() -> bool:
    """Whether a transform of torch.func is active; its tensors have no memory layout of their own."""
    return torch._C._functorch.peek_interpreter_stack() is not None


# Dynamo traces this call as an object that is never None. While it traces a transform, the transform is on the stack.
# Set directly, since torch.compiler.assume_constant_result imports Dynamo and Triton up to torch 2.11: 0.8 s.
active._dynamo_marked_constant = True  # type: ignore[attr-defined]


def batched(tensor: Tensor) -> bool:
    """Whether autograd batches gradients (``is_grads_batched``), which an op with lists of tensors does not support."""
    return not torch.compiler.is_compiling() and torch._C._functorch.is_legacy_batchedtensor(tensor)


def why_formula(args: Iterable[Any]) -> str | None:
    """Why these arguments, tensors or sequences with tensors among them, need the formula; None if they do not."""
    if active():
        return "it takes no part in the transforms of torch.func"
    return "it has no forward-mode derivative" if _has_tangents(args) else None


def forbid_tangents(op: str, args: Iterable[Any]) -> None:
    """Raises RuntimeError for an op that would drop forward-mode tangents: one of ``torch.ops``, below the formulas."""
    if _has_tangents(args):
        raise RuntimeError(f"torch.ops.digan_fast.{op} has no forward-mode derivative; call digan_fast.functional's")


def _has_tangents(args: Iterable[Any]) -> bool:
    """Whether any of these tensors has a tangent; in a compiled graph, where this is unknown, whether any could."""
    if forward_ad._current_level < 0:
        return False
    return torch.compiler.is_compiling() or any(
        forward_ad.unpack_dual(tensor).tangent is not None for tensor in _floating(args)
    )


def _floating(args: Iterable[Any]) -> Iterable[Tensor]:
    for arg in args:
        if isinstance(arg, Tensor):
            if arg.is_floating_point():
                yield arg
        elif isinstance(arg, list | tuple):
            yield from _floating(arg)


def _reference_wanted() -> bool:
    return dispatch.requested() in (None, "reference")


_reference_wanted._dynamo_marked_constant = True  # type: ignore[attr-defined]
