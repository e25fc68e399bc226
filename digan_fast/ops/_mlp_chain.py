"""Coordinate MLPs layer by layer, by ``linear_act``, whose kernels store every layer's output."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from digan_fast.ops.linear_act import linear_act
from digan_fast.reference import coord_mlp as reference


def _layer(u: Tensor, weight: Tensor, bias: Tensor | None, activation: str) -> Tensor:
    """A layer by ``linear_act``, in the weight's type."""
    bias = None if bias is None else bias.to(weight.dtype)
    if activation not in ("linear", "relu", "lrelu", "sine"):
        return reference.MLP_ACTIVATIONS[activation].forward(_layer(u, weight, bias, "linear"))
    if len(weight) > 1:
        x = u.expand(len(weight), -1, -1)
        own = bias if bias is None or len(bias) > 1 else bias[0]
        return linear_act(x, weight, own, activation, 1.0, None)
    if bias is not None and len(bias) > 1:
        z = linear_act(u.reshape(1, -1, u.shape[2]), weight, None, "linear", 1.0, None)
        z = z.reshape(*u.shape[:2], -1) + reference.by_point(bias)
        return reference.MLP_ACTIVATIONS[activation].forward(z)
    flat = linear_act(u.reshape(1, -1, u.shape[2]), weight, None if bias is None else bias[0], activation, 1.0, None)
    return flat.reshape(*u.shape[:2], weight.shape[1])


def _operand(x: Tensor, dtype: torch.dtype | None) -> Tensor:
    return x if dtype is None else x.to(dtype)


def chain(*args: Any) -> Tensor:
    """[B, N, O]; the arguments are those of ``coord_mlp``."""
    return reference.chain(_layer, _operand, *args)
