"""Equalised linear layers, second-moment normalisation, the mapping network."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from digan_fast import functional, transforms
from digan_fast.ops.linear_act import linear
from digan_fast.precision import full_precision

RESAMPLE_FILTER = (1, 3, 3, 1)


def resample_filter(taps: Sequence[int] = RESAMPLE_FILTER) -> Tensor:
    """The outer product of the taps with themselves, summing to 1: [4, 4] for four taps."""
    row = torch.tensor(list(taps), dtype=torch.float32)
    filter = row[:, None] * row
    return filter / filter.sum()


def normalize_second_moment(x: Tensor) -> Tensor:
    return x * (x.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()


class FullyConnected(nn.Module):
    """``act(x·(weight·lr/√in)ᵀ + bias·lr)``, weight initialised to randn/lr."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        activation: str = "linear",
        lr_multiplier: float = 1.0,
        bias_init: float = 0.0,
    ) -> None:
        super().__init__()
        self.activation = activation
        self.weight = nn.Parameter(torch.randn(out_features, in_features) / lr_multiplier)
        self.bias = nn.Parameter(torch.full((out_features,), float(bias_init)))
        self.weight_gain = lr_multiplier / math.sqrt(in_features)
        self.bias_gain = lr_multiplier

    def scaled_bias(self) -> Tensor:
        return self.bias if self.bias_gain == 1 else self.bias * self.bias_gain

    def scaled_weight(self) -> Tensor:
        return self.weight * self.weight_gain

    def forward(self, x: Tensor) -> Tensor:
        x = x * self.weight_gain
        if self.activation == "linear":
            return linear(x, self.weight, self.scaled_bias())
        return functional.bias_act(linear(x, self.weight), self.scaled_bias(), activation=self.activation)


class MappingNetwork(nn.Module):
    """Latents and labels to ``ws`` [B, num_ws, w_dim] (or [B, w_dim] if num_ws is None).

    ``z_dim`` 0 maps labels only.  ``w_avg`` tracks the mean of w in training mode.
    """

    w_avg: Tensor
    fc0: FullyConnected

    def __init__(
        self,
        z_dim: int,
        c_dim: int,
        w_dim: int,
        num_ws: int | None,
        num_layers: int = 8,
        embed_features: int | None = None,
        layer_features: int | None = None,
        activation: str = "lrelu",
        lr_multiplier: float = 0.01,
        w_avg_beta: float | None = 0.995,
    ) -> None:
        super().__init__()
        self.z_dim = z_dim
        self.c_dim = c_dim
        self.w_dim = w_dim
        self.num_ws = num_ws
        self.num_layers = num_layers
        self.w_avg_beta = w_avg_beta
        embedded = 0 if c_dim == 0 else (embed_features or w_dim)
        if num_layers < 1:
            raise ValueError(f"num_layers: {num_layers}, expected 1 or more")
        features = [
            z_dim + embedded,
            *[layer_features or w_dim] * (num_layers - 1),
            w_dim,
        ]
        if c_dim > 0:
            self.embed = FullyConnected(c_dim, embedded)
        for index in range(num_layers):
            layer = FullyConnected(features[index], features[index + 1], activation, lr_multiplier)
            setattr(self, f"fc{index}", layer)
        if num_ws is not None and w_avg_beta is not None:
            self.register_buffer("w_avg", torch.zeros(w_dim))

    @full_precision
    def forward(
        self,
        z: Tensor | None,
        c: Tensor | None,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
        skip_w_avg_update: bool = False,
    ) -> Tensor:
        """z [B, z_dim] and labels c [B, c_dim] to [B, num_ws, w_dim]; ψ towards ``w_avg`` for the first entries.

        Raises ValueError for an invalid shape, or for truncation without ``w_avg``.
        """
        # Not from parameters(), which DataParallel's replicas do not have.
        dtype = self.fc0.weight.dtype
        inputs = []
        if self.z_dim > 0:
            if z is None or z.ndim != 2 or z.shape[1] != self.z_dim:
                raise ValueError(f"z: {_shape(z)}, expected [B, {self.z_dim}]")
            inputs.append(normalize_second_moment(z.to(dtype)))
        if self.c_dim > 0:
            if c is None or c.ndim != 2 or c.shape[1] != self.c_dim:
                raise ValueError(f"c: {_shape(c)}, expected labels [B, {self.c_dim}]")
            inputs.append(normalize_second_moment(self.embed(c.to(dtype))))
        if len(inputs) > 1 and inputs[0].shape[0] != inputs[1].shape[0]:
            raise ValueError(f"c: {len(inputs[1])} labels for {len(inputs[0])} latents")
        w = torch.cat(inputs, dim=1) if len(inputs) > 1 else inputs[0]
        for index in range(self.num_layers):
            w = getattr(self, f"fc{index}")(w)
        if self.num_ws is None:
            return w
        if self.training and not skip_w_avg_update and self.w_avg_beta is not None:
            if transforms.active():
                raise RuntimeError(
                    "skip_w_avg_update: False, but in training mode w_avg moves, which the transforms of torch.func do "
                    "not allow; expected True, or a network in evaluation mode"
                )
            self.w_avg.copy_(w.detach().mean(dim=0).lerp(self.w_avg, self.w_avg_beta))
        ws = w.unsqueeze(1).repeat(1, self.num_ws, 1)
        if truncation_psi == 1:
            return ws
        if self.w_avg_beta is None:
            raise ValueError("truncation_psi: this network keeps no average of w")
        cutoff = self.num_ws if truncation_cutoff is None else truncation_cutoff
        return torch.cat((self.w_avg.lerp(ws[:, :cutoff], truncation_psi), ws[:, cutoff:]), dim=1)


def _shape(tensor: Tensor | None) -> str:
    return "None" if tensor is None else f"shape {tuple(tensor.shape)}"
