"""Networks whose code comes from a TorchScript archive, which is executed."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from digan_fast.metrics.features.network import FeatureNetwork


class ScriptedVideos(FeatureNetwork):
    """I3D as the archive of StyleGAN-V's evaluation computes it: it scales and resizes by itself."""

    name = "i3d"
    described = "I3D, RGB, Kinetics-400, 400 logits, computed by the archive's own code"
    resize = "by the archive's own code"
    shortest = 9

    def __init__(self, module: Any) -> None:
        super().__init__()
        self.module = module

    def rows(self, clips: Tensor) -> Tensor:
        pixels = ((clips + 1) * 127.5).transpose(1, 2)
        found: Tensor = self.module(pixels, rescale=True, resize=True, return_features=True)
        return _checked(found, 400, len(clips)).unsqueeze(1)


class ScriptedImages(FeatureNetwork):
    """Inception as the archive of StyleGAN's evaluation computes it."""

    name = "inception"
    described = "Inception-v3 of 2015-12-05, 2,048 features of single frames, computed by the archive's own code"
    resize = "by the archive's own code"

    def __init__(self, module: Any) -> None:
        super().__init__()
        self.module = module

    def rows(self, clips: Tensor) -> Tensor:
        frames = ((clips + 1) * 127.5).flatten(0, 1).round().to(torch.uint8)
        found: Tensor = self.module(frames, return_features=True)
        return _checked(found, 2048, len(frames)).unflatten(0, clips.shape[:2])


def _checked(found: Any, features: int, count: int) -> Tensor:
    if not isinstance(found, Tensor) or found.shape != (count, features):
        extent = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise ValueError(f"the archive's code returned {extent}, expected [{count}, {features}]")
    return found
