"""I3D: Inception-v1 inflated to three dimensions, for RGB clips, with the 400 classes of Kinetics.

Carreira, Zisserman, "Quo vadis, action recognition?", CVPR 2017, figure 3; branches' widths from Szegedy et al., "Going
deeper with convolutions", CVPR 2015, table 1.
"""

from __future__ import annotations

from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from digan_fast.metrics.features.network import FeatureNetwork, resized, same_padding

CLASSES: Final = 400
SIDE: Final = 224
# 1×1; 1×1 before 3×3, and 3×3; the same of the second 3×3, a 5×5 in Inception-v1; 1×1 after pooling.
BRANCHES: Final = {
    "Mixed_3b": (64, 96, 128, 16, 32, 32),
    "Mixed_3c": (128, 128, 192, 32, 96, 64),
    "Mixed_4b": (192, 96, 208, 16, 48, 64),
    "Mixed_4c": (160, 112, 224, 24, 64, 64),
    "Mixed_4d": (128, 128, 256, 24, 64, 64),
    "Mixed_4e": (112, 144, 288, 32, 64, 64),
    "Mixed_4f": (256, 160, 320, 32, 128, 128),
    "Mixed_5b": (256, 160, 320, 32, 128, 128),
    "Mixed_5c": (384, 192, 384, 48, 128, 128),
}
# Window and stride of the pooling before a part.
_POOLS: Final = {
    "Conv3d_2b_1x1": ((1, 3, 3), (1, 2, 2)),
    "Mixed_3b": ((1, 3, 3), (1, 2, 2)),
    "Mixed_4b": ((3, 3, 3), (2, 2, 2)),
    "Mixed_5b": ((2, 2, 2), (2, 2, 2)),
}


class I3D(FeatureNetwork):
    """The 400 logits, averaged over time; parameters have the names of the state dictionary in wide use."""

    name = "i3d"
    described = "I3D, RGB, Kinetics-400, 400 logits"
    resize = f"bilinear, align_corners=False, to {SIDE}×{SIDE}"
    shortest = 9  # three halvings of time, rounded up, leave the two that the last pooling takes

    def __init__(self) -> None:
        super().__init__()
        self.Conv3d_1a_7x7 = _Unit(3, 64, 7, 2)
        self.Conv3d_2b_1x1 = _Unit(64, 64, 1)
        self.Conv3d_2c_3x3 = _Unit(64, 192, 3)
        channels = 192
        for name, widths in BRANCHES.items():
            self.add_module(name, _Mixed(channels, widths))
            channels = widths[0] + widths[2] + widths[4] + widths[5]
        self.logits = _Logits(channels)
        self.eval().requires_grad_(False)

    def rows(self, clips: Tensor) -> Tensor:
        return self.class_logits(resized(clips, SIDE, SIDE).transpose(1, 2)).unsqueeze(1)

    def class_logits(self, x: Tensor) -> Tensor:
        """[B, 400] of clips [B, 3, T, 224, 224] in [−1, 1]."""
        for name, part in self.named_children():
            if name in _POOLS:
                x = _pooled(x, *_POOLS[name])
            if name != "logits":
                x = part(x)
        x = F.avg_pool3d(x, (2, 7, 7), stride=1)
        found: Tensor = self.logits.conv3d(x).mean((2, 3, 4))
        return found


class _Logits(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv3d = nn.Conv3d(channels, CLASSES, 1)


class _Unit(nn.Module):
    """A convolution without bias, batch normalisation, ReLU."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.conv3d = nn.Conv3d(channels, out, kernel, stride=stride, bias=False)
        self.bn = nn.BatchNorm3d(out, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        x = same_padding(x, self.conv3d.kernel_size, self.conv3d.stride)
        return F.relu(self.bn(self.conv3d(x)))


class _Mixed(nn.Module):
    def __init__(self, channels: int, widths: tuple[int, int, int, int, int, int]) -> None:
        super().__init__()
        self.b0 = _Unit(channels, widths[0], 1)
        self.b1a = _Unit(channels, widths[1], 1)
        self.b1b = _Unit(widths[1], widths[2], 3)
        self.b2a = _Unit(channels, widths[3], 1)
        self.b2b = _Unit(widths[3], widths[4], 3)
        self.b3b = _Unit(channels, widths[5], 1)

    def forward(self, x: Tensor) -> Tensor:
        pooled = _pooled(x, (3, 3, 3), (1, 1, 1))
        return torch.cat((self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(pooled)), 1)


def _pooled(x: Tensor, window: tuple[int, int, int], stride: tuple[int, int, int]) -> Tensor:
    """The maximum; padding with zeros is neutral, since what is pooled has passed a ReLU."""
    return F.max_pool3d(same_padding(x, window, stride), window, stride)
