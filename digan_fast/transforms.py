"""When a call is composed of PyTorch's own operations instead of being one op of ours.

A compiled kernel has a value and a gradient.  Forward-mode derivatives, the transforms of torch.func and graphs that
are to run without this package need the formula itself: the reference, every step of which PyTorch knows.
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

    Raises BackendUnavailable where another backend was asked for by name that cannot take part.
    """
    if torch.compiler.is_compiling():
        return _exported_without_ops()
    if torch._C._get_tracing_state() is not None:
        return dispatch.requested() in (None, "reference")
    reason = why_formula(args)
    if reason is None:
        return False
    wanted = dispatch.requested()
    if wanted not in (None, "reference") and all(tensor.dtype != torch.float64 for tensor in _floating(args)):
        raise dispatch.BackendUnavailable(f"{op}: backend {wanted!r} was asked for, but {reason}")
    return True


def active() -> bool:
    """Whether a transform of torch.func runs, whose tensors have no memory layout of their own."""
    return not torch.compiler.is_compiling() and torch._C._functorch.peek_interpreter_stack() is not None


def why_formula(args: Iterable[Any]) -> str | None:
    """Why these arguments, tensors or sequences with tensors among them, need the formula; None where they do not."""
    if active():
        return "it takes no part in the transforms of torch.func"
    if forward_ad._current_level >= 0 and any(
        forward_ad.unpack_dual(tensor).tangent is not None for tensor in _floating(args)
    ):
        return "it has no forward-mode derivative"
    return None


def _floating(args: Iterable[Any]) -> Iterable[Tensor]:
    for arg in args:
        if isinstance(arg, Tensor):
            if arg.is_floating_point():
                yield arg
        elif isinstance(arg, list | tuple):
            yield from _floating(arg)


def _reference_wanted() -> bool:
    return dispatch.requested() in (None, "reference")


# As torch.compiler.assume_constant_result marks it, which up to torch 2.11 imports Dynamo and Triton: 0.8 s.
_reference_wanted._dynamo_marked_constant = True  # type: ignore[attr-defined]


def _exported_without_ops() -> bool:
    """Whether a graph is traced that is to run elsewhere: torch.export's, with no other backend asked for by name."""
    return torch.compiler.is_exporting() and _reference_wanted()
