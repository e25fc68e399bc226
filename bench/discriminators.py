"""Clips on a grid and as INRs: generators over frames and sides, discriminators of pairs, of clips and in 3-D.

``python -m bench.discriminators KIND`` prints the time and the growth of the resident memory of a generator's clips, as
:mod:`bench.memory` measures it, in one process for all sizes, from the smallest to the largest.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from bench import memory
from bench.memory import reset_peak, resident_peak
from digan_fast import Discriminator, Generator
from digan_fast.allocator import keep_freed_memory
from digan_fast.networks.config import coordinate_config
from digan_fast.networks.discriminators.dvd_gan import DVDDiscriminator, SummedDiscriminator
from digan_fast.networks.grid_generator import GridGenerator
from digan_fast.networks.reduction import reduced, side_of

KINDS = ("INR", "grid")
# Channels of all networks: at full width the 3-D discriminator alone takes minutes.
WIDTH: dict[str, Any] = {"channel_base": 8192, "channel_max": 128}
NARROW: dict[str, Any] = {"channel_base": 256, "channel_max": 8}
TEMPORAL = 1_000  # all blocks of a discriminator in 3-D


def sizes(quick: bool) -> list[tuple[int, int]]:
    """Frames and sides of the clips, each with the other's smallest or DIGAN's; sorted by pixels."""
    if quick:
        return [(2, 16), (4, 16)]
    frames, sides = (16, 32, 64, 128), (64, 128, 256)
    found = [(count, side) for count in frames for side in sides]
    return sorted(found, key=lambda size: size[0] * size[1] ** 2)


def of_inrs(side: int, quick: bool) -> tuple[Generator, tuple[Tensor, None, Tensor]]:
    """A generator of INRs, and one video's content vector, label and motion vector."""
    cfg = coordinate_config(4 if quick else 32, 4 if quick else 128, 10, {128: 1, 256: 1})
    size = 16 if quick else 512
    G = Generator(size, 0, size, side, synthesis_kwargs=dict(NARROW if quick else WIDTH), cfg=cfg).eval()
    return G, (torch.randn(1, size), None, torch.randn(1, size))


def make(kind: str, side: int, quick: bool) -> Callable[[int], Tensor]:
    """A function from frames to a clip [1, T, 3, R, R]."""
    torch.manual_seed(0)
    if kind == "grid":
        grid = GridGenerator(16 if quick else 120, 0, side, **(NARROW if quick else WIDTH)).eval()
        z = torch.randn(1, grid.z_dim)
        return lambda frames: grid(z, None, frames)
    G, latents = of_inrs(side, quick)
    return lambda frames: G.inr(*latents).render(torch.linspace(0, 1, frames))


@torch.no_grad()
def measure(kind: str, quick: bool) -> list[dict[str, Any]]:
    """Of each size, the seconds of a clip and the growth of memory, the clip included.

    Freed memory is returned: what an earlier size left would hide the growth of a later one.
    """
    keep_freed_memory(False)
    found = []
    for frames, side in sizes(quick):
        clip = make(kind, side, quick)
        clip(1)
        begin = reset_peak()
        begun = time.perf_counter()
        made = clip(frames)
        seconds = time.perf_counter() - begun
        growth = resident_peak() - begin
        assert made.shape == (1, frames, 3, side, side)
        found.append({"kind": kind, "frames": frames, "side": side, "seconds": seconds, "bytes": growth})
        del made, clip
    return found


def reductions(frames: int, side: int, quick: bool) -> dict[str, Callable[[], None]]:
    """Of a step of the generator, D_T's reduced clip and back to all parameters, by each reduction of a half."""
    torch.manual_seed(0)
    G, latents = of_inrs(side, quick)
    times = torch.linspace(0, 1, frames)

    def run(reduction: str) -> None:
        G.zero_grad(set_to_none=True)
        inr = G.inr(*latents)
        if reduction == "render":
            clips = inr.render(times, size=side_of("render", side))
        else:
            clips = reduced(inr.render(times), reduction)
        clips.sum().backward()

    return {name: partial(run, name) for name in ("pool2", "render")}


def judged(frames: int, side: int, shown: int, reduction: str = "pool2") -> int:
    """Pixels of a clip that DVD-GAN's discriminators judge: ``shown`` whole frames, and all of them reduced."""
    return shown * side**2 + frames * side_of(reduction, side) ** 2


@dataclass
class Judge:
    """A discriminator's part in a step: judging clips [B, T, 3, R, R], and the gradients of all its parameters."""

    network: torch.nn.Module
    logits: Callable[[], Tensor]
    pixels: int

    def run(self) -> None:
        self.network.zero_grad(set_to_none=True)
        self.logits().sum().backward()


def judges(frames: int, side: int, quick: bool) -> dict[str, Judge]:
    """Of one clip: a pair, D_S + D_T for eight and two whole frames, and a discriminator whose every block is 3-D."""
    torch.manual_seed(0)
    width = NARROW if quick else WIDTH
    clips = torch.randn(1, frames, 3, side, side)
    plane = torch.ones(1, 1, side, side)
    pair = torch.cat((clips[:, 0], clips[:, -1], plane), dim=1)
    small = torch.randn(1, frames, 3, side // 2, side // 2)
    of_pairs = Discriminator(0, side, **width)
    whole = SummedDiscriminator(0, side, 3, width["channel_base"], width["channel_max"], TEMPORAL)

    def of_pair() -> Tensor:
        motion, image, _ = of_pairs(pair)
        return torch.cat((motion, image))

    found = {"pair": Judge(of_pairs, of_pair, 2 * side**2)}
    for shown in (min(8, frames), 2):
        dvd = DVDDiscriminator(0, side, frames=shown, **width)

        def of_views(dvd: DVDDiscriminator = dvd, shown: int = shown) -> Tensor:
            heads = dvd(clips[:, :shown], head="frame"), dvd(small, head="clip")
            return torch.cat([each.logits for each in heads])

        found[f"D_S + D_T, k = {shown}"] = Judge(dvd, of_views, judged(frames, side, shown))
    found["3-D"] = Judge(whole, lambda: whole(clips, None), frames * side**2)
    return found


if __name__ == "__main__":
    memory.main("Print seconds and growth of the resident memory as JSON.", KINDS, measure)
