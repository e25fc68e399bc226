"""``digan_fast::coord_linear``: sines and cosines of coordinate phases into a linear layer, never stored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from digan_fast.ops._registry import define, differentiable
from digan_fast.reference import coord_linear as reference

_TENSORS = "Tensor? base, Tensor frequency, Tensor phase, Tensor weight, Tensor? bias"
_OPTIONS = "int[] grid, str activation, float gain, float? clamp"


def _fake(
    base: Tensor | None,
    frequency: Tensor,
    phase: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    grid: Sequence[int],
    *_: Any,
) -> Tensor:
    return weight.new_empty((*phase.shape[:2], grid[3], grid[4], weight.shape[1]))


def _fake_backward(
    grad: Tensor,
    base: Tensor | None,
    frequency: Tensor,
    phase: Tensor,
    weight: Tensor,
    *_: Any,
) -> tuple[Tensor, ...]:
    return (
        grad.new_empty(0 if base is None else base.shape),
        frequency.new_empty(frequency.shape),
        phase.new_empty(phase.shape),
        weight.new_empty(weight.shape),
        grad.new_empty(weight.shape[1]),
    )


_forward_op = define("coord_linear", f"({_TENSORS}, {_OPTIONS}) -> Tensor", reference.coord_linear, _fake)
_backward_op = define(
    "coord_linear_backward",
    f"(Tensor grad, {_TENSORS}, Tensor out, {_OPTIONS}) -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
    reference.coord_linear_backward,
    _fake_backward,
)

coord_linear = differentiable(_forward_op, _backward_op, reference.coord_linear_backward, tensors=5)
