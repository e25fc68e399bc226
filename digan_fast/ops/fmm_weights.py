"""``digan_fast::fmm_weights``: the weights of B videos from shared weights and two thin factors."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from digan_fast.ops._registry import define, differentiable
from digan_fast.reference import fmm_weights as reference

_TENSORS = "Tensor weight, Tensor left, Tensor right"


def _fake(weight: Tensor, left: Tensor, right: Tensor, activation: str) -> Tensor:
    return weight.new_empty((left.shape[0], *weight.shape))


def _fake_backward(grad: Tensor, weight: Tensor, left: Tensor, right: Tensor, *_: Any) -> tuple[Tensor, ...]:
    return weight.new_empty(weight.shape), left.new_empty(left.shape), right.new_empty(right.shape)


def _reference_backward(
    grad: Tensor, weight: Tensor, left: Tensor, right: Tensor, out: Tensor, activation: str
) -> tuple[Tensor, Tensor, Tensor]:
    return reference.fmm_weights_backward(grad, weight, left, right, activation)


_forward_op = define("fmm_weights", f"({_TENSORS}, str activation) -> Tensor", reference.fmm_weights, _fake)
_backward_op = define(
    "fmm_weights_backward",
    f"(Tensor grad, {_TENSORS}, Tensor out, str activation) -> (Tensor, Tensor, Tensor)",
    _reference_backward,
    _fake_backward,
)

fmm_weights = differentiable(_forward_op, _backward_op, _reference_backward, tensors=3)
