"""Coordinate MLPs with everything that a layer can have, and their formula point by point."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from digan_fast import functional
from digan_fast.functional import MLPLayer

TENSORS = ("weight", "bias", "scale", "shift", "input_scale", "input_shift")


def network(
    batch: int, widths: Sequence[int], own_biases: bool = False, dtype: torch.dtype = torch.float64
) -> tuple[list[Tensor], list[Tensor]]:
    """Weights initialised as in SIREN: uniform within √(6/I), divided by ω = 30 after the first layer."""
    weights, biases = [], []
    for i, (inputs, outputs) in enumerate(pairwise(widths)):
        bound = 1 / inputs if i == 0 else math.sqrt(6 / inputs) / 30
        weights.append((torch.rand(batch, outputs, inputs, dtype=torch.float64) * 2 - 1).mul(bound).to(dtype))
        shape = (batch, outputs) if own_biases else (outputs,)
        biases.append((torch.rand(shape, dtype=torch.float64) * 2 - 1).mul(bound).to(dtype))
    return weights, biases


def modulated(
    batch: int,
    inputs: int,
    widths: Sequence[int],
    activations: Sequence[str],
    skips: Sequence[int] = (),
    features: int = 0,
    shared: bool = False,
    dtype: torch.dtype = torch.float64,
    absent: Sequence[Sequence[str]] = (),
) -> list[MLPLayer]:
    """Layers with every modulation in some of them, some for each sample and some for all.

    ``absent``: by layer, the tensors that it does not have in any case.
    """
    layers, width, network_input = [], features or inputs, features or inputs
    for i, (outputs, activation) in enumerate(zip(widths, activations, strict=True)):
        depth = width + (network_input if i in skips else 0)
        own = 1 if shared else batch
        drawn = {
            "weight": torch.randn(own, outputs, depth) / math.sqrt(depth),
            "bias": torch.randn(batch if i % 2 else 1, outputs) / 4 if i % 3 != 2 else None,
            "scale": 1 + torch.randn(batch, outputs) / 4 if i % 2 == 0 else None,
            "shift": torch.randn(1 if i % 2 else batch, outputs) / 4 if i % 4 != 3 else None,
            "input_scale": 1 + torch.randn(batch, depth) / 4 if i % 3 == 1 else None,
            "input_shift": torch.randn(batch, depth) / 4 if i % 3 != 0 else None,
        }
        left_out = absent[i] if i < len(absent) else ()
        tensors = {
            name: None if tensor is None or name in left_out else tensor.to(dtype) for name, tensor in drawn.items()
        }
        omega = 2.0 if activation in ("sine", "gauss") else 0.75
        layers.append(MLPLayer(activation=activation, omega=omega, skip=i in skips, **tensors))  # type: ignore[arg-type]
        width = outputs
    return layers


def rounding_layers(modulated: bool) -> list[MLPLayer]:
    """The identity of one number, which is rounded where the hidden layer reads it; modulated, in another place."""
    first, hidden, last = (MLPLayer(torch.ones(1, 1)) for _ in range(3))
    return [first, hidden._replace(input_scale=torch.ones(1)) if modulated else hidden, last]


def float16_edges() -> Tensor:
    """[N, 1]: every float16, what lies in the middle between two, its neighbours in float32, and numbers beyond."""
    every = torch.arange(2**16, dtype=torch.int32).to(torch.int16).view(torch.float16)
    finite = every[every.isfinite()].double().unique()
    middles = ((finite[1:] + finite[:-1]) / 2).float()
    ends = torch.tensor([65520.0, 65519.996, 65536.0, 1e30, 2.0**-25, 1e-30, 1e-45])
    each = torch.cat((middles, ends, -ends))
    beside = [each.nextafter(torch.tensor(end)) for end in (torch.inf, -torch.inf)]
    return torch.cat((every.float(), each, *beside)).unsqueeze(1)


def tensors_of(layers: Sequence[MLPLayer]) -> list[Tensor]:
    return [tensor for layer in layers for name in TENSORS if (tensor := getattr(layer, name)) is not None]


def with_tensors(layers: Sequence[MLPLayer], tensors: Sequence[Tensor]) -> list[MLPLayer]:
    """The layers with other tensors, in the order of :func:`tensors_of`."""
    left = iter(tensors)
    return [
        layer._replace(**{name: next(left) for name in TENSORS if getattr(layer, name) is not None}) for layer in layers
    ]


def converted(layers: Sequence[MLPLayer], dtype: torch.dtype) -> list[MLPLayer]:
    return with_tensors(layers, [tensor.to(dtype) for tensor in tensors_of(layers)])


def evaluated(layers: Sequence[MLPLayer], coordinates: int = 1, fourier: int = 0) -> Callable[..., Tensor]:
    """``coord_mlp`` as a function of coordinates, frequency and phase if ``fourier`` is 2, and the layers' tensors."""

    def function(*tensors: Tensor) -> Tensor:
        own = with_tensors(layers, tensors[coordinates + fourier :])
        return functional.coord_mlp(tensors[0], own, *tensors[coordinates : coordinates + fourier])

    return function


_ACTIVATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "sine": np.sin,
    "gauss": lambda z: np.exp(-(z**2) / 2),
    "relu": lambda z: np.maximum(z, 0),
    "lrelu": lambda z: np.where(z > 0, z, 0.2 * z),
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
    "tanh": np.tanh,
    "linear": lambda z: z,
}


def formula(
    coordinates: Tensor, layers: Sequence[MLPLayer], frequency: Tensor | None = None, phase: Tensor | None = None
) -> Tensor:
    """Sample by sample and point by point, in NumPy."""
    given = [coordinates if coordinates.ndim == 3 else coordinates[None], *tensors_of(layers)]
    given += [tensor for tensor, ndim in ((frequency, 3), (phase, 2)) if tensor is not None and tensor.ndim == ndim]
    batch = max(len(tensor) for tensor in given if tensor.ndim > 1)

    def of(tensor: Tensor | None, b: int, ndim: int) -> np.ndarray | None:
        if tensor is None:
            return None
        return (tensor[b % len(tensor)] if tensor.ndim == ndim else tensor).detach().double().numpy()

    images = []
    for b in range(batch):
        rows = []
        points = of(coordinates, b, 3)
        assert points is not None
        for x in points:
            if frequency is not None:
                theta = of(frequency, b, 3) @ x  # type: ignore[operator]
                theta = theta if phase is None else theta + of(phase, b, 2)
                x = np.concatenate((np.sin(theta), np.cos(theta)))
            features = x
            for layer in layers:
                x = np.concatenate((x, features)) if layer.skip else x
                for name, combine in (("input_scale", np.multiply), ("input_shift", np.add)):
                    vector = of(getattr(layer, name), b, 2)
                    x = x if vector is None else combine(x, vector)
                x = of(layer.weight, b, 3) @ x
                for name, combine in (("bias", np.add), ("scale", np.multiply), ("shift", np.add)):
                    vector = of(getattr(layer, name), b, 2)
                    x = x if vector is None else combine(x, vector)
                x = _ACTIVATIONS[layer.activation](layer.omega * x)
            rows.append(x)
        images.append(np.stack(rows))
    return torch.from_numpy(np.stack(images))
