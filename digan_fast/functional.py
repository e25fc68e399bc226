"""The public ops, twice differentiable.

B videos, T frames each, K sinusoids, O outputs, I inputs, an H×W rectangle of pixels; channels are last.  Every
function raises ValueError, naming the argument, for an invalid shape or option.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from digan_fast import ops
from digan_fast.precision import PRECISIONS
from digan_fast.reference.activations import ACTIVATIONS

_COORD_ACTIVATIONS = tuple(name for name, kind in ACTIVATIONS.items() if kind.homogeneous)
_MLP_ACTIVATIONS = ("sine", "relu", "lrelu", "linear")
_MODULATIONS = ("demod", "tanh", "sigmoid", "linear")


def _shape(name: str, tensor: Tensor, expected: Sequence[int | str | None]) -> None:
    """Each entry of ``expected`` is an extent, or a letter that allows any."""
    fits = tensor.ndim == len(expected) and all(
        not isinstance(want, int) or want == have for want, have in zip(expected, tensor.shape, strict=True)
    )
    if not fits:
        wanted = ", ".join(str(extent) for extent in expected)
        raise ValueError(f"{name}: shape {tuple(tensor.shape)}, expected [{wanted}]")


def _dtype(name: str, tensor: Tensor, expected: torch.dtype) -> None:
    if tensor.dtype != expected:
        raise ValueError(f"{name}: {tensor.dtype}, expected {expected}")


def _bias(bias: Tensor | None, extent: int, dtype: torch.dtype, batch: int | None = None, name: str = "bias") -> None:
    """[extent], or also [batch, extent] if a batch is given."""
    if bias is None:
        return
    _shape(name, bias, [extent] if batch is None or bias.ndim != 2 else [batch, extent])
    _dtype(name, bias, dtype)


def _activation(activation: str, gain: float | None, allowed: Sequence[str]) -> float:
    if activation not in allowed:
        raise ValueError(f"activation: {activation!r}, expected one of {', '.join(allowed)}")
    gain = ACTIVATIONS[activation].gain if gain is None else float(gain)
    if not gain > 0:
        raise ValueError(f"gain: {gain}, expected a positive number")
    return gain


def _clamp(clamp: float | None) -> float | None:
    if clamp is not None and not clamp > 0:
        raise ValueError(f"clamp: {clamp}, expected a positive number or None")
    return None if clamp is None else float(clamp)


def bias_act(
    x: Tensor,
    bias: Tensor | None = None,
    dim: int = 1,
    activation: str = "linear",
    gain: float | None = None,
    clamp: float | None = None,
) -> Tensor:
    """``clamp(act(x + b)·gain, ±clamp)`` with ``bias`` [C] along ``dim`` of x.

    ``gain=None`` uses the activation's default: √2 for relu, lrelu (slope 0.2) and swish, 1 for the others.
    Source: StyleGAN2 (arXiv 1912.04958), as used in DIGAN's networks (arXiv 2202.10571).
    """
    if not -x.ndim <= dim < x.ndim:
        raise ValueError(f"dim: {dim}, but x has {x.ndim} dimensions")
    dim %= x.ndim
    _bias(bias, x.shape[dim], x.dtype)
    gain = _activation(activation, gain, tuple(ACTIVATIONS))
    return ops.bias_act.bias_act(x, bias, dim, activation, gain, _clamp(clamp))


def conv3x3(x: Tensor, weight: Tensor, stride: int = 1, padding: int = 0, gain: float = 1.0) -> Tensor:
    """``torch.conv2d(x, weight * gain)`` for x [N, I, H, W] and weight [O, I, 3, 3]; stride 1 or 2, padding 0 to 2.

    Wide float32 layers on the CPU are computed by Winograd's minimal filtering with 4 (stride 2: 1.8) times fewer
    products and rounding errors of about 1.5e-6 of the norm; an infinity or NaN of x makes the patches of 4×4 outputs
    that read it NaN.  All else is PyTorch's convolution.  Source: Winograd, *Arithmetic Complexity of Computations*
    (1980).
    """
    _shape("x", x, ["N", "I", "H", "W"])
    _shape("weight", weight, ["O", x.shape[1], 3, 3])
    _dtype("weight", weight, x.dtype)
    if stride not in (1, 2):
        raise ValueError(f"stride: {stride}, expected 1 or 2")
    if padding not in (0, 1, 2):
        raise ValueError(f"padding: {padding}, expected 0, 1 or 2")
    if min(x.shape[2:]) + 2 * padding < 3:
        raise ValueError(f"x: shape {tuple(x.shape)}, expected at least {3 - 2 * padding} pixels in height and width")
    return ops.conv3x3.conv3x3(x, weight, stride, padding, float(gain))


def linear_act(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    activation: str = "linear",
    gain: float | None = None,
    clamp: float | None = None,
) -> Tensor:
    """``clamp(act(x·Wᵀ + b)·gain, ±clamp)``: x [B, …, I], weight [B, O, I], bias [O] or [B, O]; result [B, …, O].

    Each video has its own weights, shared by all its frames and pixels.
    """
    if x.ndim < 3:
        raise ValueError(f"x: shape {tuple(x.shape)}, expected [B, …, I] with three dimensions or more")
    _shape("weight", weight, [x.shape[0], "O", x.shape[-1]])
    _dtype("weight", weight, x.dtype)
    _bias(bias, weight.shape[1], x.dtype, x.shape[0])
    gain = _activation(activation, gain, tuple(ACTIVATIONS))
    return ops.linear_act.linear_act(x, weight, bias, activation, gain, _clamp(clamp))


def coord_linear(
    base: Tensor | None,
    frequency: Tensor,
    phase: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    grid: Sequence[int],
    activation: str = "linear",
    gain: float | None = None,
    clamp: float | None = None,
) -> Tensor:
    """``clamp(act(W·[sin θ, cos θ] + up(base) + b)·gain, ±clamp)``, θ = F·(x, y) + φ(t): [B, T, H, W, O].

    frequency [B, K, 2], phase [B, T, K] in radians, weight [B, O, 2K] (sines first), bias [O].  ``grid`` is (side,
    top, left, height, width): a rectangle, in pixels, of a side×side picture over [−1, 1)², x = 2i/side − 1 to the
    right and y upwards; it may extend beyond it.  ``base`` [B, T, h, w, O] has the rectangle's ancestors on the grid of
    half the side, rows top//2 … (top+height−1)//2, upsampled to the nearest.  arXiv 2202.10571, section 3.1.
    """
    if len(grid) != 5 or grid[0] < 1 or grid[3] < 0 or grid[4] < 0:
        raise ValueError(f"grid: {tuple(grid)}, expected (side ≥ 1, top, left, height ≥ 0, width ≥ 0)")
    _, top, left, height, width = grid = [int(extent) for extent in grid]
    _shape("frequency", frequency, ["B", "K", 2])
    batch, sinusoids = frequency.shape[:2]
    _shape("phase", phase, [batch, "T", sinusoids])
    _shape("weight", weight, [batch, "O", 2 * sinusoids])
    outputs = weight.shape[1]
    _bias(bias, outputs, weight.dtype)
    if base is not None:
        rows = (top + height + 1) // 2 - top // 2
        columns = (left + width + 1) // 2 - left // 2
        _shape("base", base, [batch, phase.shape[1], rows, columns, outputs])
    gain = _activation(activation, gain, _COORD_ACTIVATIONS)
    return ops.coord_linear.coord_linear(base, frequency, phase, weight, bias, grid, activation, gain, _clamp(clamp))


def coord_mlp(
    coordinates: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor | None] | None = None,
    activation: str = "sine",
    omega: float | Sequence[float] = 30.0,
    frequency: Tensor | None = None,
    precision: str = "float32",
) -> Tensor:
    """A batch of coordinate MLPs, each with its own weights, at N points of D dimensions: [B, N, O].

    coordinates [B, N, D], or [N, D] for all; D from 1 to 4.  weights: [B, O, I] per layer; biases: [O] or [B, O] per
    layer, or None.  All layers but the last, which is linear, are followed by ``activation``: ``sine`` is
    sin(ω·(W·x + b)), with one ``omega`` for all or one per such layer (SIREN, arXiv 2006.09661, equation 10); relu
    and lrelu have gain 1 and no omega.  ``frequency`` [K, D] or [B, K, D], in radians per unit, gives the first layer
    the Fourier features [sin θ, cos θ], θ = F·x, instead of the coordinates (arXiv 2006.10739, equation 5).
    ``precision="bfloat16"`` rounds weights, biases and activations of the layers between the first and the last to
    bfloat16, forward and backward, and sums in float32; what multiplies coordinates, and the last layer, stay as they
    are.  Twice differentiable with respect to all tensors.
    """
    if not weights:
        raise ValueError("weights: empty, expected a layer or more")
    if coordinates.ndim == 2:
        coordinates = coordinates.unsqueeze(0)
    batch, hidden = weights[0].shape[0], len(weights) - 1
    if coordinates.ndim != 3 or coordinates.shape[0] not in (1, batch) or not 1 <= coordinates.shape[2] <= 4:
        shape = tuple(coordinates.shape)
        raise ValueError(f"coordinates: shape {shape}, expected [N, D] or [{batch}, N, D] with D from 1 to 4")
    if precision not in PRECISIONS:
        raise ValueError(f"precision: {precision!r}, expected one of {', '.join(PRECISIONS)}")
    if activation not in _MLP_ACTIVATIONS:
        raise ValueError(f"activation: {activation!r}, expected one of {', '.join(_MLP_ACTIVATIONS)}")
    omegas = [float(omega)] * hidden if isinstance(omega, int | float) else [float(each) for each in omega]
    if len(omegas) != hidden or not all(map(math.isfinite, omegas)):
        raise ValueError(f"omega: {omega}, expected a finite number or {hidden} of them, one for each hidden layer")
    biases = [None] * len(weights) if biases is None else list(biases)
    if len(biases) != len(weights):
        raise ValueError(f"biases: {len(biases)}, expected {len(weights)}, one for each layer")
    chain: list[tuple[Tensor, Tensor | None, str]] = []
    inputs = coordinates.shape[2]
    if frequency is not None:
        frequency = frequency.expand(batch, -1, -1) if frequency.ndim == 2 else frequency
        _shape("frequency", frequency, [batch, "K", inputs])
        _dtype("frequency", frequency, coordinates.dtype)
        quarter = frequency.new_zeros(2 * frequency.shape[1])
        quarter[frequency.shape[1] :] = math.pi / 2
        chain.append((torch.cat((frequency, frequency), 1), quarter, "sine"))
        inputs = 2 * frequency.shape[1]
    for i, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        _shape(f"weights[{i}]", weight, [batch, "O", inputs])
        _dtype(f"weights[{i}]", weight, coordinates.dtype)
        inputs = weight.shape[1]
        _bias(bias, inputs, coordinates.dtype, batch, f"biases[{i}]")
        if i < hidden and activation == "sine":
            weight, bias = weight * omegas[i], None if bias is None else bias * omegas[i]
        chain.append((weight, bias, activation if i < hidden else "linear"))
    if precision == "bfloat16":
        lowered = [(w.bfloat16(), None if b is None else b.bfloat16(), kind) for w, b, kind in chain[1:-1]]
        chain[1:-1] = lowered
    matrices, offsets, activations = zip(*chain, strict=True)
    return ops.coord_mlp.coord_mlp(coordinates, matrices, offsets, activations, [1.0] * len(chain))


def fmm_weights(weight: Tensor, left: Tensor, right: Tensor, activation: str = "demod") -> Tensor:
    """Factorised multiplicative modulation: ``W ∘ (1 + L·R/√r)``, [B, O, I].

    weight [O, I], left [B, O, r], right [B, r, I].  ``demod`` divides each row by (its 2-norm + 1e-8); ``tanh`` and
    ``sigmoid`` (less ½) bound the modulation instead; ``linear`` does neither.  INR-GAN (arXiv 2011.12026), section
    3.2.
    """
    _shape("weight", weight, ["O", "I"])
    outputs, inputs = weight.shape
    _shape("left", left, ["B", outputs, "r"])
    _shape("right", right, [left.shape[0], left.shape[2], inputs])
    if activation not in _MODULATIONS:
        raise ValueError(f"activation: {activation!r}, expected one of {', '.join(_MODULATIONS)}")
    return ops.fmm_weights.fmm_weights(weight, left, right, activation)


def upfirdn2d(
    x: Tensor,
    filter: Tensor,
    up: int = 1,
    down: int = 1,
    padding: Sequence[int] = (0, 0, 0, 0),
    flip_filter: bool = False,
    gain: float = 1.0,
) -> Tensor:
    """Insert up−1 zeros after each sample, pad (crop where negative), convolve, keep each ``down``-th sample.

    x [N, C, H, W], filter [h, w] (not differentiated), padding (left, right, top, bottom).  A true convolution;
    ``flip_filter`` makes it a correlation.
    """
    _shape("x", x, ["N", "C", "H", "W"])
    _shape("filter", filter, ["h", "w"])
    if up < 1 or down < 1:
        raise ValueError(f"up, down: {up}, {down}, expected 1 or more")
    if len(padding) != 4:
        raise ValueError(f"padding: {tuple(padding)}, expected (left, right, top, bottom)")
    left, right, top, bottom = padding
    if x.shape[2] * up + top + bottom < filter.shape[0] or x.shape[3] * up + left + right < filter.shape[1]:
        raise ValueError(
            f"padding: the padded input of shape {tuple(x.shape)} is smaller than the filter {tuple(filter.shape)}"
        )
    return ops.upfirdn2d.upfirdn2d(x, filter, up, down, list(padding), flip_filter, float(gain))
