"""C3D with the 101 classes of UCF-101, for the inception score of videos.

Tran, Bourdev, Fergus, Torresani, Paluri, "Learning spatiotemporal features with 3D convolutional networks", ICCV 2015,
figure 3; the score of Saito, Saito, Koyama, Kobayashi, "Train sparsely, generate densely", IJCV 2020.
"""

from __future__ import annotations

from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from digan_fast.metrics.features.network import FeatureNetwork, resized

CLASSES: Final = 101
FRAMES: Final = 16
# The network was trained on crops of 112×112 out of pictures of 128×171.
HEIGHT, WIDTH, SIDE = 128, 171, 112
CONVOLUTIONS: Final = {
    "conv1a": (3, 64),
    "conv2a": (64, 128),
    "conv3a": (128, 256),
    "conv3b": (256, 256),
    "conv4a": (256, 512),
    "conv4b": (512, 512),
    "conv5a": (512, 512),
    "conv5b": (512, 512),
}
_POOLED_AFTER: Final = ("conv1a", "conv2a", "conv3b", "conv4b", "conv5b")


class C3D(FeatureNetwork):
    """The 101 logits of clips of 16 frames.

    ``mean``: subtracted from pictures in 0..255, blue first, [3, 16, 128, 171] as in the published ``mean2.npz``; zero
    until it is set.
    """

    mean: Tensor
    name = "c3d"
    described = "C3D, Sports-1M and UCF-101, 101 logits"
    resize = f"bilinear, align_corners=False, to {HEIGHT}×{WIDTH}, centre {SIDE}×{SIDE}"
    shortest = FRAMES

    def __init__(self) -> None:
        super().__init__()
        for name, (channels, out) in CONVOLUTIONS.items():
            self.add_module(name, nn.Conv3d(channels, out, 3, padding=1))
        self.fc6 = nn.Linear(8192, 4096)
        self.fc7 = nn.Linear(4096, 4096)
        self.fc8 = nn.Linear(4096, CLASSES)
        self.register_buffer("mean", torch.zeros(3, FRAMES, HEIGHT, WIDTH))
        self.eval().requires_grad_(False)

    def rows(self, clips: Tensor) -> Tensor:
        if clips.shape[1] != FRAMES:
            raise ValueError(f"clips: {clips.shape[1]} frames, expected {FRAMES} for c3d")
        x = resized((clips + 1) * 127.5, HEIGHT, WIDTH).flip(2).transpose(1, 2) - self.mean
        top, left = (HEIGHT - SIDE) // 2, (WIDTH - SIDE) // 2
        return self.class_logits(x[..., top : top + SIDE, left : left + SIDE]).unsqueeze(1)

    def class_logits(self, x: Tensor) -> Tensor:
        """[B, 101] of clips [B, 3, 16, 112, 112] in 0..255, blue first, their mean subtracted."""
        for name in CONVOLUTIONS:
            x = F.relu(self.get_submodule(name)(x))
            if name in _POOLED_AFTER:
                first, last = name == "conv1a", name == "conv5b"
                window = (1 if first else 2, 2, 2)
                x = F.max_pool3d(x, window, padding=(0, 1, 1) if last else 0)
        x = F.relu(self.fc6(x.flatten(1)))
        found: Tensor = self.fc8(F.relu(self.fc7(x)))
        return found
