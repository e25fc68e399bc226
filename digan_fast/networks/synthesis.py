"""The synthesis network: produces and renders an INR; the published form runs options that an INR does not support."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from digan_fast.inr import Coordinates, Level, VideoINR
from digan_fast.networks.config import GeneratorConfig
from digan_fast.networks.coordinates import CoordFuser, CoordsInput, GenInput
from digan_fast.networks.layers import RESAMPLE_FILTER, resample_filter
from digan_fast.networks.modulated import SkipLayer, SynthesisLayer, ToRGBLayer, fir_upsample
from digan_fast.precision import TRAINING_PRECISIONS, full_precision
from digan_fast.reference.activations import ACTIVATIONS

ARCHITECTURES = ("skip", "orig", "resnet")
NOISE_MODES = ("random", "const", "none")


class SynthesisBlock(nn.Module):
    """One level.  ``side`` is its grid's; ``doubles`` if that is twice the previous level's."""

    resample_filter: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        w_dim: int,
        side: int,
        doubles: bool,
        img_channels: int,
        is_last: bool,
        architecture: str,
        cfg: GeneratorConfig,
        conv_clamp: float | None,
        use_fp16: bool,
        activation: str,
        filter_taps: Sequence[int],
    ) -> None:
        super().__init__()
        self.side = side
        self.doubles = doubles
        self.is_last = is_last
        self.architecture = architecture
        self.upsampling_mode = cfg.upsampling_mode
        self.use_fp16 = use_fp16
        self.register_buffer("resample_filter", resample_filter(filter_taps))
        kernel_size = cfg.coords.kernel_size if cfg.coords.enabled else 3
        fir = doubles and cfg.upsampling_mode is None

        def layer(inputs: int, up: bool = False, instance_norm: bool = False) -> SynthesisLayer:
            return SynthesisLayer(
                inputs,
                out_channels,
                w_dim,
                side,
                kernel_size,
                cfg,
                up=up,
                activation=activation,
                conv_clamp=conv_clamp,
                instance_norm=instance_norm and cfg.fmm_instance_norm,
                filter_taps=filter_taps,
            )

        self.input: GenInput | None = None
        self.coord_fuser: CoordFuser | None = None
        self.conv0: SynthesisLayer | None = None
        if in_channels == 0:
            self.input = GenInput(cfg.input_type, out_channels, w_dim, side, cfg.input_coords)
            self.conv1 = layer(self.input.channels)
        else:
            coords = cfg.coords
            has_features = coords.enabled and coords.per_resolution and not coords.fallback
            if doubles and has_features and architecture != "resnet":
                features = coords.features(side)
                self.coord_fuser = CoordFuser(w_dim, features, coords.motion_sigma)
                in_channels += features.channels
            self.conv0 = layer(in_channels, up=fir)
            self.conv1 = layer(out_channels, instance_norm=True)
        extra = cfg.extra_convs(side)
        self.extra_convs: nn.ModuleList | None = None
        if extra:
            layers = [layer(out_channels, instance_norm=True) for _ in range(extra)]
            self.extra_convs = nn.ModuleList(layers)
        self.torgb: ToRGBLayer | None = None
        if is_last or architecture == "skip":
            self.torgb = ToRGBLayer(out_channels, img_channels, w_dim, conv_clamp)
        self.skip: SkipLayer | None = None
        if in_channels and self.input is None and architecture == "resnet":
            self.skip = SkipLayer(in_channels, out_channels, fir, filter_taps)

    @property
    def layers(self) -> list[SynthesisLayer]:
        """The modulated layers in order; each takes one entry of ws."""
        first = [] if self.conv0 is None else [self.conv0]
        return [*first, self.conv1, *(self.extra_convs or [])]

    @property
    def fuser(self) -> CoordFuser | None:
        """This level's coordinate features, including level 4's input."""
        if self.input is not None and isinstance(self.input.input, CoordsInput):
            return self.input.input.coord_fuser
        return self.coord_fuser

    def inr_level(self, ws: list[Tensor], z_motion: Tensor) -> Level:
        """ws: one [B, w_dim] per layer and one more for torgb."""
        layers = [layer.inr_layer(w) for layer, w in zip(self.layers, ws, strict=False)]
        coordinates: Coordinates | None = None
        if self.fuser is not None:
            coordinates = self.fuser.coordinates(ws[0], z_motion)
            if not self.fuser.use_cosine:
                # Cosines with weight 0, so that every INR has both sines and cosines.
                layers[0] = replace(layers[0], weight=F.pad(layers[0].weight, (0, self.fuser.sinusoids)))
        assert self.torgb is not None
        return Level(self.side, coordinates, tuple(layers), self.torgb.inr_layer(ws[-1]))

    def _upsample(self, x: Tensor) -> Tensor:
        if self.upsampling_mode == "bilinear":
            return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
        return F.interpolate(x, scale_factor=2, mode="nearest")

    def forward(
        self,
        x: Tensor | None,
        img: Tensor | None,
        ws: list[Tensor],
        times: Tensor,
        z_motion: Tensor,
        noise_mode: str,
        force_fp32: bool,
    ) -> tuple[Tensor, Tensor | None]:
        """As published: N frames, each with its own weights; the level below is upsampled before the first product."""
        half = self.use_fp16 and times.device.type == "cuda" and not force_fp32
        dtype = torch.float16 if half else times.dtype
        plain = self.doubles and self.upsampling_mode is not None
        if self.input is not None:
            x = self.input(ws[0], times, z_motion).to(dtype)
        else:
            assert x is not None
            x = x.to(dtype)
            if plain:
                x = self._upsample(x)
            if self.coord_fuser is not None:
                side = x.shape[-1]
                x = torch.cat((x, self.coord_fuser(side, ws[0], times, z_motion).to(dtype)), dim=1)
        branch = self.skip(x, gain=math.sqrt(0.5)) if self.skip is not None else None
        for layer, w in zip(self.layers, ws, strict=False):
            gain = math.sqrt(0.5) if branch is not None and layer is self.conv1 else 1.0
            x = layer(x, w, noise_mode, gain)
            if branch is not None and layer is self.conv1:
                x = branch + x
        if img is not None and self.doubles:
            img = self._upsample(img) if plain else fir_upsample(img, self.resample_filter, 0)
        if self.torgb is not None:
            colours = self.torgb(x, ws[-1]).to(times.dtype)
            img = colours if img is None else img + colours
        return x, img


class SynthesisNetwork(nn.Module):
    """``ws`` [B, num_ws, w_dim], times and motion vectors to frames; sections 3.1 and 3.2 of arXiv 2202.10571.

    ``fp16_channels_last`` selects a layout in the published network and has no effect here.
    """

    def __init__(
        self,
        w_dim: int,
        img_resolution: int,
        img_channels: int = 3,
        channel_base: int = 32768,
        channel_max: int = 512,
        num_fp16_res: int = 0,
        conv_clamp: float | None = None,
        architecture: str = "skip",
        resample_filter: Sequence[int] = RESAMPLE_FILTER,
        activation: str = "lrelu",
        fp16_channels_last: bool = False,
        cfg: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if img_resolution < 4 or img_resolution & (img_resolution - 1):
            raise ValueError(f"img_resolution: {img_resolution}, expected a power of two from 4 on")
        if architecture not in ARCHITECTURES:
            raise ValueError(f"architecture: {architecture!r}, expected one of {ARCHITECTURES}")
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation: {activation!r}, expected one of {', '.join(ACTIVATIONS)}")
        config = GeneratorConfig.read(cfg)
        if config.input_resolution > img_resolution:
            raise ValueError(f"input.resolution: {config.input_resolution}, but the picture's side is {img_resolution}")
        if min(channel_base // img_resolution, channel_max) < 1:
            raise ValueError(f"channel_base: {channel_base}, expected at least img_resolution, {img_resolution}")
        self.w_dim = w_dim
        self.img_resolution = img_resolution
        self.img_resolution_log2 = img_resolution.bit_length() - 1
        self.img_channels = img_channels
        self.num_fp16_res = num_fp16_res
        self.architecture = architecture
        self.config = config
        # Whether training stores no activations of the INR and recomputes them in the backward.
        self.checkpoint = False
        self.precision = "float32"
        self.block_resolutions = [2**power for power in range(2, img_resolution.bit_length())]
        below, channels_below = 0, 0
        for resolution in self.block_resolutions:
            side = max(resolution, config.input_resolution)
            channels = min(channel_base // resolution, channel_max)
            is_last = resolution == img_resolution
            block = SynthesisBlock(
                channels_below,
                channels,
                w_dim,
                side,
                doubles=bool(below) and side > below,
                img_channels=img_channels,
                is_last=is_last,
                architecture=architecture,
                cfg=config,
                conv_clamp=conv_clamp,
                use_fp16=resolution > img_resolution >> num_fp16_res,
                activation=activation,
                filter_taps=resample_filter,
            )
            setattr(self, f"b{resolution}", block)
            below, channels_below = side, channels
        self.num_ws = sum(len(block.layers) for block in self.blocks) + 1

    @property
    def blocks(self) -> list[SynthesisBlock]:
        return [getattr(self, f"b{resolution}") for resolution in self.block_resolutions]

    @property
    def dtype(self) -> torch.dtype:
        # Not from parameters(), which DataParallel's replicas do not have.
        return self.blocks[0].conv1.bias.dtype

    def why_not_inr(self) -> str | None:
        """Why these options have no INR, so that the published form runs; None if they have one."""
        config = self.config
        reasons = {
            f"architecture is {self.architecture!r}": self.architecture != "skip",
            "coords.enabled is false": not config.coords.enabled,
            f"coords.kernel_size is {config.coords.kernel_size}": config.coords.kernel_size != 1,
            f"upsampling_mode is {config.upsampling_mode!r}": config.upsampling_mode != "nearest",
            "use_noise is true": config.use_noise,
            f"input.type is {config.input_type!r}": config.input_type != "coords",
            "fmm.instance_norm is true": config.fmm_instance_norm,
            "a level that doubles the grid has no coordinate features": any(
                block.doubles and block.coord_fuser is None for block in self.blocks
            ),
        }
        return next((reason for reason, holds in reasons.items() if holds), None)

    def _split(self, ws: Tensor) -> list[list[Tensor]]:
        """For each level, one entry per layer, and the next one for its torgb."""
        if ws.ndim != 3 or tuple(ws.shape[1:]) != (self.num_ws, self.w_dim):
            expected = f"[B, {self.num_ws}, {self.w_dim}]"
            raise ValueError(f"ws: shape {tuple(ws.shape)}, expected {expected}")
        ws = ws.to(self.dtype)
        entries, first, parts = list(ws.unbind(1)), 0, []
        for block in self.blocks:
            count = len(block.layers)
            parts.append(entries[first : first + count + 1])
            first += count
        return parts

    @full_precision
    def inr(self, ws: Tensor, z_motion: Tensor) -> VideoINR:
        """The INR of B videos, for ws [B, num_ws, w_dim] and motion vectors z_motion [B, w_dim].

        It shares no memory with the network, which may continue training; if made with gradients, it carries them.
        Raises ValueError for an invalid shape or, with the reason, if these options have no INR.
        """
        reason = self.why_not_inr()
        if reason is not None:
            raise ValueError(f"this generator has no INR: {reason}")
        parts = self._split(ws)
        self._check_motion(z_motion, ws.shape[0])
        z_motion = z_motion.to(parts[0][0].dtype)
        levels = zip(self.blocks, parts, strict=True)
        return VideoINR(tuple(block.inr_level(part, z_motion) for block, part in levels))

    def _check_motion(self, z_motion: Tensor, batch: int) -> None:
        if tuple(z_motion.shape) != (batch, self.w_dim):
            expected = f"[{batch}, {self.w_dim}]"
            raise ValueError(f"z_motion: shape {tuple(z_motion.shape)}, expected {expected}")

    @full_precision
    def published(
        self, ws: Tensor, Ts: Tensor, z_motion: Tensor, noise_mode: str = "random", force_fp32: bool = False
    ) -> Tensor:
        """The network literally as published: weights per frame, concatenation, upsampled inputs, NCHW products.

        Supports all options, and is the baseline for measurements of speed.  Arguments as for :meth:`forward`.
        """
        frames = self._frames(ws, Ts, noise_mode)
        self._check_motion(z_motion, ws.shape[0])
        parts = self._split(ws.repeat_interleave(frames, dim=0))
        dtype = parts[0][0].dtype
        motion = z_motion.to(dtype).repeat_interleave(frames, dim=0)
        x = img = None
        for block, part in zip(self.blocks, parts, strict=True):
            x, img = block(x, img, part, Ts.to(dtype), motion, noise_mode, force_fp32)
        assert img is not None
        return img

    def _frames(self, ws: Tensor, Ts: Tensor, noise_mode: str) -> int:
        """T, the frames of each video."""
        if noise_mode not in NOISE_MODES:
            raise ValueError(f"noise_mode: {noise_mode!r}, expected one of {', '.join(NOISE_MODES)}")
        videos, times = ws.shape[0], Ts.shape[0]
        if Ts.numel() != times or (times % videos if videos else times):
            raise ValueError(f"Ts: shape {tuple(Ts.shape)}, expected [B·T, 1, 1, 1] for the B = {len(ws)} videos of ws")
        return times // videos if videos else 0

    def set_precision(self, precision: str) -> None:
        """Render INRs in ``float32``, ``bfloat16`` or ``mixed`` from now on; parameters, phases, colours stay float32.

        Raises ValueError for another precision, or with the reason if these options have no INR.
        """
        if precision not in TRAINING_PRECISIONS:
            raise ValueError(f"precision: {precision!r}, expected one of {', '.join(TRAINING_PRECISIONS)}")
        self._check_precision(precision)
        self.precision = precision

    def _check_precision(self, precision: str) -> None:
        reason = self.why_not_inr()
        if reason is not None and precision != "float32":
            raise ValueError(f"precision: {precision!r}, but this generator has no INR: {reason}")

    @full_precision
    def forward(
        self,
        ws: Tensor,
        Ts: Tensor,
        z_motion: Tensor,
        noise_mode: str = "random",
        force_fp32: bool = False,
        precision: str | None = None,
    ) -> Tensor:
        """Frames [B·T, C, H, W], with those of a video consecutive.

        ws [B, num_ws, w_dim], times Ts [B·T, 1, 1, 1], motion vectors z_motion [B, w_dim].  noise_mode: random, const
        or none, if the options have noise.  ``num_fp16_res`` levels run in half precision on a GPU unless
        ``force_fp32``; an INR is rendered in ``precision``, as in :meth:`VideoINR.render`, by default that of
        :meth:`set_precision`.  A 16-bit network returns frames in its own type; its INR is rendered in float32, or in
        bfloat16 unconverted.  Raises ValueError, naming the argument, if one is invalid.
        """
        precision = self.precision if precision is None else precision
        self._check_precision(precision)
        if self.why_not_inr() is not None:
            return self.published(ws, Ts, z_motion, noise_mode, force_fp32)
        frames = self._frames(ws, Ts, noise_mode)
        inr, dtype = self.inr(ws, z_motion), self.dtype
        if dtype in (torch.float16, torch.bfloat16):
            inr = inr.to(torch.float32)
            precision = "bfloat16" if dtype == torch.bfloat16 and precision == "float32" else precision
        times = Ts.view(-1, frames) if frames else Ts.view(ws.shape[0], 0)
        times = times.to(inr.dtype)
        pictures = inr.render(times, precision=precision, checkpoint=self.checkpoint).flatten(0, 1)
        return pictures.to(dtype) if dtype in (torch.float16, torch.bfloat16) else pictures
