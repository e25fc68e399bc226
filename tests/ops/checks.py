"""What every op must pass, whatever it computes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck


def normal(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, dtype=dtype, requires_grad=True)


def check_derivatives(function: Callable[..., Tensor], inputs: Sequence[Tensor]) -> None:
    """First and second derivatives in float64, and the partial ones where one input depends on another."""
    assert gradcheck(function, inputs)
    assert gradgradcheck(function, inputs)


def check_schema(op: Any, args: Sequence[Any]) -> None:
    """Schema, fake and dispatch of a registered op.  Its autograd lies outside, so the inputs are detached."""
    detached = [arg.detach() if isinstance(arg, Tensor) else arg for arg in args]
    torch.library.opcheck(op, tuple(detached))


def check_compiled(function: Callable[..., Tensor], inputs: Sequence[Tensor]) -> None:
    """One graph for forward and backward, and the eager values."""
    torch._dynamo.reset()
    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    eager = function(*inputs)
    probe = torch.randn_like(eager)
    expected = torch.autograd.grad(eager, inputs, probe)
    out = compiled(*inputs)
    torch.testing.assert_close(out, eager)
    torch.testing.assert_close(torch.autograd.grad(out, inputs, probe), expected)


def check_stride_zero_gradient(function: Callable[..., Tensor], inputs: Sequence[Tensor]) -> None:
    """The gradient of a sum, stride 0 and 8 bytes of storage, gives what a dense one does."""
    out = function(*inputs)
    expanded = torch.autograd.grad(out.sum(), inputs, retain_graph=True)
    dense = torch.autograd.grad(out, inputs, torch.ones_like(out))
    torch.testing.assert_close(expanded, dense)


def check_views(function: Callable[..., Tensor], inputs: Sequence[Tensor]) -> None:
    """Transposed and sliced inputs give what contiguous copies do."""

    def view(tensor: Tensor) -> Tensor:
        wide = tensor.detach().new_zeros([extent + 2 for extent in tensor.shape])
        inside = wide[tuple(slice(1, 1 + extent) for extent in tensor.shape)]
        inside.copy_(tensor.detach())
        return inside

    torch.testing.assert_close(function(*map(view, inputs)), function(*inputs).detach())
