"""DVD-GAN's generator (arXiv 1907.06571v2, section 3.1): whole clips on a pixel grid, the baseline for INRs."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from digan_fast.networks import spectral
from digan_fast.networks.spectral import SpectralLayer
from digan_fast.precision import full_precision

FIRST_SIDE = 4
MOMENTUM = 0.1


class ConditionalNorm(nn.Module):
    """Batch normalisation of frames; scale and shift are linear in their videos' conditions.

    In training mode the statistics are those of all frames and pixels of the batch, to which running ones are moved.
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, channels: int, condition: int) -> None:
        super().__init__()
        self.scale = SpectralLayer(condition, channels, bias=False)
        self.shift = SpectralLayer(condition, channels, bias=False)
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("variance", torch.ones(channels))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """x [B·T, C, H, W], condition [B, D]."""
        x = F.batch_norm(x, self.mean, self.variance, training=self.training, momentum=MOMENTUM)
        frames = len(x) // len(condition)
        scale, shift = (
            layer(condition).repeat_interleave(frames, dim=0)[:, :, None, None] for layer in (self.scale, self.shift)
        )
        return x * (1 + scale) + shift


class ResidualBlock(nn.Module):
    """Norm, ReLU, 3×3, twice, beside a 1×1; ``doubles`` the side by nearest upsampling before the first 3×3."""

    def __init__(self, inputs: int, outputs: int, condition: int, doubles: bool) -> None:
        super().__init__()
        self.doubles = doubles
        self.norm0, self.norm1 = ConditionalNorm(inputs, condition), ConditionalNorm(outputs, condition)
        self.conv0 = SpectralLayer(inputs, outputs, (3, 3))
        self.conv1 = SpectralLayer(outputs, outputs, (3, 3))
        self.skip = SpectralLayer(inputs, outputs, (1, 1)) if doubles or inputs != outputs else None

    def _upsampled(self, x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=2, mode="nearest") if self.doubles else x

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        shortcut = x if self.skip is None else self.skip(x)
        y = self.conv0(self._upsampled(F.relu(self.norm0(x, condition))))
        y = self.conv1(F.relu(self.norm1(y, condition)))
        return self._upsampled(shortcut) + y


class ConvGRU(nn.Module):
    """Features of frames [B, T, C, H, W] from h₀ = 0:

    (r, u) = σ(W [x; h] + b), c = ReLU(V [x; r∘h] + d), h ← u∘h + (1 − u)∘c.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gates = SpectralLayer(2 * channels, 2 * channels, (3, 3))
        self.candidate = SpectralLayer(2 * channels, channels, (3, 3))

    def forward(self, x: Tensor) -> Tensor:
        h, states = torch.zeros_like(x[:, 0]), []
        for frame in x.unbind(1):
            reset, update = self.gates(torch.cat((frame, h), dim=1)).sigmoid().chunk(2, dim=1)
            candidate = F.relu(self.candidate(torch.cat((frame, reset * h), dim=1)))
            h = update * h + (1 - update) * candidate
            states.append(h)
        return torch.stack(states, dim=1)


class Unit(nn.Module):
    """A ConvGRU over the frames, then two residual blocks, the second of which may double the side."""

    def __init__(self, inputs: int, outputs: int, condition: int, doubles: bool) -> None:
        super().__init__()
        self.gru = ConvGRU(inputs)
        self.block0 = ResidualBlock(inputs, inputs, condition, doubles=False)
        self.block1 = ResidualBlock(inputs, outputs, condition, doubles)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        frames = x.shape[1]
        x = self.gru(x).flatten(0, 1)
        return self.block1(self.block0(x, condition), condition).unflatten(0, (-1, frames))


class GridMapping(nn.Module):
    """z [B, z_dim] and labels [B, c_dim] to conditions [B, 1, D]: z, and the label's embedding of the same size."""

    def __init__(self, z_dim: int, c_dim: int) -> None:
        super().__init__()
        self.z_dim = z_dim
        self.c_dim = c_dim
        self.embed = SpectralLayer(c_dim, z_dim, bias=False) if c_dim else None
        self.condition_dim = z_dim * (2 if c_dim else 1)

    def forward(self, z: Tensor, c: Tensor | None = None, skip_w_avg_update: bool = False) -> Tensor:
        """Raises ValueError for an invalid shape.  There is no mean of w, so ``skip_w_avg_update`` has no effect."""
        if z.ndim != 2 or z.shape[1] != self.z_dim:
            raise ValueError(f"z: shape {tuple(z.shape)}, expected [B, {self.z_dim}]")
        if self.embed is None:
            return z.unsqueeze(1)
        if c is None or c.shape != (len(z), self.c_dim):
            found = "None" if c is None else f"shape {tuple(c.shape)}"
            raise ValueError(f"c: {found}, expected labels [{len(z)}, {self.c_dim}]")
        return torch.cat((z, self.embed(c.to(z.dtype))), dim=1).unsqueeze(1)


class GridSynthesis(nn.Module):
    """Conditions to clips: an affine layer to 4×4, then a :class:`Unit` for each side."""

    def __init__(
        self, condition: int, img_resolution: int, img_channels: int, channel_base: int, channel_max: int
    ) -> None:
        super().__init__()
        sides = [FIRST_SIDE * 2**power for power in range((img_resolution // FIRST_SIDE).bit_length())]
        channels = [min(channel_base // side, channel_max) for side in sides]
        if channels[-1] < 1:
            raise ValueError(f"channel_base: {channel_base}, expected at least img_resolution, {img_resolution}")
        self.affine = SpectralLayer(condition, channels[0] * FIRST_SIDE**2)
        # The first unit works at 4×4 and leaves that side; each of the others doubles it.
        pairs = zip([channels[0], *channels[:-1]], channels, strict=True)
        self.units = nn.ModuleList(
            Unit(inputs, outputs, condition, doubles=bool(index)) for index, (inputs, outputs) in enumerate(pairs)
        )
        self.norm = ConditionalNorm(channels[-1], condition)
        self.to_rgb = SpectralLayer(channels[-1], img_channels, (3, 3))

    def why_not_inr(self) -> str:
        """Why there is no INR."""
        return "the generator is dvd-gan, which makes clips on a pixel grid"

    @full_precision
    def clips(self, ws: Tensor, z_motion: Tensor, length: int) -> Tensor:
        """Clips [B, T, C, R, R] in (−1, 1), for conditions [B, 1, D]; there are no motion vectors, [B, 0]."""
        condition = ws[:, 0]
        x = self.affine(condition).view(len(ws), 1, -1, FIRST_SIDE, FIRST_SIDE).expand(-1, length, -1, -1, -1)
        for unit in self.units:
            x = unit(x, condition)
        pictures: Tensor = self.to_rgb(F.relu(self.norm(x.flatten(0, 1), condition)))
        return pictures.tanh().unflatten(0, (-1, length))


class GridGenerator(nn.Module):
    """DVD-GAN's generator.  ``init_kwargs`` are the constructor's arguments as plain data.

    There are min(channel_base/R, channel_max) channels at side R.  ``mapping`` and ``synthesis`` are separate modules,
    as in :class:`digan_fast.Generator`; there are no motion vectors, so ``w_dim`` is 0.
    """

    def __init__(
        self,
        z_dim: int = 120,
        c_dim: int = 0,
        img_resolution: int = 128,
        img_channels: int = 3,
        channel_base: int = 32768,
        channel_max: int = 512,
    ) -> None:
        super().__init__()
        if img_resolution < FIRST_SIDE or img_resolution & (img_resolution - 1):
            raise ValueError(f"img_resolution: {img_resolution}, expected a power of two from {FIRST_SIDE} on")
        self.init_kwargs: dict[str, Any] = {
            "z_dim": z_dim,
            "c_dim": c_dim,
            "img_resolution": img_resolution,
            "img_channels": img_channels,
            "channel_base": channel_base,
            "channel_max": channel_max,
        }
        # Names of the label's entries, if a snapshot has them.
        self.class_names: list[str] = []
        self.z_dim = z_dim
        self.c_dim = c_dim
        self.w_dim = 0
        self.img_resolution = img_resolution
        self.img_channels = img_channels
        self.mapping = GridMapping(z_dim, c_dim)
        self.synthesis = GridSynthesis(
            self.mapping.condition_dim, img_resolution, img_channels, channel_base, channel_max
        )

    def set_precision(self, precision: str) -> None:
        """There is only ``float32``.  Raises ValueError for anything else."""
        if precision != "float32":
            raise ValueError(f"precision: {precision!r}, expected float32")

    def running_means(self) -> list[Tensor]:
        """The buffers that forward passes in training mode move towards the statistics of their batch."""
        norms = [module for module in self.modules() if isinstance(module, ConditionalNorm)]
        return [buffer for norm in norms for buffer in (norm.mean, norm.variance)]

    def advance(self) -> None:
        """One power iteration of all weights."""
        spectral.advance(self)

    def forward(self, z: Tensor, c: Tensor | None = None, timesteps: int = 16) -> Tensor:
        """Clips [B, T, C, R, R] of content vectors z [B, z_dim] and labels c [B, c_dim]."""
        clips: Tensor = self.synthesis.clips(self.mapping(z, c), z.new_empty(len(z), 0), timesteps)
        return clips
