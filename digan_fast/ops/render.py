"""``digan_fast::render``: the INRs of B videos at T times, on a window of their pictures; inference.

frequencies [B, K, 2] and phases [B, T, K] of each level, K = 0 where it has no waves; weights [B, O, I] and biases [O]
of each level's layers and then of its to-RGB; ``sides`` of the levels' grids and how many layers they have; activation,
gain and clamp (infinity: none) of each weight; the picture's side, the window (top, left, height, width); the
precision, float32, bfloat16 or int8, of everything but phases, to-RGB and colours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from digan_fast import dispatch
from digan_fast.ops._pointers import NATIVE_ACTIVATIONS, fresh, ptr
from digan_fast.ops._registry import define
from digan_fast.ops._triton import lazily, why_not_triton
from digan_fast.reference import render as reference
from digan_fast.reference.render import Layer, Level, flattened

_NATIVE_PRECISIONS = ("float32", "bfloat16", "int8")
_RENDERED = ("linear", "relu", "lrelu", "sine")

_op = define(
    "render",
    "(Tensor[] frequencies, Tensor[] phases, Tensor[] weights, Tensor[] biases, int[] sides, int[] layers, "
    "str[] activations, float[] gains, float[] clamps, int size, int[] window, str precision) -> Tensor",
    reference.render,
    lambda *args: _empty(args[1], args[2], args[-2]),
)


def _empty(phases: Sequence[Tensor], weights: Sequence[Tensor], window: Sequence[int]) -> Tensor:
    return weights[-1].new_empty((*phases[0].shape[:2], weights[-1].shape[1], *window[2:]))


def _native(*args: Any) -> Tensor:
    *lists, size, window, precision = args
    out = fresh(_empty(lists[1], lists[2], window))
    if out.numel() == 0:
        return out
    alive: list[Tensor] = []

    def address(tensor: Tensor, name: str) -> int:
        alive.append(tensor.contiguous())
        return ptr(alive[-1], name)

    def layer(entry: Layer, name: str) -> tuple[object, ...]:
        return (
            address(entry.weight, f"{name}.weight"),
            address(entry.bias, f"{name}.bias"),
            *entry.weight.shape[1:],
            NATIVE_ACTIVATIONS.index(entry.activation),
            entry.gain,
            float("inf") if entry.clamp is None else entry.clamp,
        )

    def level(entry: Level, name: str) -> tuple[object, ...]:
        waves: tuple[int, int, int] = (0, 0, 0)
        if entry.frequency is not None and entry.phase is not None:
            addresses = address(entry.frequency, f"{name}.frequency"), address(entry.phase, f"{name}.phase")
            waves = (entry.frequency.shape[1], *addresses)
        layers = [layer(each, f"{name}.layers.{i}") for i, each in enumerate(entry.layers)]
        return (entry.side, *waves, layers, layer(entry.to_rgb, f"{name}.to_rgb"))

    dispatch.native_module().render_cpu(
        out=ptr(out, "out"),
        videos=out.shape[0],
        frames=out.shape[1],
        side=size,
        window=list(window),
        levels=[level(each, f"levels.{i}") for i, each in enumerate(reference.assembled(*lists))],
        precision=_NATIVE_PRECISIONS.index(precision),
        threads=torch.get_num_threads(),
    )
    return out


def _why_not_native(*args: Any) -> str | None:
    frequencies, phases, weights, biases, _, _, activations, *_ = args
    for tensor in (*frequencies, *phases, *weights, *biases):
        if tensor.device.type != "cpu":
            return f"the INR is on {tensor.device}"
        if tensor.dtype != torch.float32:
            return f"the INR is {tensor.dtype}; it takes float32"
    other = next((name for name in activations if name not in _RENDERED), None)
    return None if other is None else f"it has no activation {other!r}"


def _why_not_triton(*args: Any) -> str | None:
    frequencies, phases, weights, biases, _, _, activations, *_, precision = args
    if precision == "int8":
        return "it has no int8"
    tensors = (*frequencies, *phases, *weights, *biases)
    other = next((name for name in activations if name not in _RENDERED), "linear")
    return why_not_triton(_RENDERED, other, **{f"tensor {i} of the INR": each for i, each in enumerate(tensors)})


dispatch.register("render", "native", _native, _why_not_native)
dispatch.register("render", "triton", lazily("render"), _why_not_triton)


def render(levels: Sequence[Level], size: int, window: Sequence[int], precision: str) -> Tensor:
    """The colours [B, T, C, H, W], without gradients."""
    result: Tensor = _op(*flattened(levels), size, list(window), precision)
    return result
