"""Pointwise activations with gain and clamp: ``y = clamp(act(z)·gain, ±c)``, and their derivatives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

SLOPE = 0.2
_SELU_SCALE = 1.0507009873554805
_SELU_ALPHA = 1.6732632423543772


@dataclass(frozen=True)
class Activation:
    """``forward(z)``, ``backward(grad, z)`` = grad·act'(z), and the default gain.

    ``homogeneous``: act(g·z) = g·act(z) for g > 0, so that the derivative follows from the sign of the output and
    the gain can be folded into the product before it.
    """

    forward: Callable[[Tensor], Tensor]
    backward: Callable[[Tensor, Tensor], Tensor]
    gain: float = 1.0
    homogeneous: bool = False


ACTIVATIONS = {
    "linear": Activation(lambda z: z, lambda grad, z: grad, homogeneous=True),
    "relu": Activation(
        F.relu,
        lambda grad, z: torch.ops.aten.threshold_backward(grad, z, 0),
        2**0.5,
        homogeneous=True,
    ),
    "lrelu": Activation(
        lambda z: F.leaky_relu(z, SLOPE),
        lambda grad, z: torch.ops.aten.leaky_relu_backward(grad, z, SLOPE, False),
        2**0.5,
        homogeneous=True,
    ),
    "tanh": Activation(torch.tanh, lambda grad, z: grad * (1 - torch.tanh(z).square())),
    "sigmoid": Activation(torch.sigmoid, lambda grad, z: grad * torch.sigmoid(z) * torch.sigmoid(-z)),
    "elu": Activation(F.elu, lambda grad, z: grad * torch.exp(z.clamp(max=0))),
    "selu": Activation(
        F.selu,
        lambda grad, z: grad * _SELU_SCALE * torch.where(z > 0, 1.0, _SELU_ALPHA * torch.exp(z.clamp(max=0))),
    ),
    "softplus": Activation(F.softplus, lambda grad, z: grad * torch.sigmoid(z)),
    "swish": Activation(
        lambda z: z * torch.sigmoid(z),
        lambda grad, z: grad * torch.sigmoid(z) * (1 + z * torch.sigmoid(-z)),
        2**0.5,
    ),
    "sine": Activation(torch.sin, lambda grad, z: grad * torch.cos(z)),
}


def activate(z: Tensor, activation: str, gain: float, clamp: float | None) -> Tensor:
    """``clamp(act(z)·gain, ±clamp)``."""
    y = ACTIVATIONS[activation].forward(z)
    if gain != 1:
        y = y * gain
    return y if clamp is None else y.clamp(-clamp, clamp)


def activate_product(z: Tensor, activation: str, clamp: float | None) -> Tensor:
    """``clamp(act(z), ±clamp)``, in place: z is a product that nothing else reads and already includes the gain."""
    if activation == "lrelu":
        z = F.leaky_relu_(z, SLOPE)
    elif activation == "relu":
        z = torch.relu_(z)
    return z if clamp is None else z.clamp(-clamp, clamp)


def pre_activation_gradient(
    grad: Tensor, z: Tensor | None, out: Tensor, activation: str, gain: float, clamp: float | None
) -> Tensor:
    """The gradient by z from the gradient by ``out = activate(z)``; homogeneous activations do not need z.

    Where the clamp is active the gradient is zero.
    """
    kind = ACTIVATIONS[activation]
    at = out.detach() if kind.homogeneous else z
    assert at is not None
    grad = kind.backward(grad, at)
    if gain != 1:
        grad = grad * gain
    return grad if clamp is None else torch.where(out.detach().abs() < clamp, grad, 0.0)
