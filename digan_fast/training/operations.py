"""Counts the operations of products: torch's own counts for its functions, the shapes' for ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry


def _conv3x3(out: Any, x: Tensor, weight: Tensor, *_: Any) -> int:
    return int(2 * out.numel() * weight.shape[1] * 9)


def _conv3x3_input(out: Any, grad: Tensor, weight: Tensor, *_: Any) -> int:
    return 2 * grad.numel() * weight.shape[1] * 9


def _conv3x3_weight(out: Any, grad: Tensor, x: Tensor, *_: Any) -> int:
    return 2 * grad.numel() * x.shape[1] * 9


def _linear_act(out: Any, x: Tensor, weight: Tensor, *_: Any) -> int:
    return 2 * x.numel() * weight.shape[1]


def _linear_act_backward(out: Any, grad: Tensor, x: Tensor, weight: Tensor, *_: Any) -> int:
    return 2 * _linear_act(out, x, weight)


def _coord_linear(out: Any, base: Any, frequency: Tensor, phase: Tensor, weight: Tensor, *_: Any) -> int:
    return int(2 * out.numel() * weight.shape[2])


def _coord_linear_backward(
    out: Any, grad: Tensor, base: Any, frequency: Tensor, phase: Tensor, weight: Tensor, *_: Any
) -> int:
    return 4 * grad.numel() * weight.shape[2]


def _fmm_weights(out: Any, weight: Tensor, left: Tensor, right: Tensor, *_: Any) -> int:
    return 2 * left.numel() * right.shape[-1]


def _fmm_weights_backward(out: Any, grad: Tensor, weight: Tensor, left: Tensor, right: Tensor, *_: Any) -> int:
    return 2 * _fmm_weights(out, weight, left, right)


def _render(
    out: Any,
    frequencies: Sequence[Tensor],
    phases: Sequence[Tensor],
    weights: Sequence[Tensor],
    biases: Any,
    sides: Sequence[int],
    layers: Sequence[int],
    *_: Any,
) -> int:
    """Of whole pictures: a first layer multiplies what comes from below on the coarser grid."""
    total, first, below, side_below = 0, 0, 0, 0
    for side, count in zip(sides, layers, strict=True):
        own = weights[first : first + count + 1]
        for index, weight in enumerate(own):
            from_below = below if index == 0 else 0
            total += weight.shape[0] * weight.shape[1] * (weight.shape[2] - from_below) * side**2
            total += weight.shape[0] * weight.shape[1] * from_below * side_below**2
        below, side_below = own[-2].shape[1], side
        first += count + 1
    return int(2 * total * phases[0].shape[1])


_OURS: Final[Mapping[str, Callable[..., int]]] = {
    "conv3x3": _conv3x3,
    "conv3x3_input_backward": _conv3x3_input,
    "conv3x3_weight_backward": _conv3x3_weight,
    "linear_act": _linear_act,
    "linear_act_backward": _linear_act_backward,
    "coord_linear": _coord_linear,
    "coord_linear_backward": _coord_linear_backward,
    "fmm_weights": _fmm_weights,
    "fmm_weights_backward": _fmm_weights_backward,
    "render": _render,
}


class OperationCounter(TorchDispatchMode):
    """A context; ``total`` adds up multiplications and additions of matrix products and convolutions within it.

    Those of FIR filters, activations and sines are left out, and savings by kernels are not subtracted.
    """

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        packet = func._overloadpacket
        if func.namespace == "digan_fast":
            count = _OURS.get(func._opname)
            self.total += 0 if count is None else count(out, *args)
        elif packet in flop_registry:
            self.total += int(flop_registry[packet](*args, **kwargs, out_val=out))
        return out
