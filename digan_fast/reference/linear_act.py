"""``y = clamp(act(x·Wᵀ + b)·gain, ±clamp)`` with one weight set per video, shared by its frames and pixels.

x is converted to the weight's type.
"""

from __future__ import annotations

import torch
from torch import Tensor

from digan_fast.reference.activations import ACTIVATIONS, activate, activate_product, pre_activation_gradient


def product(x: Tensor, weight: Tensor, bias: Tensor | None, scale: float = 1.0) -> Tensor:
    """``(x·Wᵀ + b)·scale`` for x [B, M, I], weight [B, O, I], bias [O] or [B, O]: [B, M, O]."""
    transposed = weight.transpose(1, 2)
    if bias is not None:
        # Not by beta: in a compiled forward mode torch reads memory that a bias without a tangent does not have.
        start = bias if scale == 1 else bias * scale
        return torch.baddbmm(start if bias.ndim == 1 else start.unsqueeze(1), x, transposed, alpha=scale)
    return torch.bmm(x, transposed) if scale == 1 else torch.bmm(x, transposed * scale)


def linear_act(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    activation: str,
    gain: float,
    clamp: float | None,
) -> Tensor:
    flat = x.flatten(1, -2).to(weight.dtype)
    if ACTIVATIONS[activation].homogeneous:
        y = activate_product(product(flat, weight, bias, gain), activation, clamp)
    else:
        y = activate(product(flat, weight, bias), activation, gain, clamp)
    return y.reshape(*x.shape[:-1], weight.shape[1])


def linear_act_backward(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    out: Tensor,
    activation: str,
    gain: float,
    clamp: float | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients by x, weight [B, O, I] and bias; [O] if there is no bias."""
    flat = x.flatten(1, -2).to(weight.dtype)
    z = None if ACTIVATIONS[activation].homogeneous else product(flat, weight, bias)
    dz = pre_activation_gradient(grad.flatten(1, -2), z, out.flatten(1, -2), activation, gain, clamp)
    dx = torch.bmm(dz, weight).reshape(x.shape).to(x.dtype)
    return dx, torch.bmm(dz.transpose(1, 2), flat), dz.sum(1 if bias is not None and bias.ndim == 2 else (0, 1))
