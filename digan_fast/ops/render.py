"""``digan_fast::render``: the INRs of B videos at T times, on a window of their pictures; inference.

frequencies [B, K, 2] and phases [B, T, K] of each level, K = 0 without sinusoids; weights [B, O, I] and biases [O] of
each level's layers and then of its to-RGB; ``sides`` of the levels' grids and their numbers of layers; activation, gain
and clamp (infinity: none) of each weight; the picture's side, the window (top, left, height, width); the precision,
float32, bfloat16 or int8, of everything but phases, to-RGB and colours.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from digan_fast import dispatch, tiling
from digan_fast.levels import Layer, Level, Window, assembled, flattened, walk
from digan_fast.ops import _cuda as _cuda_border
from digan_fast.ops._capabilities import unknown, why_not
from digan_fast.ops._pointers import NATIVE_ACTIVATIONS, fresh, ptr
from digan_fast.ops._registry import define
from digan_fast.ops._triton import lazily
from digan_fast.reference import render as reference

_NATIVE_PRECISIONS = ("float32", "bfloat16", "int8")
# The order of `enum class Precision` in csrc/include/digan_fast/render.h.
_CUDA_PRECISIONS = (*_NATIVE_PRECISIONS, "float16", "tf32")
# Frames × pixels that the CUDA kernels render at once: 512 bytes are stored per four of them between two grids.
_PIXELS_AT_ONCE = 1 << 20
_LAYER_BY_LAYER = reference.Products(
    functools.partial(dispatch.call, "linear_act"),
    functools.partial(dispatch.call, "coord_linear"),
    functools.partial(dispatch.call, "linear_act"),
)

_op = define(
    "render",
    "(Tensor[] frequencies, Tensor[] phases, Tensor[] weights, Tensor[] biases, int[] sides, int[] layers, "
    "str[] activations, float[] gains, float[] clamps, int size, int[] window, str precision) -> Tensor",
    tiling.render,
    lambda *args: args[2][-1].new_empty(_shape(args[1], args[2], args[-2])),
)


def _shape(phases: Sequence[Tensor], weights: Sequence[Tensor], window: Sequence[int]) -> tuple[int, ...]:
    return (*phases[0].shape[:2], weights[-1].shape[1], *window[2:])


def _level_tuples(levels: Sequence[Level], address: Callable[[Tensor, str], int]) -> list[tuple[object, ...]]:
    """Levels in the compiled module's form."""

    def layer(entry: Layer, name: str) -> tuple[object, ...]:
        return (
            address(entry.weight, f"{name}.weight"),
            address(entry.bias, f"{name}.bias"),
            *entry.weight.shape[1:],
            NATIVE_ACTIVATIONS.index(entry.activation),
            entry.gain,
            math.inf if entry.clamp is None else entry.clamp,
        )

    def level(entry: Level, name: str) -> tuple[object, ...]:
        sinusoids: tuple[int, int, int] = (0, 0, 0)
        if entry.frequency is not None and entry.phase is not None:
            addresses = address(entry.frequency, f"{name}.frequency"), address(entry.phase, f"{name}.phase")
            sinusoids = (entry.frequency.shape[1], *addresses)
        layers = [layer(each, f"{name}.layers.{i}") for i, each in enumerate(entry.layers)]
        return (entry.side, *sinusoids, layers, layer(entry.to_rgb, f"{name}.to_rgb"))

    return [level(each, f"levels.{i}") for i, each in enumerate(levels)]


def _place(size: int, window: Sequence[int]) -> dict[str, int]:
    """The picture and window among the compiled functions' arguments."""
    return {"side": size, **dict(zip(("top", "left", "height", "width"), window, strict=True))}


def _native(*args: Any) -> Tensor:
    *lists, size, window, precision = args
    out = fresh(_shape(lists[1], lists[2], window))
    if out.numel() == 0:
        return out
    alive: list[Tensor] = []

    def address(tensor: Tensor, name: str) -> int:
        alive.append(tensor.contiguous())
        return ptr(alive[-1], name)

    dispatch.native_module().render_cpu(
        out=ptr(out, "out"),
        videos=out.shape[0],
        frames=out.shape[1],
        **_place(size, window),
        levels=_level_tuples(assembled(*lists), address),
        precision=_NATIVE_PRECISIONS.index(precision),
        threads=torch.get_num_threads(),
    )
    return out


def _cuda(*args: Any) -> Tensor:
    *lists, size, window, precision = args
    out = lists[2][-1].new_empty(_shape(lists[1], lists[2], window))
    if out.numel() == 0:
        return out
    how = _cuda_precision(lists, precision)
    levels = assembled(*lists)
    if reason := _why_not_fused_levels(levels, out, size, window, how):
        dispatch.passed_over("render", "the fused kernel", reason)
        layered = [reference.lowered(level, precision) for level in levels]
        return tiling.in_tiles(layered, size, tuple(window), _LAYER_BY_LAYER)
    levels = walk(levels, "", lambda _, tensor: tensor.float())
    budget = max(1, _PIXELS_AT_ONCE // len(out))
    return tiling.in_parts(
        out, levels, size, tuple(window), budget, lambda some, tile: _cuda_part(some, size, tile, how)
    ).to(out.dtype)


def _cuda_part(levels: Sequence[Level], size: int, window: Window, precision: str) -> Tensor:
    phase, to_rgb = levels[0].phase, levels[-1].to_rgb.weight
    assert phase is not None
    alive: list[Tensor] = []

    def address(tensor: Tensor, name: str) -> int:
        alive.append(tensor.contiguous())
        return _cuda_border.address(alive[-1], name, torch.float32)

    out = to_rgb.new_empty((*phase.shape[:2], to_rgb.shape[1], *window[2:]))
    call = {
        "videos": out.shape[0],
        "frames": out.shape[1],
        **_place(size, window),
        "levels": _level_tuples(levels, address),
        "precision": _CUDA_PRECISIONS.index(precision),
    }
    module = _cuda_border.module()
    with _cuda_border.on_device(out):
        workspace = out.new_empty(module.render_cuda_workspace(**call), dtype=torch.uint8)
        module.render_cuda(
            **call,
            out=_cuda_border.address(out, "out"),
            workspace=_cuda_border.address(workspace, "workspace", alignment=16),
            stream=_cuda_border.stream(out),
        )
    return out


def _cuda_precision(lists: Sequence[Any], precision: str) -> str:
    """float32 multiplies as tf32 if torch is set to; a lower type is its own precision."""
    own = str(lists[2][0].dtype).removeprefix("torch.")
    if precision != "float32" or own != "float32":
        return own if precision == "float32" else precision
    return "tf32" if _cuda_border.multiplies_as_tf32(torch.float32) else "float32"


def _why_not_native(*args: Any) -> str | None:
    frequencies, phases, weights, biases, _, _, activations, *_ = args
    for tensor in (*frequencies, *phases, *weights, *biases):
        if reason := why_not("render", "native", "linear", **{"the INR": tensor}):
            return reason
    return why_not("render", "native", unknown("render", "native", activations))


def _why_not_triton(*args: Any) -> str | None:
    return _why_not_on_gpu("triton", *args)


def _why_not_cuda(*args: Any) -> str | None:
    return _why_not_on_gpu("cuda", *args)


def _why_not_on_gpu(backend: str, *args: Any) -> str | None:
    *lists, _, _, precision = args
    if precision == "int8":
        return "it has no int8"
    tensors = {f"tensor {i} of the INR": each for i, each in enumerate(itertools.chain(*lists[:4]))}
    return why_not("render", backend, unknown("render", backend, lists[6]), **tensors)


def _why_not_fused(*args: Any) -> str | None:
    """Why a grid's levels do not fit one kernel; this depends only on extents, so any address will do."""
    *lists, size, window, precision = args
    return _why_not_fused_levels(assembled(*lists), lists[1][0], size, window, _cuda_precision(lists, precision))


def _why_not_fused_levels(
    levels: Sequence[Level], like: Tensor, size: int, window: Sequence[int], precision: str
) -> str | None:
    found: str = _cuda_border.module().render_cuda_why_not(
        videos=like.shape[0],
        frames=like.shape[1],
        **_place(size, window),
        levels=_level_tuples(levels, lambda *_: 4),
        precision=_CUDA_PRECISIONS.index(precision),
    )
    return found or None


dispatch.register("render", "cuda", _cuda, _why_not_cuda)
dispatch.register("render", "native", _native, _why_not_native)
dispatch.register("render", "triton", lazily("render"), _why_not_triton)


def render(levels: Sequence[Level], size: int, window: Sequence[int], precision: str) -> Tensor:
    """The colours [B, T, C, H, W], without gradients."""
    result: Tensor = _op(*flattened(levels), size, list(window), precision)
    return result
