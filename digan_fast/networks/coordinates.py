"""Coordinate features: sinusoids with predicted frequencies, and phases that a motion network moves over time."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from digan_fast.inr import MOTION_SLOPE, Coordinates, Motion
from digan_fast.networks.config import CoordsConfig, FeatureConfig
from digan_fast.networks.layers import FullyConnected


class CoordFuser(nn.Module):
    """The sinusoids ``[sin θ, cos θ]``, θ = F·(x, y) + b(t), of one level (section 3.1 of arXiv 2202.10571)."""

    def __init__(self, w_dim: int, features: FeatureConfig, motion_sigma: float) -> None:
        super().__init__()
        sinusoids = features.sinusoids
        self.sinusoids = sinusoids
        self.use_cosine = features.use_cosine
        self.channels = features.channels
        self.motion_sigma = motion_sigma
        self.xyaffine = FullyConnected(w_dim, 3 * sinusoids)
        self.affine = FullyConnected(2 * w_dim, sinusoids)
        self.motion_mlp = nn.Sequential(
            FullyConnected(sinusoids, sinusoids, activation="lrelu"),
            FullyConnected(sinusoids, sinusoids),
        )

    def _frequency(self, w: Tensor) -> tuple[Tensor, Tensor]:
        """F [·, K, 2] and b0 [·, K]."""
        frequency, offset = self.xyaffine(w).split([2 * self.sinusoids, self.sinusoids], dim=1)
        return math.sqrt(10) * frequency.view(-1, self.sinusoids, 2), offset

    def coordinates(self, w: Tensor, z_motion: Tensor) -> Coordinates:
        """The sinusoids of B videos, for w and z_motion [B, w_dim]."""
        frequency, offset = self._frequency(w)
        velocity = self.affine(torch.cat((w, z_motion), dim=1)) * self.motion_sigma
        first, second = (layer for layer in self.motion_mlp if isinstance(layer, FullyConnected))
        motion = Motion(
            offset,
            velocity,
            first.scaled_weight(),
            first.scaled_bias().clone(),
            second.scaled_weight(),
            second.scaled_bias().clone(),
        )
        return Coordinates(frequency, motion)

    def forward(self, side: int, w: Tensor, times: Tensor, z_motion: Tensor) -> Tensor:
        """The features of N frames, [N, channels, side, side], for w and z_motion [N, w_dim], times [N, 1, 1, 1]."""
        frequency, offset = self._frequency(w)
        moved = self.affine(torch.cat((w, z_motion), dim=1)) * times.view(-1, 1) * self.motion_sigma
        phase = offset + self.motion_mlp(F.leaky_relu(moved, MOTION_SLOPE))
        row = 2 * torch.arange(side, device=w.device, dtype=w.dtype) / side - 1
        x = row.expand(side, side)
        y = row.flip(0)[:, None].expand(side, side)
        theta = torch.einsum("nkc,chw->nkhw", frequency, torch.stack((x, y)))
        theta = theta + phase[:, :, None, None]
        return torch.cat((theta.sin(), theta.cos()), dim=1) if self.use_cosine else theta.sin()


class CoordsInput(nn.Module):
    """Level 4's input: its sinusoids."""

    def __init__(self, w_dim: int, side: int, coords: CoordsConfig) -> None:
        super().__init__()
        if coords.fallback:
            raise ValueError("input.coord_fuser_cfg.fallback: without features level 4 has no input")
        self.coord_fuser = CoordFuser(w_dim, coords.features(side), coords.motion_sigma)


class GenInput(nn.Module):
    """Level 4's starting point: sinusoids, or a learnt constant ``input`` [C, R0, R0]."""

    def __init__(self, kind: str, channels: int, w_dim: int, side: int, coords: CoordsConfig) -> None:
        super().__init__()
        self.side = side
        self.input: CoordsInput | nn.Parameter
        if kind == "coords":
            self.input = CoordsInput(w_dim, side, coords)
            self.channels = self.input.coord_fuser.channels
        else:
            self.input = nn.Parameter(torch.randn(channels, side, side))
            self.channels = channels

    def forward(self, w: Tensor, times: Tensor, z_motion: Tensor) -> Tensor:
        if isinstance(self.input, CoordsInput):
            return self.input.coord_fuser(self.side, w, times, z_motion)
        return self.input.expand(w.shape[0], -1, -1, -1)
