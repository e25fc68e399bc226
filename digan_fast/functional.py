"""The public ops, twice differentiable.

B videos, T frames each, K sinusoids, O outputs, I inputs, an H×W rectangle of pixels; channels are last.  Every
function raises ValueError, naming the argument, for an invalid shape or option.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from digan_fast import ops
from digan_fast.mlp_options import checked_activation, checked_omega, checked_precision
from digan_fast.reference.activations import ACTIVATIONS
from digan_fast.shapes import check_shape

_COORD_ACTIVATIONS = tuple(name for name, kind in ACTIVATIONS.items() if kind.homogeneous)
_MODULATIONS = ("demod", "tanh", "sigmoid", "linear")


def _device(name: str, tensor: Tensor | None, like: Tensor) -> None:
    if tensor is not None and tensor.device != like.device:
        raise ValueError(f"{name}: on {tensor.device}, expected on {like.device}")


def _type(name: str, tensor: Tensor, like: Tensor) -> None:
    _device(name, tensor, like)
    if tensor.dtype != like.dtype:
        raise ValueError(f"{name}: {tensor.dtype}, expected {like.dtype}")


def _bias(bias: Tensor | None, extent: int, like: Tensor, batch: int | None = None) -> None:
    """[extent], or also [batch, extent] if a batch is given."""
    if bias is None:
        return
    check_shape("bias", bias, [extent] if batch is None or bias.ndim != 2 else [batch, extent])
    _type("bias", bias, like)


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
    _bias(bias, x.shape[dim], x)
    gain = _activation(activation, gain, tuple(ACTIVATIONS))
    return ops.bias_act.bias_act(x, bias, dim, activation, gain, _clamp(clamp))


def conv3x3(x: Tensor, weight: Tensor, stride: int = 1, padding: int = 0, gain: float = 1.0) -> Tensor:
    """``torch.conv2d(x, weight * gain)`` for x [N, I, H, W] and weight [O, I, 3, 3]; stride 1 or 2, padding 0 to 2.

    Wide layers on the CPU are computed in float32 by Winograd's minimal filtering with 4 (stride 2: 1.8) times fewer
    products and rounding errors of about 1.5e-6 of the norm; an infinity or NaN of x makes the patches of 4×4 outputs
    that read it NaN, and so may finite samples from about 5e36 on.  In bfloat16 these results are rounded; where the
    processor has AMX, and with stride 2 where it has ``VDPBF16PS``, bfloat16 is left to PyTorch, as is all else.
    Source: Winograd, *Arithmetic Complexity of Computations* (1980).
    """
    check_shape("x", x, ["N", "I", "H", "W"])
    check_shape("weight", weight, ["O", x.shape[1], 3, 3])
    _type("weight", weight, x)
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
    check_shape("weight", weight, [x.shape[0], "O", x.shape[-1]])
    _type("weight", weight, x)
    _bias(bias, weight.shape[1], x, x.shape[0])
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
    check_shape("frequency", frequency, ["B", "K", 2])
    batch, sinusoids = frequency.shape[:2]
    check_shape("phase", phase, [batch, "T", sinusoids])
    check_shape("weight", weight, [batch, "O", 2 * sinusoids])
    outputs = weight.shape[1]
    _bias(bias, outputs, weight)
    for name, tensor in (("frequency", frequency), ("phase", phase), ("base", base)):
        _device(name, tensor, weight)
    if base is not None:
        rows = (top + height + 1) // 2 - top // 2
        columns = (left + width + 1) // 2 - left // 2
        check_shape("base", base, [batch, phase.shape[1], rows, columns, outputs])
    gain = _activation(activation, gain, _COORD_ACTIVATIONS)
    return ops.coord_linear.coord_linear(base, frequency, phase, weight, bias, grid, activation, gain, _clamp(clamp))


class MLPLayer(NamedTuple):
    """A layer of coordinate MLPs: u ↦ ``act(ω·(γ∘(W·u + b) + β))``, W [B, O, I], or [O, I] or [1, O, I] for all.

    ``bias`` b, ``scale`` γ and ``shift`` β are [B, O], or [O] or [1, O] for all, or None: FiLM (arXiv 1709.07871) in
    the place of pi-GAN (arXiv 2012.00926), whose layers are sin(γ∘(W·u + b) + β), and functa (arXiv 2201.12204), whose
    layers have a shift alone.  ``input_scale`` s and ``input_shift`` t, [B, I], [I] or [1, I], make s∘u + t of the
    input first.  Modulations cost no weights: of one shared W no copy per sample is made, on a GPU but of what
    multiplies coordinates and of a narrow last layer.  With ``skip`` the input is followed by the network's own: I is
    the width before plus that of the features, or D without features.

    ``activation``: sine (SIREN, arXiv 2006.09661), gauss exp(−z²/2) (arXiv 2111.15135), relu, lrelu (slope 0.2),
    sigmoid, tanh, linear.
    """

    weight: Tensor
    bias: Tensor | None = None
    activation: str = "linear"
    omega: float = 1.0
    scale: Tensor | None = None
    shift: Tensor | None = None
    input_scale: Tensor | None = None
    input_shift: Tensor | None = None
    skip: bool = False


def mlp_layers(
    weights: Sequence[Tensor],
    biases: Sequence[Tensor | None] | None = None,
    activation: str = "sine",
    omega: float | Iterable[float] = 1.0,
) -> list[MLPLayer]:
    """Layers for :func:`coord_mlp`, all with one ``activation`` but the last, which is linear.

    One ``omega`` for all, or one per layer before the last.
    """
    if len(weights) == 0:
        raise ValueError("weights: empty, expected a layer or more")
    hidden = len(weights) - 1
    several = isinstance(omega, Iterable) and getattr(omega, "ndim", 1) > 0
    given: Any = omega if several else [omega] * hidden
    omegas = [checked_omega(each) for each in given]
    if len(omegas) != hidden:
        raise ValueError(f"omega: {len(omegas)} numbers, expected {hidden}, one for each layer before the last")
    biases = [None] * len(weights) if biases is None else list(biases)
    if len(biases) != len(weights):
        raise ValueError(f"biases: {len(biases)}, expected {len(weights)}, one for each layer")
    kinds = [activation] * hidden + ["linear"]
    return [MLPLayer(*each) for each in zip(weights, biases, kinds, [*omegas, 1.0], strict=True)]


def coord_mlp(
    coordinates: Tensor,
    layers: Sequence[MLPLayer],
    frequency: Tensor | None = None,
    phase: Tensor | None = None,
    precision: str = "float32",
) -> Tensor:
    """B coordinate MLPs, each with its own weights or modulations, at N points of D dimensions: [B, N, O].

    coordinates [B, N, D], or [N, D] or [1, N, D] for all.  ``frequency`` [K, D] or [B, K, D], in radians per unit,
    gives the layers the Fourier features [sin θ, cos θ], θ = F·x + φ, instead of the coordinates (arXiv 2006.10739,
    equation 5); ``phase`` φ is [K] or [B, K].  Activations are not stored: on a CPU the backward computes them again.
    Differentiable twice and in forward mode with respect to all tensors.

    ``precision`` "bfloat16" or "float16" rounds the operands of products, weights and inputs, forward and backward, and
    sums in float32; what multiplies coordinates, and the last layer, stay as they are.  Autocast does not apply.
    """
    if not layers:
        raise ValueError("layers: empty, expected a layer or more")
    checked_precision(precision)
    if not coordinates.is_floating_point():
        raise ValueError(f"coordinates: {coordinates.dtype}, expected a floating-point type")
    given = coordinates
    if coordinates.ndim == 2:
        coordinates = coordinates.unsqueeze(0)
    if coordinates.ndim != 3 or coordinates.shape[2] < 1:
        raise ValueError(f"coordinates: shape {tuple(given.shape)}, expected [N, D] or [B, N, D] with D of 1 or more")
    network = list(layers)
    if frequency is not None:
        network.insert(0, _fourier_layer(frequency, phase, coordinates.shape[2]))
    elif phase is not None:
        raise ValueError("phase: given without frequency")
    encoded = frequency is not None
    found = [_mlp_layer(layer, f"layers[{i - encoded}]") for i, layer in enumerate(network)]
    _check_mlp(coordinates, found, encoded)
    lists: Any = ((f.weight, f.bias, f.scale, f.shift, f.input_scale, f.input_shift) for f in found)
    activations, omegas, skips = zip(*((f.activation, f.omega, f.skip) for f in found), strict=True)
    options: Any = activations, omegas, skips, encoded, precision
    lists = zip(*lists, strict=True)
    return ops.coord_mlp.coord_mlp(coordinates, *lists, *options)


def _fourier_layer(frequency: Tensor, phase: Tensor | None, dimensions: int) -> MLPLayer:
    """The layer that makes [sin θ, cos θ] of coordinates; cos θ is sin(θ + π/2)."""
    if frequency.ndim not in (2, 3) or frequency.shape[-1] != dimensions:
        shape = tuple(frequency.shape)
        raise ValueError(f"frequency: shape {shape}, expected [K, {dimensions}] or [B, K, {dimensions}]")
    sinusoids = frequency.shape[-2]
    if phase is None:
        phase = frequency.new_zeros(sinusoids)
    elif phase.ndim not in (1, 2) or phase.shape[-1] != sinusoids:
        raise ValueError(f"phase: shape {tuple(phase.shape)}, expected [{sinusoids}] or [B, {sinusoids}]")
    return MLPLayer(torch.cat((frequency, frequency), -2), torch.cat((phase, phase + math.pi / 2), -1), "sine")


def _mlp_layer(layer: MLPLayer, name: str) -> MLPLayer:
    """The layer with a first extent, B or 1, for every tensor."""
    if getattr(layer, "_fields", None) != MLPLayer._fields:  # not by type, which a reload of the package makes anew
        raise ValueError(f"{name}: {type(layer).__name__}, expected an MLPLayer")
    checked_activation(layer.activation, f"{name}.activation")
    omega = checked_omega(layer.omega, f"{name}.omega")
    if layer.skip not in (True, False):
        raise ValueError(f"{name}.skip: {layer.skip!r}, expected True or False")
    weight = layer.weight.unsqueeze(0) if layer.weight.ndim == 2 else layer.weight
    if weight.ndim != 3:
        raise ValueError(f"{name}.weight: shape {tuple(layer.weight.shape)}, expected [O, I] or [B, O, I]")
    vectors: dict[str, Any] = {}
    for field, extent in (("bias", 1), ("scale", 1), ("shift", 1), ("input_scale", 2), ("input_shift", 2)):
        vector: Tensor | None = getattr(layer, field)
        channels = weight.shape[extent]
        if vector is not None and (vector.ndim not in (1, 2) or vector.shape[-1] != channels):
            raise ValueError(f"{name}.{field}: shape {tuple(vector.shape)}, expected [{channels}] or [B, {channels}]")
        vectors[field] = vector.unsqueeze(0) if vector is not None and vector.ndim == 1 else vector
    return layer._replace(weight=weight, omega=omega, skip=bool(layer.skip), **vectors)


def _check_mlp(coordinates: Tensor, layers: Sequence[MLPLayer], encoded: bool) -> None:
    """Layers whose tensors have a first extent: that extents, types and widths fit together."""
    batch = coordinates.shape[0]
    width = features = coordinates.shape[2]
    for i, layer in enumerate(layers):
        name = "frequency" if encoded and i == 0 else f"layers[{i - encoded}]"
        if layer.skip and i == encoded:
            raise ValueError(f"{name}.skip: True for the first layer, whose input is the network's already")
        inputs = width + features if layer.skip else width
        if layer.weight.shape[2] != inputs:
            raise ValueError(f"{name}.weight: shape {tuple(layer.weight.shape)}, expected [B, O, {inputs}]")
        for field, tensor in layer._asdict().items():
            if not isinstance(tensor, Tensor):
                continue
            where = f"{name}.{field}" if name != "frequency" else name if field == "weight" else "phase"
            _type(where, tensor, coordinates)
            if tensor.shape[0] != 1 and batch != 1 and tensor.shape[0] != batch:
                raise ValueError(f"{where}: {tensor.shape[0]} samples, expected 1 or {batch}")
            batch = batch if tensor.shape[0] == 1 else tensor.shape[0]
        width = layer.weight.shape[1]
        if encoded and i == 0:
            features = width


def fmm_weights(weight: Tensor, left: Tensor, right: Tensor, activation: str = "demod") -> Tensor:
    """Factorised multiplicative modulation: ``W ∘ (1 + L·R/√r)``, [B, O, I].

    weight [O, I], left [B, O, r], right [B, r, I].  ``demod`` divides each row by (its 2-norm + 1e-8); ``tanh`` and
    ``sigmoid`` (less ½) bound the modulation instead; ``linear`` does neither.  INR-GAN (arXiv 2011.12026), section
    3.2.
    """
    check_shape("weight", weight, ["O", "I"])
    outputs, inputs = weight.shape
    check_shape("left", left, ["B", outputs, "r"])
    check_shape("right", right, [left.shape[0], left.shape[2], inputs])
    _device("left", left, weight)
    _device("right", right, weight)
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
    check_shape("x", x, ["N", "C", "H", "W"])
    check_shape("filter", filter, ["h", "w"])
    _device("filter", filter, x)
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
