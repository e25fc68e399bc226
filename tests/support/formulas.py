"""The networks' layers in NumPy, in float64, written from their definitions; modules provide only the parameters."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

Array = NDArray[np.float64]
TAPS = np.array([1.0, 3.0, 3.0, 1.0]) / 8


def array(tensor: Tensor) -> Array:
    return tensor.detach().double().numpy()


def normalised(x: Array) -> Array:
    """Second-moment normalisation."""
    return x / np.sqrt((x**2).mean(1, keepdims=True) + 1e-8)


def linear(layer: nn.Module, x: Array, rate: float = 1.0) -> Array:
    weight = array(layer.weight)
    return x @ weight.T * (rate / math.sqrt(weight.shape[1])) + array(layer.bias) * rate


def clamped(x: Array, clamp: float | None) -> Array:
    return x if clamp is None else np.clip(x, -clamp, clamp)


def lrelu(x: Array, gain: float = 1.0, clamp: float | None = None) -> Array:
    """Leaky ReLU; the gain multiplies √2 and the clamp."""
    y = np.where(x < 0, 0.2 * x, x) * math.sqrt(2) * gain
    return clamped(y, None if clamp is None else clamp * gain)


def correlated(x: Array, weight: Array, padding: int, stride: int = 1) -> Array:
    """Cross-correlation of x [N, I, H, W] with weight [N or 1, O, I, k, k]."""
    size = weight.shape[-1]
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    height, width = x.shape[2] - size + 1, x.shape[3] - size + 1
    weight = np.broadcast_to(weight, (len(x), *weight.shape[1:]))
    out = sum(
        np.einsum("noi,nihw->nohw", weight[..., j, i], x[:, :, j : j + height, i : i + width])
        for j in range(size)
        for i in range(size)
    )
    return np.asarray(out)[:, :, ::stride, ::stride]


def resampled(x: Array, before: int, after: int, up: int = 1, down: int = 1, gain: float = 1.0) -> Array:
    """Zeros inserted, padded, convolved with [1, 3, 3, 1] in both directions, every ``down``-th sample kept."""
    batch, channels, height, width = x.shape
    spread = np.zeros((batch, channels, height * up, width * up))
    spread[:, :, ::up, ::up] = x
    kernel = np.outer(TAPS, TAPS) * gain
    padded = np.pad(spread, ((0, 0), (0, 0), (before, after), (before, after)))
    flat = padded.reshape(batch * channels, 1, *padded.shape[2:])
    out = correlated(flat, kernel[::-1, ::-1][None, None, None], 0)
    return out.reshape(batch, channels, *out.shape[2:])[:, :, ::down, ::down]


def mapped(mapping: nn.Module, latents: list[Array], layers: int) -> Array:
    """The mapping network's layers after the concatenation of the normalised latents."""
    w = np.concatenate(latents, 1)
    for index in range(layers):
        w = lrelu(linear(getattr(mapping, f"fc{index}"), w, 0.01))
    return w


def error(found: Tensor, expected: Array) -> float:
    """‖found − expected‖/‖expected‖."""
    assert found.shape == expected.shape
    return float(np.linalg.norm(array(found) - expected) / np.linalg.norm(expected))
