"""Factorised multiplicative modulation: a video's weights from shared ones and two thin factors."""

from __future__ import annotations

import torch
from torch import Tensor

EPS = 1e-8


def _modulation(left: Tensor, right: Tensor) -> Tensor:
    return torch.bmm(left, right) * left.shape[-1] ** -0.5


def fmm_weights(weight: Tensor, left: Tensor, right: Tensor, activation: str) -> Tensor:
    """``weight ∘ (M + 1)``, M = L·R/√r; ``demod`` divides each row by (its 2-norm + 1e-8), ``tanh`` and
    ``sigmoid`` act on M (sigmoid(M) − 0.5)."""
    modulation = _modulation(left, right)
    if activation == "tanh":
        modulation = torch.tanh(modulation)
    elif activation == "sigmoid":
        modulation = torch.sigmoid(modulation) - 0.5
    modulated = weight * (modulation + 1)
    if activation == "demod":
        modulated = modulated / (modulated.norm(dim=-1, keepdim=True) + EPS)
    return modulated


def fmm_weights_backward(
    grad: Tensor, weight: Tensor, left: Tensor, right: Tensor, activation: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients by weight [O, I], left [B, O, r] and right [B, r, I]."""
    modulation = _modulation(left, right)
    slope: Tensor | float = 1.0
    if activation == "tanh":
        modulation = torch.tanh(modulation)
        slope = 1 - modulation.square()
    elif activation == "sigmoid":
        activated = torch.sigmoid(modulation)
        slope = activated * (1 - activated)
        modulation = activated - 0.5
    factor = modulation + 1
    if activation == "demod":
        # V/(‖V‖ + ε): dV = (dW − V·⟨dW, V⟩/(‖V‖·(‖V‖ + ε)))/(‖V‖ + ε); a zero row passes dW/ε.
        modulated = weight * factor
        norm = modulated.norm(dim=-1, keepdim=True)
        along = (grad * modulated).sum(-1, keepdim=True)
        safe = torch.where(norm > 0, norm, 1.0)
        grad = (grad - modulated * (along / (safe * (norm + EPS)))) / (norm + EPS)
    dweight = (grad * factor).sum(0)
    dmodulation = grad * weight * slope * left.shape[-1] ** -0.5
    dleft = torch.bmm(dmodulation, right.transpose(1, 2))
    dright = torch.bmm(left.transpose(1, 2), dmodulation)
    return dweight, dleft, dright
