"""A chain of layers at points, each set of points with its own weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from digan_fast.reference import linear_act as reference


def chain(
    linear_act: Callable[..., Tensor],
    coordinates: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor | None],
    activations: Sequence[str],
    gains: Sequence[float],
) -> Tensor:
    """coordinates [B, N, D] or [1, N, D], weights [B, O, I]; ``linear_act`` is the op, or its reference."""
    x = coordinates.expand(weights[0].shape[0], -1, -1)
    for weight, bias, activation, gain in zip(weights, biases, activations, gains, strict=True):
        x = linear_act(x, weight, bias, activation, gain, None)
    return x


def coord_mlp(
    coordinates: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor | None],
    activations: Sequence[str],
    gains: Sequence[float],
) -> Tensor:
    return chain(reference.linear_act, coordinates, weights, biases, activations, gains)
