"""Modulated layers: as published, with one weight set per frame in NCHW; and as layers of an INR."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from digan_fast import functional
from digan_fast.inr import Layer
from digan_fast.networks.config import GeneratorConfig
from digan_fast.networks.layers import RESAMPLE_FILTER, FullyConnected, resample_filter
from digan_fast.reference.activations import ACTIVATIONS

EPS = 1e-8


def per_sample_conv(x: Tensor, weight: Tensor, padding: int) -> Tensor:
    """x [N, I, H, W] correlated with weight [N, O, I, k, k]: [N, O, H', W']."""
    batch, outputs, inputs, size, _ = weight.shape
    if size == 1:
        flat = torch.bmm(weight.reshape(batch, outputs, inputs), x.flatten(2))
        return flat.reshape(batch, outputs, *x.shape[2:])
    grouped = x.reshape(1, batch * inputs, *x.shape[2:])
    out = F.conv2d(grouped, weight.flatten(0, 1), padding=padding, groups=batch)
    return out.reshape(batch, outputs, *out.shape[2:])


def fir_upsample(x: Tensor, filter: Tensor, padding: int) -> Tensor:
    """x upsampled twofold by zero insertion and the FIR filter, padded for the following layer's own ``padding``."""
    before, after = padding + (len(filter) + 1) // 2, padding + (len(filter) - 2) // 2
    return functional.upfirdn2d(x, filter, up=2, padding=(before, after, before, after), gain=4)


class SynthesisLayer(nn.Module):
    """``act(W(w)·x + noise + bias)``, with factorised modulation or StyleGAN2's; ``up`` doubles x by FIR first."""

    resample_filter: Tensor
    noise_const: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        w_dim: int,
        side: int,
        kernel_size: int,
        cfg: GeneratorConfig,
        up: bool = False,
        activation: str = "lrelu",
        conv_clamp: float | None = None,
        instance_norm: bool = False,
        filter_taps: Sequence[int] = RESAMPLE_FILTER,
    ) -> None:
        super().__init__()
        if cfg.fmm_enabled and kernel_size != 1:
            raise ValueError(f"coords.kernel_size: {kernel_size}, but fmm modulates 1×1 kernels only")
        self.up = up
        self.side = side
        self.activation = activation
        self.gain = ACTIVATIONS[activation].gain
        self.conv_clamp = conv_clamp
        self.instance_norm = instance_norm
        self.rank = cfg.fmm_rank if cfg.fmm_enabled else None
        self.fmm_activation = cfg.fmm_activation
        self.padding = kernel_size // 2
        self.use_noise = cfg.use_noise
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel_size, kernel_size))
        if self.use_noise:
            self.register_buffer("noise_const", torch.randn(side, side))
            self.noise_strength = nn.Parameter(torch.zeros([]))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        if self.rank is None:
            self.affine = FullyConnected(w_dim, in_channels, bias_init=1)
        else:
            self.affine = FullyConnected(w_dim, (in_channels + out_channels) * self.rank)
        self.register_buffer("resample_filter", resample_filter(filter_taps))

    def modulated_weight(self, w: Tensor) -> Tensor:
        """The weights [B, O, I, k, k] for w [B, w_dim]."""
        styles = self.affine(w)
        if self.rank is None:
            weight = self.weight * styles[:, None, :, None, None]
            return weight * (weight.square().sum((2, 3, 4), keepdim=True) + EPS).rsqrt()
        outputs, inputs = self.weight.shape[:2]
        left, right = styles.split([outputs * self.rank, inputs * self.rank], dim=1)
        weight = functional.fmm_weights(
            self.weight.reshape(outputs, inputs),
            left.reshape(-1, outputs, self.rank),
            right.reshape(-1, self.rank, inputs),
            self.fmm_activation,
        )
        return weight[..., None, None]

    def inr_layer(self, w: Tensor) -> Layer:
        """This layer for B videos; kernels are 1×1."""
        return Layer(
            self.modulated_weight(w).flatten(2), self.bias.clone(), self.activation, self.gain, self.conv_clamp
        )

    def _noise(self, x: Tensor, mode: str) -> Tensor | None:
        if not self.use_noise or mode == "none":
            return None
        if mode == "const":
            return self.noise_const * self.noise_strength
        return torch.randn(x.shape[0], 1, self.side, self.side, device=x.device) * self.noise_strength

    def forward(self, x: Tensor, w: Tensor, noise_mode: str = "random", gain: float = 1.0) -> Tensor:
        """x [N, I, H, W] with one weight set for each of its N samples."""
        if self.instance_norm:
            x = x / (x.std(dim=(2, 3), keepdim=True) + EPS)
        weight = self.modulated_weight(w).to(x.dtype)
        if self.up:
            x = fir_upsample(x, self.resample_filter, self.padding)
            x = per_sample_conv(x, weight.flip((3, 4)), padding=0)
        else:
            x = per_sample_conv(x, weight, self.padding)
        noise = self._noise(x, noise_mode)
        if noise is not None:
            x = x + noise.to(x.dtype)
        return functional.bias_act(
            x,
            self.bias.to(x.dtype),
            activation=self.activation,
            gain=self.gain * gain,
            clamp=None if self.conv_clamp is None else self.conv_clamp * gain,
        )


class ToRGBLayer(nn.Module):
    """A 1×1 layer to colours, modulated without demodulation."""

    def __init__(self, in_channels: int, out_channels: int, w_dim: int, conv_clamp: float | None) -> None:
        super().__init__()
        self.conv_clamp = conv_clamp
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.affine = FullyConnected(w_dim, in_channels, bias_init=1)
        self.weight_gain = 1 / math.sqrt(in_channels)

    def modulated_weight(self, w: Tensor) -> Tensor:
        """[B, 3, I, 1, 1]."""
        return self.weight * (self.affine(w) * self.weight_gain)[:, None, :, None, None]

    def inr_layer(self, w: Tensor) -> Layer:
        weight = self.modulated_weight(w).flatten(2)
        return Layer(weight, self.bias.clone(), "linear", 1.0, self.conv_clamp)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        x = per_sample_conv(x, self.modulated_weight(w).to(x.dtype), 0)
        return functional.bias_act(x, self.bias.to(x.dtype), clamp=self.conv_clamp)


class SkipLayer(nn.Module):
    """The residual path of ``resnet``: 1×1, linear, without bias, FIR-upsampled."""

    resample_filter: Tensor

    def __init__(self, in_channels: int, out_channels: int, up: bool, filter_taps: Sequence[int]) -> None:
        super().__init__()
        self.up = up
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 1, 1))
        self.weight_gain = 1 / math.sqrt(in_channels)
        self.register_buffer("resample_filter", resample_filter(filter_taps))

    def forward(self, x: Tensor, gain: float) -> Tensor:
        x = F.conv2d(x, self.weight.to(x.dtype) * (self.weight_gain * gain))
        return fir_upsample(x, self.resample_filter, 0) if self.up else x
