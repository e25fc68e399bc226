"""Inception-v3 as the Fréchet inception distance uses it: features of single frames.

Szegedy, Vanhoucke, Ioffe, Shlens, Wojna, "Rethinking the inception architecture", CVPR 2016; the network of 2015-12-05
averages without counting the padding, and its last block takes the maximum instead (Heusel et al., NeurIPS 2017).
"""

from __future__ import annotations

from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from digan_fast.metrics.features.network import FeatureNetwork, resized

SIDE: Final = 299
FEATURES: Final = 2048
CLASSES: Final = 1008


class Inception(FeatureNetwork):
    """The 2,048 pooled features of every frame; parameters have the names of the published state dictionary."""

    name = "inception"
    described = "Inception-v3 of 2015-12-05, 2,048 features of single frames"
    resize = f"bilinear, align_corners=False, to {SIDE}×{SIDE}"

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = _Unit(3, 32, 3, stride=2)
        self.Conv2d_2a_3x3 = _Unit(32, 32, 3)
        self.Conv2d_2b_3x3 = _Unit(32, 64, 3, padding=1)
        self.Conv2d_3b_1x1 = _Unit(64, 80, 1)
        self.Conv2d_4a_3x3 = _Unit(80, 192, 3)
        self.Mixed_5b = _A(192, 32)
        self.Mixed_5c = _A(256, 64)
        self.Mixed_5d = _A(288, 64)
        self.Mixed_6a = _B(288)
        self.Mixed_6b = _C(128)
        self.Mixed_6c = _C(160)
        self.Mixed_6d = _C(160)
        self.Mixed_6e = _C(192)
        self.Mixed_7a = _D()
        self.Mixed_7b = _E(1280, is_last=False)
        self.Mixed_7c = _E(2048, is_last=True)
        self.fc = nn.Linear(FEATURES, CLASSES)
        self.eval().requires_grad_(False)

    def rows(self, clips: Tensor) -> Tensor:
        found = self.frame_features(resized(clips, SIDE, SIDE).flatten(0, 1))
        return found.unflatten(0, clips.shape[:2])

    def frame_features(self, x: Tensor) -> Tensor:
        """[N, 2048] of frames [N, 3, 299, 299] in [−1, 1]."""
        for name, part in self.named_children():
            if name in ("Conv2d_3b_1x1", "Mixed_5b"):
                x = F.max_pool2d(x, 3, stride=2)
            if name != "fc":
                x = part(x)
        return x.mean((2, 3))


class _Unit(nn.Module):
    """A convolution without bias, batch normalisation, ReLU."""

    def __init__(
        self,
        channels: int,
        out: int,
        kernel: int | tuple[int, int],
        stride: int = 1,
        padding: int | tuple[int, int] = 0,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, out, kernel, stride=stride, padding=padding, bias=False)
        self.bn = nn.BatchNorm2d(out, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


def _row(channels: int, out: int) -> _Unit:
    return _Unit(channels, out, (1, 7), padding=(0, 3))


def _column(channels: int, out: int) -> _Unit:
    return _Unit(channels, out, (7, 1), padding=(3, 0))


def _average(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


class _A(nn.Module):
    def __init__(self, channels: int, pooled: int) -> None:
        super().__init__()
        self.branch1x1 = _Unit(channels, 64, 1)
        self.branch5x5_1 = _Unit(channels, 48, 1)
        self.branch5x5_2 = _Unit(48, 64, 5, padding=2)
        self.branch3x3dbl_1 = _Unit(channels, 64, 1)
        self.branch3x3dbl_2 = _Unit(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = _Unit(96, 96, 3, padding=1)
        self.branch_pool = _Unit(channels, pooled, 1)

    def forward(self, x: Tensor) -> Tensor:
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        five = self.branch5x5_2(self.branch5x5_1(x))
        return torch.cat((self.branch1x1(x), five, double, self.branch_pool(_average(x))), 1)


class _B(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branch3x3 = _Unit(channels, 384, 3, stride=2)
        self.branch3x3dbl_1 = _Unit(channels, 64, 1)
        self.branch3x3dbl_2 = _Unit(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = _Unit(96, 96, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat((self.branch3x3(x), double, F.max_pool2d(x, 3, stride=2)), 1)


class _C(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.branch1x1 = _Unit(768, 192, 1)
        self.branch7x7_1 = _Unit(768, width, 1)
        self.branch7x7_2 = _row(width, width)
        self.branch7x7_3 = _column(width, 192)
        self.branch7x7dbl_1 = _Unit(768, width, 1)
        self.branch7x7dbl_2 = _column(width, width)
        self.branch7x7dbl_3 = _row(width, width)
        self.branch7x7dbl_4 = _column(width, width)
        self.branch7x7dbl_5 = _row(width, 192)
        self.branch_pool = _Unit(768, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        seven = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        double = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        double = self.branch7x7dbl_5(self.branch7x7dbl_4(double))
        return torch.cat((self.branch1x1(x), seven, double, self.branch_pool(_average(x))), 1)


class _D(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.branch3x3_1 = _Unit(768, 192, 1)
        self.branch3x3_2 = _Unit(192, 320, 3, stride=2)
        self.branch7x7x3_1 = _Unit(768, 192, 1)
        self.branch7x7x3_2 = _Unit(192, 192, (1, 7), padding=(0, 3))
        self.branch7x7x3_3 = _Unit(192, 192, (7, 1), padding=(3, 0))
        self.branch7x7x3_4 = _Unit(192, 192, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        seven = self.branch7x7x3_4(self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x))))
        return torch.cat((self.branch3x3_2(self.branch3x3_1(x)), seven, F.max_pool2d(x, 3, stride=2)), 1)


class _E(nn.Module):
    def __init__(self, channels: int, is_last: bool) -> None:
        super().__init__()
        self.is_last = is_last
        self.branch1x1 = _Unit(channels, 320, 1)
        self.branch3x3_1 = _Unit(channels, 384, 1)
        self.branch3x3_2a = _Unit(384, 384, (1, 3), padding=(0, 1))
        self.branch3x3_2b = _Unit(384, 384, (3, 1), padding=(1, 0))
        self.branch3x3dbl_1 = _Unit(channels, 448, 1)
        self.branch3x3dbl_2 = _Unit(448, 384, 3, padding=1)
        self.branch3x3dbl_3a = _Unit(384, 384, (1, 3), padding=(0, 1))
        self.branch3x3dbl_3b = _Unit(384, 384, (3, 1), padding=(1, 0))
        self.branch_pool = _Unit(channels, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        three = self.branch3x3_1(x)
        double = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        pooled = F.max_pool2d(x, 3, stride=1, padding=1) if self.is_last else _average(x)
        parts = (
            self.branch1x1(x),
            self.branch3x3_2a(three),
            self.branch3x3_2b(three),
            self.branch3x3dbl_3a(double),
            self.branch3x3dbl_3b(double),
            self.branch_pool(pooled),
        )
        return torch.cat(parts, 1)
