"""A generator's part of a training step: from z to frames, and back to every parameter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.cases import reference
from digan_fast import Generator

VIDEOS, FRAMES = 4, 2


@dataclass
class Step:
    """Forms of the same step; the gradients of the frames are given, as a discriminator would give them."""

    G: Generator
    z: Tensor
    z_motion: Tensor
    times: Tensor
    grad: Tensor

    @classmethod
    def of(cls, G: Generator) -> Step:
        torch.manual_seed(2)
        z, z_motion = torch.randn(VIDEOS, G.z_dim), torch.randn(VIDEOS, G.w_dim)
        side = G.img_resolution
        grad = torch.randn(VIDEOS * FRAMES, 3, side, side) / side
        return cls(G, z, z_motion, torch.rand(VIDEOS * FRAMES, 1, 1, 1), grad)

    def _run(self, form: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
        self.G.zero_grad(set_to_none=True)
        ws = self.G.mapping(self.z, None, skip_w_avg_update=True)
        form(ws, self.times, self.z_motion).backward(self.grad)

    def ours(self) -> None:
        self._run(self.G.synthesis)

    def checkpointed(self) -> None:
        """Without stored activations."""
        self.G.synthesis.checkpoint = True
        try:
            self.ours()
        finally:
            self.G.synthesis.checkpoint = False

    def published(self) -> None:
        reference(lambda: self._run(self.G.synthesis.published))()

    def gradients(self) -> Tensor:
        """Of all parameters together."""
        return torch.cat([p.grad.flatten() for p in self.G.parameters() if p.grad is not None])
