"""The discriminators: residual networks over pairs of frames with their time difference, and over single frames."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from digan_fast import functional, transforms
from digan_fast.networks.convolution import Conv
from digan_fast.networks.discriminators import Head, register
from digan_fast.networks.layers import RESAMPLE_FILTER, FullyConnected, MappingNetwork, resample_filter
from digan_fast.networks.recompute import recomputed
from digan_fast.precision import MIXED, MIXED_LEVELS, PRECISIONS, TRAINING_PRECISIONS, computes_half, full_precision
from digan_fast.reference.activations import ACTIVATIONS

ARCHITECTURES = ("resnet", "orig", "skip")


@dataclass(frozen=True)
class BlockOptions:
    """The published ``block_kwargs``; ``fp16_channels_last`` selects a layout there and has no effect here.

    ``freeze_layers``: the number of initial convolutions that are not trained.
    """

    activation: str = "lrelu"
    resample_filter: Sequence[int] = RESAMPLE_FILTER
    fp16_channels_last: bool = False
    freeze_layers: int = 0

    def __post_init__(self) -> None:
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"activation: {self.activation!r}, expected one of {', '.join(ACTIVATIONS)}")
        if self.freeze_layers < 0:
            raise ValueError(f"freeze_layers: {self.freeze_layers}, expected 0 or more")


class Block(nn.Module):
    """One resolution, halved at the end.  ``fromrgb`` exists at the first level, and at all levels for ``skip``."""

    resample_filter: Tensor

    def __init__(
        self,
        img_channels: int,
        channels: int,
        out_channels: int,
        is_first: bool,
        architecture: str,
        conv_clamp: float | None,
        use_fp16: bool,
        options: BlockOptions,
        first_layer: int,
    ) -> None:
        super().__init__()
        self.architecture = architecture
        self.use_fp16 = use_fp16
        self.mixed = False
        self.precision: torch.dtype | None = None
        self.num_layers = 0
        self.register_buffer("resample_filter", resample_filter(options.resample_filter))

        def conv(inputs: int, outputs: int, size: int, activation: str = options.activation, **kwargs: Any) -> Conv:
            trainable = first_layer + self.num_layers >= options.freeze_layers
            self.num_layers += 1
            kwargs = {"filter_taps": options.resample_filter, "trainable": trainable, **kwargs}
            return Conv(inputs, outputs, size, activation, **kwargs)

        self.fromrgb: Conv | None = None
        if is_first or architecture == "skip":
            self.fromrgb = conv(img_channels, channels, 1, conv_clamp=conv_clamp)
        self.conv0 = conv(channels, channels, 3, conv_clamp=conv_clamp)
        self.conv1 = conv(channels, out_channels, 3, down=2, conv_clamp=conv_clamp)
        self.skip: Conv | None = None
        if architecture == "resnet":
            self.skip = conv(channels, out_channels, 1, activation="linear", bias=False, down=2)

    @property
    def _padding(self) -> list[int]:
        taps = len(self.resample_filter)
        return [(taps - 1) // 2, (taps - 2) // 2] * 2

    def forward(self, x: Tensor | None, img: Tensor | None) -> tuple[Tensor, Tensor | None]:
        own = self.conv0.weight.dtype

        def cast(t: Tensor) -> Tensor:
            half = (self.use_fp16 or self.mixed) and computes_half(t)
            return t.to(torch.float16 if half else self.precision or own)

        if self.fromrgb is not None:
            assert img is not None
            colours = self.fromrgb(cast(img))
            x = colours if x is None else cast(x) + colours
            img = (
                functional.upfirdn2d(img, self.resample_filter, down=2, padding=self._padding)
                if self.architecture == "skip"
                else None
            )
        assert x is not None
        x = cast(x)
        if self.skip is None:
            return self.conv1(self.conv0(x)), img
        branch = self.skip(x, gain=math.sqrt(0.5))
        return branch + self.conv1(self.conv0(x), gain=math.sqrt(0.5)), img


def minibatch_deviation(x: Tensor, group_size: int | None, features: int = 1) -> Tensor:
    """x [N, C, H, W] with ``features`` channels appended: the standard deviation within groups of samples."""
    batch, channels, height, width = x.shape
    group = batch if group_size is None else min(group_size, batch)
    if batch == 0:
        return torch.cat((x, x.new_zeros(0, features, height, width)), dim=1)
    if batch % group:
        raise ValueError(f"mbstd_group_size: {group} does not divide the batch of {batch}")
    y = x.reshape(group, batch // group, features, channels // features, height, width)
    y = ((y - y.mean(0)).square().mean(0) + 1e-8).sqrt().mean((2, 3, 4))
    y = y.view(-1, features, 1, 1).repeat(group, 1, height, width)
    return torch.cat((x, y), dim=1)


class Epilogue(nn.Module):
    """Level 4: minibatch deviation, a convolution, two linear layers; with labels, the product with their mapping."""

    def __init__(
        self,
        channels: int,
        cmap_dim: int,
        img_channels: int,
        architecture: str,
        conv_clamp: float | None,
        mbstd_group_size: int | None = 4,
        mbstd_num_channels: int = 1,
        activation: str = "lrelu",
    ) -> None:
        super().__init__()
        self.cmap_dim = cmap_dim
        self.mbstd_group_size = mbstd_group_size
        self.mbstd_num_channels = mbstd_num_channels
        self.fromrgb: Conv | None = None
        if architecture == "skip":
            self.fromrgb = Conv(img_channels, channels, 1, activation, conv_clamp=conv_clamp)
        self.conv = Conv(channels + mbstd_num_channels, channels, 3, activation, conv_clamp=conv_clamp)
        self.fc = FullyConnected(channels * 4 * 4, channels, activation)
        self.out = FullyConnected(channels, cmap_dim or 1)

    def forward(self, x: Tensor, img: Tensor | None, label: Tensor | None) -> Tensor:
        own = self.out.weight.dtype
        x = x.to(own)
        if self.fromrgb is not None:
            assert img is not None
            x = x + self.fromrgb(img.to(own))
        if self.mbstd_num_channels:
            x = minibatch_deviation(x, self.mbstd_group_size, self.mbstd_num_channels)
        x = self.out(self.fc(self.conv(x).flatten(1)))
        if label is None:
            return x
        return (x * label).sum(dim=1, keepdim=True) / math.sqrt(self.cmap_dim)


def _through(blocks: Sequence[Block], x: Tensor | None, img: Tensor | None) -> tuple[Any, Tensor | None]:
    for block in blocks:
        x, img = block(x, img)
    return x, img


class StreamDiscriminator(nn.Module):
    """StyleGAN2's residual discriminator of pictures with ``img_channels`` channels: logits [N, 1]."""

    def __init__(
        self,
        c_dim: int,
        img_resolution: int,
        img_channels: int,
        architecture: str = "resnet",
        channel_base: int = 32768,
        channel_max: int = 512,
        num_fp16_res: int = 0,
        conv_clamp: float | None = None,
        cmap_dim: int | None = None,
        block_kwargs: Mapping[str, Any] | None = None,
        mapping_kwargs: Mapping[str, Any] | None = None,
        epilogue_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.c_dim = c_dim
        self.img_resolution = img_resolution
        self.img_channels = img_channels
        self.block_resolutions = [2**p for p in range(img_resolution.bit_length() - 1, 2, -1)]
        channels = {r: min(channel_base // r, channel_max) for r in [*self.block_resolutions, 4]}
        if cmap_dim is None:
            cmap_dim = channels[4]
        if c_dim == 0:
            cmap_dim = 0
        if min(channels.values()) < 1:
            raise ValueError(f"channel_base: {channel_base}, expected at least img_resolution, {img_resolution}")
        options, layers = BlockOptions(**(block_kwargs or {})), 0
        for resolution in self.block_resolutions:
            block = Block(
                img_channels,
                channels[resolution],
                channels[resolution // 2],
                is_first=resolution == img_resolution,
                architecture=architecture,
                conv_clamp=conv_clamp,
                use_fp16=resolution > img_resolution >> num_fp16_res,
                options=options,
                first_layer=layers,
            )
            layers += block.num_layers
            setattr(self, f"b{resolution}", block)
        self.mapping: MappingNetwork | None = None
        if c_dim > 0:
            self.mapping = MappingNetwork(0, c_dim, cmap_dim, None, w_avg_beta=None, **(mapping_kwargs or {}))
        self.b4 = Epilogue(channels[4], cmap_dim, img_channels, architecture, conv_clamp, **(epilogue_kwargs or {}))

    def forward(self, img: Tensor, c: Tensor | None, recompute: bool = False) -> Tensor:
        """Logits [N, 1]; with ``recompute``, the largest activations are computed again for every derivative."""
        # Channels last: on two Zen 4 cores at [64, 32, 32, 32], a convolution with its gradients takes 24 ms instead
        # of 36, the depthwise FIR filter 3.6 ms instead of 11.6; at 16² the two layouts are about equal.
        x: Tensor | None = None
        rest: Tensor | None = img if transforms.active() else img.contiguous(memory_format=torch.channels_last)
        blocks = [getattr(self, f"b{resolution}") for resolution in self.block_resolutions]
        # A level holds four times what the next one does; "skip" needs the picture again at each.
        first = blocks[:2] if recompute and self.b4.fromrgb is None and not transforms.active() else []
        if first:
            parameters = [parameter for block in first for parameter in block.parameters()]
            assert rest is not None
            x, rest = recomputed(lambda picture: _through(first, None, picture)[0], rest, parameters), None
        x, rest = _through(blocks[len(first) :], x, rest)
        label = None if self.mapping is None else self.mapping(None, c)
        return self.b4(x, rest, label)


class Judgement(NamedTuple):
    """Logits of the pairs' motion [B, 1] and of their frames [2B, 1], and the frames [2B, 3, H, W].

    If one head was asked for, the other's logits are None.
    """

    motion: Tensor | None
    image: Tensor | None
    frames: Tensor

    def heads(self, pairs: Tensor) -> dict[str, Head]:
        """R1's variables: for the motion head the pairs before augmentation, for the image head its own frames."""
        found = {"motion": (self.motion, pairs), "image": (self.image, self.frames)}
        return {name: Head(logits, penalised) for name, (logits, penalised) in found.items() if logits is not None}


@register("digan")
class Discriminator(nn.Module):
    """DIGAN's two discriminators (arXiv 2202.10571, section 3.2), with the published names ``videoD`` and ``imageD``.

    ``init_kwargs`` are the constructor's arguments as plain data.  ``ours`` has no effect: the published training
    always sets it to True.
    """

    head_names = ("motion", "image")

    def __init__(
        self,
        c_dim: int = 0,
        img_resolution: int = 128,
        img_channels: int = 3,
        architecture: str = "resnet",
        channel_base: int = 32768,
        channel_max: int = 512,
        num_fp16_res: int = 0,
        conv_clamp: float | None = None,
        cmap_dim: int | None = None,
        block_kwargs: Mapping[str, Any] | None = None,
        mapping_kwargs: Mapping[str, Any] | None = None,
        epilogue_kwargs: Mapping[str, Any] | None = None,
        ours: bool = True,
    ) -> None:
        super().__init__()
        if img_resolution < 8 or img_resolution & (img_resolution - 1):
            raise ValueError(f"img_resolution: {img_resolution}, expected a power of two from 8 on")
        if architecture not in ARCHITECTURES:
            raise ValueError(f"architecture: {architecture!r}, expected one of {ARCHITECTURES}")
        options: dict[str, Any] = {
            "architecture": architecture,
            "channel_base": channel_base,
            "channel_max": channel_max,
            "num_fp16_res": num_fp16_res,
            "conv_clamp": conv_clamp,
            "cmap_dim": cmap_dim,
            "block_kwargs": dict(block_kwargs or {}),
            "mapping_kwargs": dict(mapping_kwargs or {}),
            "epilogue_kwargs": dict(epilogue_kwargs or {}),
        }
        self.init_kwargs = {
            "c_dim": c_dim,
            "img_resolution": img_resolution,
            "img_channels": img_channels,
            **options,
            "ours": ours,
        }
        self.c_dim = c_dim
        self.img_resolution = img_resolution
        self.img_channels = img_channels
        self.videoD = StreamDiscriminator(c_dim, img_resolution, 2 * img_channels + 1, **options)
        self.imageD = StreamDiscriminator(c_dim, img_resolution, img_channels, **options)

    @classmethod
    def training_kwargs(
        cls,
        c_dim: int,
        img_resolution: int,
        img_channels: int,
        channel_base: int,
        channel_max: int,
        group: int,
    ) -> dict[str, Any]:
        """As in the published training; ``group`` is the minibatch deviation's."""
        return {
            "c_dim": c_dim,
            "img_resolution": img_resolution,
            "img_channels": img_channels,
            "channel_base": channel_base,
            "channel_max": channel_max,
            "conv_clamp": 256,
            "epilogue_kwargs": {"mbstd_group_size": group},
        }

    def set_precision(self, precision: str) -> None:
        """Run all convolutions except the last level's in ``float32`` or ``bfloat16``, or in ``mixed`` precision, as in
        the published training: the four highest levels in float16 on a GPU.  Parameters stay float32."""
        if precision not in TRAINING_PRECISIONS:
            raise ValueError(f"precision: {precision!r}, expected one of {', '.join(TRAINING_PRECISIONS)}")
        for stream in (self.videoD, self.imageD):
            levels = [module for module in stream.children() if isinstance(module, Block)]
            for index, level in enumerate(levels):
                level.mixed = precision == MIXED and index < MIXED_LEVELS
                level.precision = PRECISIONS[precision] if precision == "bfloat16" else None

    @full_precision
    def forward(
        self, vid: Tensor, c: Tensor | None = None, head: str | None = None, recompute: bool = False
    ) -> Judgement:
        """``(motion_logits [B, 1], image_logits [2B, 1], frames [2B, 3, H, W])``, or only one head's logits.

        vid [B, 7, H, W]: two frames and the plane of their time difference.  ``frames`` is the tensor that
        image_logits depend on, for the gradient penalty.  With ``recompute``, the largest activations are held for one
        picture at a time and computed again for every derivative.  Raises ValueError for an invalid shape or head.
        """
        if head not in (None, *self.head_names):
            raise ValueError(f"head: {head!r}, expected None or one of {', '.join(self.head_names)}")
        side = self.img_resolution
        if c is not None and c.shape[0] != vid.shape[0]:
            raise ValueError(f"c: {len(c)} labels for {len(vid)} pairs")
        if tuple(vid.shape[1:]) != (2 * self.img_channels + 1, side, side):
            expected = f"[B, {2 * self.img_channels + 1}, {side}, {side}]"
            raise ValueError(f"vid: shape {tuple(vid.shape)}, expected {expected}")
        frames = vid[:, : 2 * self.img_channels].reshape(-1, self.img_channels, side, side)
        labels = None if c is None else c.repeat_interleave(2, dim=0)
        return Judgement(
            None if head == "image" else self.videoD(vid, c, recompute),
            None if head == "motion" else self.imageD(frames, labels, recompute),
            frames,
        )
