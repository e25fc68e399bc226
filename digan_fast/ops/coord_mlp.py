"""``digan_fast::coord_mlp``: a chain of layers at points, whose activations are never stored; inference.

coordinates [B, N, D] or [1, N, D]; per layer weights [B, O, I], bias [O] or [B, O] or none, activation and gain.  A
layer multiplies in the type of its weight, to which its inputs are rounded, and so is its output.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from digan_fast import dispatch
from digan_fast.ops._capabilities import unknown, why_not
from digan_fast.ops._pointers import NATIVE_ACTIVATIONS, fresh, ptr, wide
from digan_fast.ops._registry import composable, define
from digan_fast.ops.linear_act import linear_act
from digan_fast.reference import coord_mlp as reference


def _fake(coordinates: Tensor, weights: Sequence[Tensor], *_: Any) -> Tensor:
    return weights[-1].new_empty((len(weights[0]), coordinates.shape[1], weights[-1].shape[1]))


_op = define(
    "coord_mlp",
    "(Tensor coordinates, Tensor[] weights, Tensor?[] biases, str[] activations, float[] gains) -> Tensor",
    reference.coord_mlp,
    _fake,
)


def _native(
    coordinates: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor | None],
    activations: Sequence[str],
    gains: Sequence[float],
) -> Tensor:
    out = fresh(_fake(coordinates, weights))
    if out.numel() == 0 or any(weight.numel() == 0 for weight in weights):
        return reference.coord_mlp(coordinates, weights, biases, activations, gains)
    coordinates = coordinates.contiguous()
    narrow = [weight.dtype == torch.bfloat16 for weight in weights]
    weights = [weight.to(torch.float32).contiguous() for weight in weights]
    biases = [wide(bias) for bias in biases]
    layers = [
        (
            ptr(weight, f"weights[{i}]"),
            ptr(bias, f"biases[{i}]"),
            bias is not None and bias.ndim == 2,
            *weight.shape[1:],
            NATIVE_ACTIVATIONS.index(activation),
            gain,
            narrow[i],
        )
        for i, (weight, bias, activation, gain) in enumerate(zip(weights, biases, activations, gains, strict=True))
    ]
    dispatch.native_module().coord_mlp_cpu(
        out=ptr(out, "out"),
        coordinates=ptr(coordinates, "coordinates"),
        own_coordinates=len(coordinates) > 1,
        sets=out.shape[0],
        points=out.shape[1],
        layers=layers,
        threads=torch.get_num_threads(),
    )
    return out


def _why_not_native(
    coordinates: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor | None],
    activations: Sequence[str],
    gains: Sequence[float],
) -> str | None:
    tensors: dict[str, Tensor | None] = {"coordinates": coordinates}
    tensors |= {f"weights[{i}]": weight for i, weight in enumerate(weights)}
    tensors |= {f"biases[{i}]": bias for i, bias in enumerate(biases)}
    for name, tensor in (("coordinates", coordinates), (f"weights[{len(weights) - 1}]", weights[-1])):
        if tensor.dtype == torch.bfloat16:
            return f"{name} is {tensor.dtype}; it takes float32"
    return why_not("coord_mlp", "native", unknown("coord_mlp", "native", tuple(activations)), **tensors)


dispatch.register("coord_mlp", "native", _native, _why_not_native)


_run = composable("coord_mlp", _op)


def coord_mlp(
    coordinates: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor | None],
    activations: Sequence[str],
    gains: Sequence[float],
) -> Tensor:
    """[B, N, O]; with gradients a chain of ``linear_act``, otherwise one op."""
    tensors = [coordinates, *weights, *(bias for bias in biases if bias is not None)]
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        return reference.chain(linear_act, coordinates, weights, biases, activations, gains)
    result: Tensor = _run(coordinates, list(weights), list(biases), list(activations), list(gains))
    return result
