"""Clips of a generator that makes them on a pixel grid, for ``digan-fast generate``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from digan_fast import snapshot, video
from digan_fast.cli import streams
from digan_fast.cli.errors import UsageError
from digan_fast.cli.options import DEFAULT_FRAMES, RenderOptions
from digan_fast.networks import generators, latents

# Options of RenderOptions that need an INR, with their defaults.
_OF_INRS: Final = {
    "times": (0.0, 1.0), "size": None, "window": None, "levels": None, "precision": "float32", "truncation": 1.0,
}  # fmt: skip


def generator_kind(path: Path | None) -> str:
    """The kind of a snapshot's generator, from its metadata alone; DIGAN's for files that name none."""
    return generators.DEFAULT if path is None else snapshot.generator_kind(path)


def load(path: Path, options: RenderOptions) -> Any:
    """The generator on the device.  Raises UsageError for an option that only an INR has."""
    for name, usual in _OF_INRS.items():
        if getattr(options, name) != usual:
            raise UsageError(f"--{name}: the generator of {path} makes clips on a pixel grid, which have none")
    found = snapshot.load(path, streams.device_of(options.device), networks=("G_ema",)).G_ema
    if found is None:
        raise ValueError(f"{path}: it has no G_ema")
    return found


@torch.no_grad()
def clips(generator: Any, seeds: tuple[int, ...], options: RenderOptions) -> Iterator[Tensor]:
    """The frames of one clip for each seed, uint8 [B, 3, R, R]; with --loop, followed by those between in reverse."""
    device = next(generator.parameters()).device
    z = latents.content(seeds, generator.z_dim).to(device)
    labels = streams.labels_of(generator, options.label, len(seeds))
    made = video.to_uint8(generator(z, None if labels is None else labels.to(device), options.frames or DEFAULT_FRAMES))
    frames = list(made.cpu().unbind(1))
    return iter(frames + frames[-2:0:-1] if options.loop else frames)
