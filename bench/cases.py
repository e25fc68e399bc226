"""The benchmarked networks, and their videos."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from digan_fast import Generator, use_backend
from digan_fast.inr import VideoINR
from digan_fast.networks.config import coordinate_config
from digan_fast.reference.render import PRODUCTS, evaluate, lowered

Result = TypeVar("Result")


def generator(quick: bool) -> Generator:
    """DIGAN at full size (128², 63.5 million parameters); or, if ``quick``, a 32² version too small to benchmark."""
    torch.manual_seed(0)
    if not quick:
        return Generator().eval()
    cfg = coordinate_config(8, 8, 2, extra_convs={32: 1})
    return Generator(16, 0, 16, 32, synthesis_kwargs={"channel_base": 512, "channel_max": 32}, cfg=cfg).eval()


@dataclass(frozen=True)
class Video:
    """One video of G: ws [1, num_ws, w_dim], a motion vector [1, w_dim], T times."""

    G: Generator
    ws: Tensor
    z_motion: Tensor
    times: Tensor

    @property
    def column(self) -> Tensor:
        """The times in the shape that the published form takes, [T, 1, 1, 1]."""
        return self.times.view(-1, 1, 1, 1)

    def inr(self) -> VideoINR:
        return self.G.synthesis.inr(self.ws, self.z_motion)

    def published(self) -> Tensor:
        """Frames [T, 3, H, W] of the published form."""
        return self.G.synthesis.published(self.ws, self.column, self.z_motion)

    def published_in(self, dtype: torch.dtype) -> Callable[[], Tensor]:
        """The published form with parameters, latents and times converted to ``dtype`` beforehand."""
        G, inputs = copy.deepcopy(self.G).to(dtype), (self.ws, self.column, self.z_motion)
        ws, column, z_motion = (tensor.to(dtype) for tensor in inputs)
        return lambda: G.synthesis.published(ws, column, z_motion)

    def plain(self, precision: str) -> Callable[[], Tensor]:
        """Frames [T, 3, H, W] from the INR, our algebra in plain PyTorch, all frames at once to suit torch.compile."""
        inr, side = self.inr(), self.G.img_resolution
        times = self.times.expand(len(inr), -1)

        def run() -> Tensor:
            levels = [lowered(level.at(times, level.side), precision) for level in inr.levels]
            return evaluate(levels, side, (0, 0, side, side), PRODUCTS).flatten(0, 1)

        return run


@torch.no_grad()
def video(G: Generator, frames: int = 16) -> Video:
    torch.manual_seed(1)
    ws = G.mapping(torch.randn(1, G.z_dim), None)
    return Video(G, ws, torch.randn(1, G.w_dim), torch.linspace(0, 1, frames))


def reference(function: Callable[[], Result]) -> Callable[[], Result]:
    """``function``, run on the reference backend (plain PyTorch)."""

    def run() -> Result:
        with use_backend("reference"):
            return function()

    return run
