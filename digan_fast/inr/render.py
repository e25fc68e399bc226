"""Renders the levels of an INR at given times by one op, or by a differentiable composition of ops."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import SupportsIndex

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint as recompute

from digan_fast import transforms
from digan_fast.levels import Coordinates, Layer, Level, Window
from digan_fast.ops.coord_linear import coord_linear
from digan_fast.ops.linear_act import linear_act
from digan_fast.ops.render import render as render_in_one
from digan_fast.precision import MIXED, MIXED_LEVELS, RENDER_PRECISIONS, computes_half
from digan_fast.reference.render import Products, evaluate, lowered


def render(
    levels: Sequence[Level],
    times: Tensor,
    resolution: int,
    size: int,
    window: Window,
    precision: str,
    checkpoint: bool,
) -> Tensor:
    """The window [B, T, C, H, W] of pictures of side ``size``, where ``resolution`` is the side at scale 1.

    With gradients, under torch.func's transforms, and in mixed precision on a GPU, it is composed of differentiable
    ops; otherwise it is one op with bounded memory.
    """
    chosen = [level.at(times, level.side * size // resolution) for level in levels]
    tensors = [tensor for level in chosen for tensor in _tensors(level)]
    formula = transforms.composed("render", tensors)
    precisions = _of_levels(precision, len(chosen), computes_half(times))
    in_one = len(set(precisions)) == 1 and precisions[0] in RENDER_PRECISIONS
    if in_one and not formula and not (torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)):
        return render_in_one(chosen, size, window, precisions[0])
    if precision == "int8":
        raise ValueError("precision: 'int8' has no gradients; render under torch.no_grad(), or inr.detach()")

    def composed(*part: Level) -> Tensor:
        low = list(map(lowered, part, precisions))
        return evaluate(low, size, window, Products(linear_act, coord_linear, linear_act))

    # torch.func's transforms do not support the hooks that recomputing activations needs.
    if not checkpoint or formula or times.numel() == 0:
        return composed(*chosen)
    pictures = []
    for video in zip(*map(_videos, chosen), strict=True):
        for frame in range(times.shape[1]):
            part = [level.frames(slice(frame, frame + 1)) for level in video]
            picture = recompute(composed, *part, use_reentrant=False, preserve_rng_state=False)
            pictures.append(picture)
    return torch.cat(pictures).unflatten(0, times.shape).squeeze(2)


def _of_levels(precision: str, count: int, has_half: bool) -> list[str]:
    """The precision of each level, coarse to fine."""
    if precision != MIXED:
        return [precision] * count
    high = min(MIXED_LEVELS, count) if has_half else 0
    return ["float32"] * (count - high) + ["float16"] * high


def _videos(level: Level) -> list[Level]:
    """The level of each video."""

    def layers(entry: Layer) -> list[Layer]:
        return [replace(entry, weight=weight) for weight in entry.weight.split(1)]

    batch = level.to_rgb.weight.shape[0]
    coordinates: Iterable[Coordinates | None] = [None] * batch
    if level.frequency is not None and level.phase is not None:
        coordinates = map(Coordinates, level.frequency.split(1), level.phase.split(1))
    own = zip(*map(layers, level.layers), strict=True)
    parts = zip(coordinates, own, layers(level.to_rgb), strict=True)
    return [Level(level.side, *part) for part in parts]


def _tensors(level: Level) -> list[Tensor]:
    coordinates = [tensor for tensor in (level.frequency, level.phase) if tensor is not None]
    return coordinates + [tensor for layer in (*level.layers, level.to_rgb) for tensor in (layer.weight, layer.bias)]


def checked_window(window: Window | None, size: int) -> Window:
    if window is None:
        return (0, 0, size, size)
    whole = len(window) == 4 and all(isinstance(extent, SupportsIndex) for extent in window)
    if not whole or window[2] < 1 or window[3] < 1:
        raise ValueError(f"window: {window}, expected integers (top, left, height ≥ 1, width ≥ 1)")
    top, left, height, width = (operator.index(extent) for extent in window)
    return (top, left, height, width)
