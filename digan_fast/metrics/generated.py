"""The generated videos of an evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from digan_fast import video
from digan_fast.metrics.protocols import Protocol
from digan_fast.networks import Generator, latents

# Moments that single frames are taken from in turn.
_MOMENTS: Final = 16


def generate(
    generator: Generator, seeds: Sequence[int], protocol: Protocol, labels: Tensor | None, name: str = "the generator"
) -> Tensor:
    """Colours [B, T, 3, H, W], nominally in [−1, 1]: the videos of ``digan-fast generate --seeds``.

    Times run from 0 to 1; clips of one frame show frame ``seed mod 16`` of 16.  labels: one-hot [B, classes], or None.
    Raises ValueError, naming the generator and the seed, for pictures that are not finite.
    """
    device = next(generator.parameters()).device
    times = torch.linspace(0, 1, protocol.length).expand(len(seeds), -1)
    if protocol.length == 1:
        times = torch.tensor([[seed % _MOMENTS / (_MOMENTS - 1)] for seed in seeds])
    z = latents.content(seeds, generator.z_dim).to(device)
    z_motion = latents.motion(seeds, generator.w_dim).to(device)
    with torch.no_grad():
        c = None if labels is None else labels.to(device)
        ws = generator.mapping(z, c, skip_w_avg_update=True)
        if generator.synthesis.why_not_inr() is None:
            inr = generator.synthesis.inr(ws, z_motion)
            pictures: Tensor = inr.render(times, precision=protocol.precision)
        else:
            columns = times.to(device).reshape(-1, 1, 1, 1)
            pictures = generator.synthesis(ws, columns, z_motion, noise_mode="const").unflatten(0, (len(seeds), -1))
    finite = pictures.isfinite().flatten(1).all(1)
    if not bool(finite.all()):
        raise ValueError(f"{name}, seed {seeds[int((~finite).nonzero()[0])]}: its pictures are not finite")
    return pictures


def rounded(pictures: Tensor, rounding: str) -> Tensor:
    """uint8 of colours in [−1, 1], by one of ``protocols.ROUNDINGS``."""
    if rounding == "nearest":
        return video.to_uint8(pictures)
    scaled = (pictures + 1) / 2 * 255 if rounding == "truncate" else pictures * 127.5 + 128
    return scaled.clamp(0, 255).to(torch.uint8)


def draw_labels(generator: Generator, seeds: Sequence[int], labels: Sequence[int]) -> Tensor | None:
    """One-hot labels [B, classes] that occur as often as in the data; None for a network without classes."""
    if generator.c_dim == 0:
        return None
    draws = [int(torch.randint(len(labels), (), generator=torch.Generator().manual_seed(seed))) for seed in seeds]
    return F.one_hot(torch.tensor([labels[index] for index in draws]), generator.c_dim).float()


def class_numbers(generator: Generator, labels: Sequence[str | None], name: str) -> list[int]:
    """The generator's number for the class of each video.  Raises ValueError if the classes are not the generator's."""
    if generator.c_dim == 0:
        return []
    names = list(generator.class_names) or sorted({str(label) for label in labels})
    unknown = sorted({str(label) for label in labels} - set(names))
    if unknown or len(names) != generator.c_dim:
        found = ", ".join(unknown[:3]) or f"{len(names)} classes"
        raise ValueError(f"{name}: trained on {generator.c_dim} classes, but the data has {found}")
    return [names.index(str(label)) for label in labels]


def check_range(pictures: Tensor, real: Tensor, name: str) -> None:
    """Raises ValueError for colours in [0, 1] or [0, 255], expected [−1, 1], or real pictures of zeros and ones.

    pictures: a first batch of colours; real: of real clips, uint8.
    """
    if int(real.max()) <= 1 and int(real.min()) < int(real.max()):
        raise ValueError(
            "data: the first real clips hold no byte but 0 and 1: pictures in [0, 1] saved as bytes? expected 0 to 255"
        )
    low, high = float(pictures.min()), float(pictures.max())
    if low > -0.05 and (high < 1.05 or high > 20) and int(real.min()) < 100:
        usual = "[0, 1]" if high < 1.05 else "[0, 255]"
        raise ValueError(
            f"{name}: its first videos have colours from {low:.3g} to {high:.3g}, as if in {usual}, while the data has "
            "dark pixels; expected [−1, 1]"
        )
