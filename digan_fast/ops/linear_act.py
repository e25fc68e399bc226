"""``digan_fast::linear_act``: a linear layer with per-video weights, bias, activation, gain and clamp."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from digan_fast.ops._registry import define, differentiable
from digan_fast.reference import linear_act as reference

_TENSORS = "Tensor x, Tensor weight, Tensor? bias"
_OPTIONS = "str activation, float gain, float? clamp"


def _fake(x: Tensor, weight: Tensor, *_: Any) -> Tensor:
    return x.new_empty((*x.shape[:-1], weight.shape[1]))


def _fake_backward(grad: Tensor, x: Tensor, weight: Tensor, *_: Any) -> tuple[Tensor, ...]:
    return x.new_empty(x.shape), weight.new_empty(weight.shape), grad.new_empty(weight.shape[1])


_forward_op = define("linear_act", f"({_TENSORS}, {_OPTIONS}) -> Tensor", reference.linear_act, _fake)
_backward_op = define(
    "linear_act_backward",
    f"(Tensor grad, {_TENSORS}, Tensor out, {_OPTIONS}) -> (Tensor, Tensor, Tensor)",
    reference.linear_act_backward,
    _fake_backward,
)

linear_act = differentiable(_forward_op, _backward_op, reference.linear_act_backward, tensors=3)
