"""A 3-D convolution network with seeded random weights: features that need no file."""

from __future__ import annotations

import itertools
import math
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from digan_fast.metrics.features.network import FeatureNetwork, resized, state_sha256

SEED: Final = 0
SIDE: Final = 64
CHANNELS: Final = (32, 64, 128)


class Random3d(FeatureNetwork):
    """Three random 3-D convolutions; the features are the means over space and time of each one's activations.

    It tells whether a run improves, and sees motion, since its kernels extend in time.  Its values mean nothing
    outside this network.
    """

    name = "random3d"
    described = "seeded random 3-D convolutions, 224 features; for comparing runs with each other, not with papers"
    resize = f"bilinear, align_corners=False, to {SIDE}×{SIDE}"
    is_offline = True

    def __init__(self, seed: int = SEED) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        widths = (3, *CHANNELS)
        self.layers = nn.ParameterList()
        for inputs, outputs in itertools.pairwise(widths):
            weight = torch.randn(outputs, inputs, 3, 3, 3, generator=generator) * math.sqrt(2 / (27 * inputs))
            self.layers.append(nn.Parameter(weight, requires_grad=False))
        self.sha256 = state_sha256(self.state_dict())
        self.source = f"{self.name}, seed {seed}"

    def rows(self, clips: Tensor) -> Tensor:
        x = resized(clips, SIDE, SIDE).transpose(1, 2)
        found = []
        for index, weight in enumerate(self.layers):
            x = F.leaky_relu(F.conv3d(x, weight, stride=(1 if index == 0 else 2, 2, 2), padding=1), 0.2)
            found.append(x.mean((2, 3, 4)))
        return torch.cat(found, 1).unsqueeze(1)
