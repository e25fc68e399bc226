"""``y = clamp(act(x + b)·gain, ±clamp)``, the bias along one dimension."""

from __future__ import annotations

from torch import Tensor

from digan_fast.reference.activations import activate, pre_activation_gradient


def _biased(x: Tensor, bias: Tensor | None, dim: int) -> Tensor:
    if bias is None:
        return x
    return x + bias.view([-1 if i == dim else 1 for i in range(x.ndim)])


def bias_act(x: Tensor, bias: Tensor | None, dim: int, activation: str, gain: float, clamp: float | None) -> Tensor:
    y = activate(_biased(x, bias, dim), activation, gain, clamp)
    return y.clone() if y is x else y


def bias_act_backward(
    grad: Tensor,
    x: Tensor | None,
    bias: Tensor | None,
    out: Tensor,
    dim: int,
    activation: str,
    gain: float,
    clamp: float | None,
) -> tuple[Tensor, Tensor]:
    """Gradients by x (shape of x) and by the bias ([C]); x may be None for a homogeneous activation."""
    z = None if x is None else _biased(x, bias, dim)
    dx = pre_activation_gradient(grad, z, out, activation, gain, clamp)
    dbias = dx.sum([i for i in range(dx.ndim) if i != dim])
    return (dx.clone() if dx is grad else dx), dbias
