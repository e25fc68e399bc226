"""Coordinate MLPs at N points, weights shared by the batch or one set per sample.

Layer i maps u [B, N, I] to ``y = act(γ∘(ω·W·u + ω·b) + ω·β)``, where u is the layer before's y, with ``skips[i]``
followed by the network's input, and then ``s∘u + t``.  γ, β are ``scales`` and ``shifts`` [B, O]; s, t are
``input_scales`` and ``input_shifts`` [B, I].  The first extent of every tensor is B or 1.  The network's input is the
coordinates, or if ``encoded`` what the first layer makes of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from digan_fast.reference.activations import ACTIVATIONS, Activation
from digan_fast.reference.linear_act import product

GAUSS = Activation(
    lambda z: torch.exp(-0.5 * z.square()),
    lambda grad, z: grad * -z * torch.exp(-0.5 * z.square()),
)
MLP_ACTIVATIONS = {name: ACTIVATIONS[name] for name in ("linear", "relu", "lrelu", "tanh", "sigmoid", "sine")} | {
    "gauss": GAUSS
}

Optional = Sequence[Tensor | None]
# (u, ω·W, ω·b or None, activation) → act(W·u + b)
Step = Callable[[Tensor, Tensor, Tensor | None, str], Tensor]

# The lists of tensors, in the order of the arguments and of the gradients.
_WEIGHT, _BIAS, _SCALE, _SHIFT, _INPUT_SCALE, _INPUT_SHIFT = range(6)
LISTS = 6

_LOW = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}


def operand_types(skips: Sequence[bool], encoded: bool, precision: str) -> list[torch.dtype | None]:
    """The type to which each layer's operands are rounded; None for those that are not.

    The last layer and what multiplies coordinates themselves are not.
    """
    last = len(skips) - 1
    return [_LOW[precision] if 0 < i < last and (encoded or not skip) else None for i, skip in enumerate(skips)]


def batch_of(tensors: Sequence[Tensor | None]) -> int:
    """B, the first extent of every tensor but those where it is 1."""
    return next((t.shape[0] for t in tensors if t is not None and t.shape[0] != 1), 1)


def by_point(modulation: Tensor) -> Tensor:
    """[B, C] as [B, 1, C]."""
    return modulation.unsqueeze(1)


def multiply(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """``x·Wᵀ + b``: x [B, N, I], weight [B, O, I], bias [B, O], each with B or 1; a shared weight is not expanded."""
    if weight.shape[0] == 1:
        z = F.linear(x, weight[0])
        return z if bias is None else z + by_point(bias)
    return product(x.expand(weight.shape[0], -1, -1), weight, None if bias is None else bias.expand(len(weight), -1))


def _rounded(x: Tensor, dtype: torch.dtype | None) -> Tensor:
    return x if dtype is None else x.to(dtype).to(x.dtype)


def _layer_input(
    x: Tensor, features: Tensor, skip: bool, scale: Tensor | None, shift: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The layer's input before and after its modulation."""
    if skip:
        batch = batch_of((x, features))
        x = torch.cat((x.expand(batch, -1, -1), features.expand(batch, -1, -1)), -1)
    u = x if scale is None else x * by_point(scale)
    return x, u if shift is None else u + by_point(shift)


def chain(
    step: Step,
    convert: Callable[[Tensor, torch.dtype | None], Tensor],
    coordinates: Tensor,
    weights: Sequence[Tensor],
    biases: Optional,
    scales: Optional,
    shifts: Optional,
    input_scales: Optional,
    input_shifts: Optional,
    activations: Sequence[str],
    omegas: Sequence[float],
    skips: Sequence[bool],
    encoded: bool,
    precision: str,
) -> Tensor:
    """The network by layers of ``step``; ``convert`` turns a weight into an operand of a type."""
    batch = batch_of((coordinates, *weights, *biases, *scales, *shifts, *input_scales, *input_shifts))
    x = features = coordinates
    types = operand_types(skips, encoded, precision)
    for i, (weight, bias, omega) in enumerate(zip(weights, biases, omegas, strict=True)):
        _, u = _layer_input(x, features, skips[i], input_scales[i], input_shifts[i])
        scale, shift = scales[i], shifts[i]
        modulated = scale is not None or shift is not None
        x = step(
            convert(u, types[i]),
            convert(weight * omega, types[i]),
            None if bias is None else bias * omega,
            "linear" if modulated else activations[i],
        )
        if modulated:
            x = x if scale is None else x * by_point(scale)
            x = x if shift is None else x + by_point(shift * omega)
            x = MLP_ACTIVATIONS[activations[i]].forward(x)
        if encoded and i == 0:
            features = x
    return x.expand(batch, -1, -1)


def _step(u: Tensor, weight: Tensor, bias: Tensor | None, activation: str) -> Tensor:
    return MLP_ACTIVATIONS[activation].forward(multiply(u, weight, bias))


def coord_mlp(coordinates: Tensor, weights: Sequence[Tensor], *rest: object) -> Tensor:
    """[B, N, O]; the arguments are those of :func:`chain` after ``convert``."""
    return chain(_step, _rounded, coordinates, weights, *rest)  # type: ignore[arg-type]


def summed(grad: Tensor, like: Tensor) -> Tensor:
    """The gradient by a tensor whose first extent may be 1 where that of ``grad`` is B."""
    return grad.sum(0, keepdim=True) if like.shape[0] == 1 != grad.shape[0] else grad


def _weight_gradient(dz: Tensor, u: Tensor, weight: Tensor) -> Tensor:
    batch = batch_of((dz, u))
    dz, u = dz.expand(batch, -1, -1), u.expand(batch, -1, -1)
    if weight.shape[0] == 1:
        # Batched gradients have no flatten.
        return (dz.reshape(-1, dz.shape[2]).t() @ u.reshape(-1, u.shape[2])).unsqueeze(0)
    return torch.bmm(dz.transpose(1, 2), u)


def coord_mlp_backward(
    grad: Tensor,
    coordinates: Tensor,
    weights: Sequence[Tensor],
    biases: Optional,
    scales: Optional,
    shifts: Optional,
    input_scales: Optional,
    input_shifts: Optional,
    activations: Sequence[str],
    omegas: Sequence[float],
    skips: Sequence[bool],
    encoded: bool,
    precision: str,
    needed: Sequence[bool],
) -> list[Tensor]:
    """The gradients of coordinates, weights, biases and so on, in this order, layer by layer within each.

    Those not ``needed``, a flag for each, are empty.
    """
    count = len(weights)
    given: list[Tensor | None] = [coordinates, *weights, *biases, *scales, *shifts, *input_scales, *input_shifts]
    found = [grad.new_empty(0) for _ in given]

    def wanted(group: int, i: int) -> bool:
        place = 1 + group * count + i
        return given[place] is not None and needed[place]

    def keep(group: int, i: int, gradient: Tensor) -> None:
        place = 1 + group * count + i
        tensor = given[place]
        assert tensor is not None
        found[place] = summed(gradient, tensor)

    x = features = coordinates
    types = operand_types(skips, encoded, precision)
    before, inputs, operands, products, sums = [], [], [], [], []
    for i in range(count):
        before.append(x)
        x, u = _layer_input(x, features, skips[i], input_scales[i], input_shifts[i])
        inputs.append(x)
        operands.append((_rounded(u, types[i]), _rounded(weights[i] * omegas[i], types[i])))
        bias, scale, shift = biases[i], scales[i], shifts[i]
        products.append(multiply(*operands[i], None if bias is None else bias * omegas[i]))
        z = products[i] if scale is None else products[i] * by_point(scale)
        sums.append(z if shift is None else z + by_point(shift * omegas[i]))
        x = MLP_ACTIVATIONS[activations[i]].forward(sums[i])
        if encoded and i == 0:
            features = x
    dx, dfeatures = summed(grad, x), torch.zeros_like(features)
    for i in reversed(range(count)):
        if encoded and i == 0:
            dx = dx + dfeatures
        dz = MLP_ACTIVATIONS[activations[i]].backward(dx, sums[i])
        scale, omega = scales[i], omegas[i]
        if wanted(_SCALE, i):
            keep(_SCALE, i, (dz * products[i]).sum(1))
        if wanted(_SHIFT, i):
            keep(_SHIFT, i, dz.sum(1) * omega)
        dz = summed(dz if scale is None else dz * by_point(scale), products[i])
        if wanted(_BIAS, i):
            keep(_BIAS, i, dz.sum(1) * omega)
        dz, (u, weight) = _rounded(dz, types[i]), operands[i]
        if wanted(_WEIGHT, i):
            keep(_WEIGHT, i, _weight_gradient(dz, u, weights[i]) * omega)
        du = multiply(dz, weight.transpose(1, 2), None)
        if wanted(_INPUT_SCALE, i):
            keep(_INPUT_SCALE, i, (du * inputs[i]).sum(1))
        if wanted(_INPUT_SHIFT, i):
            keep(_INPUT_SHIFT, i, du.sum(1))
        input_scale = input_scales[i]
        du = summed(du if input_scale is None else du * by_point(input_scale), inputs[i])
        if skips[i]:
            channels = before[i].shape[2]
            dfeatures = dfeatures + summed(du[..., channels:], features)
            du = du[..., :channels]
        dx = summed(du, before[i])
    if needed[0]:
        found[0] = dx if encoded else dx + dfeatures
    return found
