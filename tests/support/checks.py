"""Checks common to all ops."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from functorch.compile import make_boxed_func
from torch import Tensor
from torch._dynamo.backends.common import aot_autograd
from torch.autograd import gradcheck, gradgradcheck


def examples(count: int) -> int:
    """The number of hypothesis examples, at most DIGAN_FAST_EXAMPLES: sanitized code is slow."""
    return min(count, int(os.environ.get("DIGAN_FAST_EXAMPLES", count)))


def reduced(full: int, few: int) -> int:
    """An extent, or the smaller one if DIGAN_FAST_EXAMPLES is set."""
    return few if "DIGAN_FAST_EXAMPLES" in os.environ else full


def normal(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, dtype=dtype, requires_grad=True)


def check_derivatives(function: Callable[..., Tensor], inputs: Sequence[Tensor]) -> None:
    """First and second derivatives in float64, and partial ones if one input depends on another."""
    assert gradcheck(function, inputs)
    assert gradgradcheck(function, inputs)


def layouts(tensor: Tensor) -> list[Tensor]:
    """The same numbers contiguous, with reversed strides, sliced out of a larger tensor, and channels last."""
    reversed_strides = tensor.permute(*reversed(range(tensor.ndim))).contiguous().permute(*reversed(range(tensor.ndim)))
    found = [tensor, reversed_strides, sliced(tensor)]
    if tensor.ndim == 4:
        found.append(tensor.contiguous(memory_format=torch.channels_last))
    return found


def sliced(tensor: Tensor) -> Tensor:
    """The same numbers as a slice of a larger tensor."""
    wide = tensor.new_zeros([extent + 2 for extent in tensor.shape])
    inside = wide[tuple(slice(1, 1 + extent) for extent in tensor.shape)]
    inside.copy_(tensor)
    return inside


def check_schema(op: Any, args: Sequence[Any]) -> None:
    """Checks schema, fake and dispatch of a registered op, with each tensor in turn in every layout.

    Autograd is not part of this check, so the inputs are detached.
    """
    detached = [arg.detach() if isinstance(arg, Tensor) else arg for arg in args]
    torch.library.opcheck(op, tuple(detached))
    for index, arg in enumerate(detached):
        for changed in layouts(arg)[1:] if isinstance(arg, Tensor) else []:
            varied = (*detached[:index], changed, *detached[index + 1 :])
            torch.library.opcheck(op, varied, test_utils=["test_schema", "test_faketensor"])


def recorded(function: Callable[..., Tensor]) -> tuple[Callable[..., Tensor], list[list[str]]]:
    """``function`` compiled to one graph, and the names of our ops in each graph as it is made: forward, backward."""
    graphs: list[list[str]] = []

    def see(graph: torch.fx.GraphModule, _: Any) -> Callable[..., Any]:
        targets = [node.target for node in graph.graph.nodes if node.op == "call_function"]
        names = [str(target) for target in targets]
        graphs.append([name.split(".")[1] for name in names if name.startswith("digan_fast.")])
        return make_boxed_func(graph.forward)

    torch._dynamo.reset()
    return torch.compile(function, fullgraph=True, backend=aot_autograd(fw_compiler=see)), graphs


def check_compiled(function: Callable[..., Tensor], inputs: Sequence[Tensor], formula: bool = False) -> None:
    """Checks for one graph for forward and backward, with the eager values, of our ops unless it is their formula."""
    compiled, graphs = recorded(function)
    eager = function(*inputs)
    probe = torch.randn_like(eager)
    expected = torch.autograd.grad(eager, inputs, probe)
    out = compiled(*inputs)
    torch.testing.assert_close(out, eager)
    torch.testing.assert_close(torch.autograd.grad(out, inputs, probe), expected)
    assert [graph == [] for graph in graphs] == [formula, formula]


def check_stride_zero_gradient(function: Callable[..., Tensor], inputs: Sequence[Tensor]) -> None:
    """The gradient of a sum, with stride 0 and 8 bytes of storage, gives the same results as a dense one."""
    out = function(*inputs)
    expanded = torch.autograd.grad(out.sum(), inputs, retain_graph=True)
    dense = torch.autograd.grad(out, inputs, torch.ones_like(out))
    torch.testing.assert_close(expanded, dense)


def check_views(function: Callable[..., Tensor], inputs: Sequence[Tensor]) -> None:
    """Transposed and sliced inputs give the same results as contiguous copies."""

    expected = function(*inputs).detach()
    for index, tensor in enumerate(inputs):
        for changed in layouts(tensor.detach()):
            varied = [*inputs[:index], changed, *inputs[index + 1 :]]
            torch.testing.assert_close(function(*varied).detach(), expected)


def thread_counts(*counts: int) -> Iterator[int]:
    """Sets torch's number of threads to each count in turn while the loop's body runs."""
    before = torch.get_num_threads()
    try:
        for count in counts:
            torch.set_num_threads(count)
            yield count
    finally:
        torch.set_num_threads(before)
