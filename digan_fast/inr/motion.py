"""The motion of a level's sinusoids."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch.nn.functional as F
from torch import Tensor

from digan_fast import functional

MOTION_SLOPE = 0.01


@dataclass(frozen=True, eq=False)
class Motion:
    """The phases of a level's sinusoids at any time: ``offset + MLP(leaky_relu(velocity·t))``.

    offset, velocity [B, K]; the MLP's weight0, weight1 [K, K] and bias0, bias1 [K] are shared by all videos.
    """

    offset: Tensor
    velocity: Tensor
    weight0: Tensor
    bias0: Tensor
    weight1: Tensor
    bias1: Tensor

    def phase(self, times: Tensor) -> Tensor:
        """[B, T, K] radians at times [B, T]."""
        moved = F.leaky_relu(self.velocity.unsqueeze(1) * times.unsqueeze(2), MOTION_SLOPE)
        hidden = functional.linear_act(moved.flatten(0, 1)[None], self.weight0[None], self.bias0, "lrelu")
        added = functional.linear_act(hidden, self.weight1[None], self.bias1)
        return self.offset.unsqueeze(1) + added.reshape(moved.shape)

    def videos(self, part: slice) -> Motion:
        """The motion of some of the videos."""
        return replace(self, offset=self.offset[part], velocity=self.velocity[part])
