"""``Generator``: random content and motion vectors to videos."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from digan_fast import transforms
from digan_fast.inr import VideoINR
from digan_fast.networks.config import resolve
from digan_fast.networks.layers import MappingNetwork
from digan_fast.networks.synthesis import SynthesisNetwork


def sample_pair_times(batch: int, device: torch.device | str = "cpu") -> Tensor:
    """Two ascending times for each video, [B, 2], drawn as published: Beta(2, 1), then Beta(1, 2), sorted.

    Raises RuntimeError under torch.func's transforms, where torch does not draw them.
    """
    if transforms.active():
        raise RuntimeError(
            "timesteps: 2, but random times are not drawn inside the transforms of torch.func; expected more, or "
            "G.synthesis with times that were drawn outside"
        )
    late = torch.distributions.Beta(2.0, 1.0).sample((batch, 1, 1, 1, 1))
    early = torch.distributions.Beta(1.0, 2.0).sample((batch, 1, 1, 1, 1))
    return torch.cat((late, early), dim=1).view(batch, 2).sort(dim=1).values.to(device)


class Generator(nn.Module):
    """DIGAN's generator (arXiv 2202.10571), with the published constructor, call, names and random draws.

    ``mapping`` and ``synthesis`` are separate modules.  ``cfg`` is the published configuration tree; without it
    the generator is DIGAN's, whose mapping has 2 layers (otherwise the default is 8).  ``init_kwargs`` are the
    constructor's arguments as plain data.  ``ours`` has no effect: the published training always sets it to True.
    """

    def __init__(
        self,
        z_dim: int = 512,
        c_dim: int = 0,
        w_dim: int = 512,
        img_resolution: int = 128,
        img_channels: int = 3,
        ours: bool = True,
        mapping_kwargs: Mapping[str, Any] | None = None,
        synthesis_kwargs: Mapping[str, Any] | None = None,
        cfg: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        cfg = None if cfg is None else resolve(cfg)
        if mapping_kwargs is None:
            mapping_kwargs = {"num_layers": 2} if cfg is None else {}
        self.init_kwargs = {
            "z_dim": z_dim,
            "c_dim": c_dim,
            "w_dim": w_dim,
            "img_resolution": img_resolution,
            "img_channels": img_channels,
            "ours": ours,
            "mapping_kwargs": dict(mapping_kwargs),
            "synthesis_kwargs": dict(synthesis_kwargs or {}),
            "cfg": cfg,
        }
        self.ours = ours
        # Names of the label's entries, if a snapshot has them.
        self.class_names: list[str] = []
        self.z_dim = z_dim
        self.c_dim = c_dim
        self.w_dim = w_dim
        self.img_resolution = img_resolution
        self.img_channels = img_channels
        self.synthesis = SynthesisNetwork(w_dim, img_resolution, img_channels, cfg=cfg, **(synthesis_kwargs or {}))
        self.num_ws = self.synthesis.num_ws
        self.mapping = MappingNetwork(z_dim, c_dim, w_dim, self.num_ws, **mapping_kwargs)

    @functools.cached_property
    def dist1(self) -> torch.distributions.Beta:
        """Beta(2, 1), from which a pair's later time is drawn; under the published name."""
        return torch.distributions.Beta(2.0, 1.0)

    @functools.cached_property
    def dist2(self) -> torch.distributions.Beta:
        """Beta(1, 2), from which a pair's earlier time is drawn; under the published name."""
        return torch.distributions.Beta(1.0, 2.0)

    def set_precision(self, precision: str) -> None:
        """Synthesise in ``float32``, ``bfloat16`` or ``mixed``; parameters, mapping, phases and colours stay float32.

        In bfloat16 the INR's weights and activations are rounded, forward and backward; sums are float32.  ``mixed`` is
        that of the published training: float16 at the four highest levels on a GPU, float32 otherwise.  Raises
        ValueError for another precision, or with the reason if this generator has no INR.
        """
        self.synthesis.set_precision(precision)

    def running_means(self) -> list[Tensor]:
        """The buffers that forward passes in training mode move towards the mean of their batch."""
        return list(self.mapping.buffers())

    def inr(
        self,
        z: Tensor,
        c: Tensor | None = None,
        z_motion: Tensor | None = None,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
    ) -> VideoINR:
        """The INR of B videos for content z [B, z_dim], labels c [B, c_dim], motion z_motion [B, w_dim].

        A missing motion is drawn from the global generator.
        """
        ws = self.mapping(z, c, truncation_psi, truncation_cutoff, skip_w_avg_update=True)
        if z_motion is None:
            z_motion = self._draw_motion(z)
        return self.synthesis.inr(ws, z_motion)

    def _draw_motion(self, z: Tensor) -> Tensor:
        return torch.randn(z.shape[0], self.w_dim).to(z.device)

    def forward(
        self,
        z: Tensor,
        c: Tensor | None = None,
        timesteps: int = 16,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
        **synthesis_kwargs: Any,
    ) -> tuple[Tensor, Tensor | None]:
        """``(frames [B·T, 3, H, W], dT)``, with the frames of a video consecutive.

        timesteps > 2: T times from 0 to 1, dT None, or empty under torch.jit.trace, whose graphs have no None.
        Otherwise a random pair of times per video, T = 2, and dT [B, 1, 1, 1] is their difference.  Draws times, then
        motion vectors, from the global generator.
        """
        batch = z.shape[0]
        if timesteps > 2:
            times = torch.linspace(0, 1, timesteps, device=z.device).expand(batch, -1)
            difference = None if torch._C._get_tracing_state() is None else z.new_empty(0)
        else:
            times = sample_pair_times(batch, z.device)
            difference = (times[:, 1] - times[:, 0]).view(batch, 1, 1, 1)
        z_motion = self._draw_motion(z)
        ws = self.mapping(z, c, truncation_psi, truncation_cutoff)
        img = self.synthesis(ws, times.reshape(-1, 1, 1, 1), z_motion, **synthesis_kwargs)
        return img, difference
