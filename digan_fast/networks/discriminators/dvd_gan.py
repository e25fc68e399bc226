"""DVD-GAN's discriminators (arXiv 1907.06571, section 3): single frames at full resolution, whole clips at a lower."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from digan_fast.networks import spectral
from digan_fast.networks.discriminators import Head, Recipe, View, register
from digan_fast.networks.reduction import side_of
from digan_fast.networks.spectral import SpectralLayer
from digan_fast.precision import PRECISIONS, full_precision

# Of a discriminator of motion, the residual blocks that see neighbouring frames.
TEMPORAL_BLOCKS = 2


class ResidualBlock(nn.Module):
    """Two convolutions, 3×3 within frames or 3×3×3 across them, beside a 1×1; ``halves`` the side by 2×2 means."""

    def __init__(self, inputs: int, outputs: int, temporal: bool, halves: bool, is_first: bool) -> None:
        super().__init__()
        self.temporal = temporal
        self.halves = halves
        self.is_first = is_first
        kernel, point = ((3, 3, 3), (1, 1, 1)) if temporal else ((3, 3), (1, 1))
        self.conv0 = SpectralLayer(inputs, outputs, kernel)
        self.conv1 = SpectralLayer(outputs, outputs, kernel)
        self.skip = SpectralLayer(inputs, outputs, point) if halves or inputs != outputs else None

    def _halved(self, x: Tensor) -> Tensor:
        if not self.halves:
            return x
        if not self.temporal:
            return F.avg_pool2d(x, 2)
        # avg_pool3d has no bfloat16 on CPUs.
        return F.avg_pool2d(x.flatten(1, 2), 2).unflatten(1, x.shape[1:3])

    def forward(self, x: Tensor) -> Tensor:
        """[B, I, T, H, W] if temporal, otherwise [N, I, H, W]; the same with O channels and, if halved, half the side.

        Pixels of the input have no activation before the first convolution.
        """
        shortcut = self._halved(x)
        if self.skip is not None:
            shortcut = self.skip(shortcut)
        x = self.conv0(x if self.is_first else F.relu(x))
        return shortcut + self._halved(self.conv1(F.relu(x)))


class SummedDiscriminator(nn.Module):
    """Logits [B, 1] of clips: the sum of its frames' scores.

    Residual blocks halve the side until it is 4, and one more does not; at side S they have
    min(channel_base/S, channel_max) channels, S counted before the reduction if ``resolution`` is the side then.  The
    first ``temporal_blocks`` see neighbouring frames, the others each frame alone.  A frame's score is linear in its
    features h [C], summed over pixels, plus ⟨e(c), h⟩ for a label c: the projection of arXiv 1802.05637.
    """

    def __init__(
        self,
        c_dim: int,
        side: int,
        img_channels: int,
        channel_base: int,
        channel_max: int,
        temporal_blocks: int,
        resolution: int | None = None,
    ) -> None:
        super().__init__()
        self.dtype = torch.float32
        scale = 1 if resolution is None else resolution // side
        blocks: list[ResidualBlock] = []
        inputs = img_channels
        while True:
            halves = side > 4
            outputs = min(channel_base // (side * scale), channel_max)
            temporal = len(blocks) < temporal_blocks
            blocks.append(ResidualBlock(inputs, outputs, temporal, halves, not blocks))
            inputs, side = outputs, side // 2
            if not halves:
                break
        self.blocks = nn.ModuleList(blocks)
        self.out = SpectralLayer(inputs, 1)
        self.embed = SpectralLayer(c_dim, inputs, bias=False) if c_dim else None

    def forward(self, clips: Tensor, c: Tensor | None) -> Tensor:
        """clips [B, T, C, S, S]."""
        batch, frames = clips.shape[:2]
        x = clips.flatten(0, 1).to(self.dtype if clips.dtype == torch.float32 else clips.dtype)
        is_temporal = False
        for block in self.blocks:
            assert isinstance(block, ResidualBlock)
            if block.temporal and not is_temporal:
                x = x.unflatten(0, (batch, frames)).transpose(1, 2)
            elif is_temporal and not block.temporal:
                x = x.transpose(1, 2).flatten(0, 1)
            is_temporal = block.temporal
            x = block(x)
        if is_temporal:
            x = x.transpose(1, 2).flatten(0, 1)
        features = F.relu(x).to(clips.dtype).sum((2, 3)).unflatten(0, (batch, frames)).sum(1)
        logits: Tensor = self.out(features)
        if self.embed is None:
            return logits
        if c is None or c.shape != (batch, self.embed.weight.shape[1]):
            found = "None" if c is None else f"shape {tuple(c.shape)}"
            raise ValueError(f"c: {found}, expected labels [{batch}, {self.embed.weight.shape[1]}]")
        return logits + (self.embed(c.to(features.dtype)) * features).sum(1, keepdim=True)


class Judgement(NamedTuple):
    """Logits [B, 1] of one head."""

    logits: Tensor
    head: str

    def heads(self, shown: Tensor) -> dict[str, Head]:
        """R1's variable is what the head is shown, before augmentation."""
        return {self.head: Head(self.logits, shown)}


@register("dvd-gan")
class DVDDiscriminator(nn.Module):
    """D_S, here ``frame``, judges ``frames`` random frames one by one; D_T, ``clip``, all frames, reduced.

    ``init_kwargs`` are the constructor's arguments as plain data.
    """

    judges_clips = True
    recipe = Recipe(loss="hinge", d_steps=2, r1_gamma=0.0, lr=1e-4, d_lr=5e-4)
    views: Mapping[str, View]

    def __init__(
        self,
        c_dim: int = 0,
        img_resolution: int = 128,
        img_channels: int = 3,
        channel_base: int = 32768,
        channel_max: int = 512,
        frames: int = Recipe.frames,
        reduction: str = "pool2",
    ) -> None:
        super().__init__()
        if img_resolution < 8 or img_resolution & (img_resolution - 1):
            raise ValueError(f"img_resolution: {img_resolution}, expected a power of two from 8 on")
        if frames < 1:
            raise ValueError(f"frames: {frames}, expected 1 or more")
        if min(channel_base // img_resolution, channel_max) < 1:
            raise ValueError(f"channel_base: {channel_base}, expected at least img_resolution, {img_resolution}")
        self.init_kwargs = {
            "c_dim": c_dim,
            "img_resolution": img_resolution,
            "img_channels": img_channels,
            "channel_base": channel_base,
            "channel_max": channel_max,
            "frames": frames,
            "reduction": reduction,
        }
        self.c_dim = c_dim
        self.img_resolution = img_resolution
        self.img_channels = img_channels
        self.views = {"frame": View(frames), "clip": View(None, reduction)}
        channels = (img_channels, channel_base, channel_max)
        self.sides = {"frame": img_resolution, "clip": side_of(reduction, img_resolution)}
        self.frame = SummedDiscriminator(c_dim, self.sides["frame"], *channels, 0)
        self.clip = SummedDiscriminator(c_dim, self.sides["clip"], *channels, TEMPORAL_BLOCKS, img_resolution)

    @classmethod
    def training_kwargs(
        cls,
        *,
        c_dim: int,
        img_resolution: int,
        img_channels: int,
        channel_base: int,
        channel_max: int,
        group: int,
        clip_length: int,
        frames: int,
        reduction: str,
    ) -> dict[str, Any]:
        """There is no minibatch deviation, so no ``group``, and clips may have any length."""
        return {
            "c_dim": c_dim,
            "img_resolution": img_resolution,
            "img_channels": img_channels,
            "channel_base": channel_base,
            "channel_max": channel_max,
            "frames": frames,
            "reduction": reduction,
        }

    def set_precision(self, precision: str) -> None:
        """Run the residual blocks in ``float32`` or ``bfloat16``; parameters and sums over pixels stay float32."""
        if precision not in PRECISIONS:
            raise ValueError(f"precision: {precision!r}, expected one of {', '.join(PRECISIONS)}")
        for part in (self.frame, self.clip):
            part.dtype = PRECISIONS[precision]

    def advance(self) -> None:
        """One power iteration of all weights."""
        spectral.advance(self)

    @full_precision
    def forward(self, shown: Tensor, c: Tensor | None = None, *, head: str) -> Judgement:
        """shown [B, K, C, S, S], S the head's side; labels c [B, c_dim].  Raises ValueError for an invalid shape."""
        if head not in self.views:
            raise ValueError(f"head: {head!r}, expected one of {', '.join(self.views)}")
        side = self.sides[head]
        if shown.ndim != 5 or tuple(shown.shape[2:]) != (self.img_channels, side, side):
            expected = f"[B, K, {self.img_channels}, {side}, {side}]"
            raise ValueError(f"shown: shape {tuple(shown.shape)}, expected {expected}")
        judge = self.frame if head == "frame" else self.clip
        return Judgement(judge(shown, c), head)
