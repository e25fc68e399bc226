"""A training step: the generator's part, from z to frames and back to every parameter; the whole step, with losses."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.cases import reference
from digan_fast import Discriminator, Generator, use_backend
from digan_fast.networks.discriminators.digan import Judgement
from digan_fast.networks.synthesis import SynthesisNetwork
from digan_fast.training.augment import DiffAugment
from digan_fast.training.config import TrainConfig
from digan_fast.training.loss import Loss

VIDEOS, FRAMES = 4, 2
# The phases of a training step and their frequency: R1 in every sixteenth step.
PHASES = {"Gmain": 1.0, "Dmain": 1.0, "Dreg": 1 / 16}


@dataclass
class Step:
    """Forms of the generator's step; the frames' gradients are given, in place of a discriminator."""

    G: Generator
    z: Tensor
    z_motion: Tensor
    times: Tensor
    grad: Tensor

    @classmethod
    def of(cls, G: Generator) -> Step:
        torch.manual_seed(2)
        z, z_motion = torch.randn(VIDEOS, G.z_dim), torch.randn(VIDEOS, G.w_dim)
        side = G.img_resolution
        grad = torch.randn(VIDEOS * FRAMES, 3, side, side) / side
        return cls(G, z, z_motion, torch.rand(VIDEOS * FRAMES, 1, 1, 1), grad)

    def _run(self, form: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
        self.G.zero_grad(set_to_none=True)
        ws = self.G.mapping(self.z, None, skip_w_avg_update=True)
        form(ws, self.times, self.z_motion).backward(self.grad)

    def ours(self) -> None:
        self._run(self.G.synthesis)

    def checkpointed(self) -> None:
        """With activations recomputed instead of stored."""
        self.G.synthesis.checkpoint = True
        try:
            self.ours()
        finally:
            self.G.synthesis.checkpoint = False

    def lower(self) -> None:
        """In bfloat16."""
        self.G.set_precision("bfloat16")
        try:
            self.ours()
        finally:
            self.G.set_precision("float32")

    def published(self) -> None:
        reference(lambda: self._run(self.G.synthesis.published))()

    def gradients(self) -> Tensor:
        """The gradients of all parameters, concatenated."""
        return torch.cat([p.grad.flatten() for p in self.G.parameters() if p.grad is not None])


class Published(nn.Module):
    """The generator's synthesis in its published form."""

    def __init__(self, synthesis: SynthesisNetwork) -> None:
        super().__init__()
        self.synthesis = synthesis

    def forward(self, *args: Any) -> Tensor:
        found: Tensor = self.synthesis.published(*args)
        return found


class Together(nn.Module):
    """A discriminator that judges by all heads at once, as published."""

    def __init__(self, discriminator: Discriminator) -> None:
        super().__init__()
        self.discriminator = discriminator

    def forward(self, pairs: Tensor, c: Tensor) -> Judgement:
        found: Judgement = self.discriminator(pairs, c)
        return found


@contextlib.contextmanager
def smooth(network: nn.Module) -> Iterator[None]:
    """With swish in place of lrelu.

    Where a rounding moves a unit across lrelu's kink, derivatives change: those of R1 by 0.003 for DIGAN at 128².
    """
    kinked: list[Any] = [module for module in network.modules() if getattr(module, "activation", None) == "lrelu"]
    for module in kinked:
        module.activation = "swish"
    try:
        yield
    finally:
        for module in kinked:
            module.activation = "lrelu"


class WholeStep:
    """The phases of a step, computed by one form.

    The form is "published" (the same losses on the published form, every op in plain PyTorch), "reference" (our
    algebra in plain PyTorch), the name of a backend, or None for the default backend.
    """

    def __init__(self, form: str | None, G: Generator, D: Discriminator, real: Tensor, precision: str) -> None:
        self.form, self.G, self.D, self.real, self.precision = form, G, D, real, precision
        synthesis = Published(G.synthesis) if form == "published" else G.synthesis
        discriminator = Together(D) if form == "published" else D
        augment = DiffAugment("color,translation")
        self.loss = Loss(G.mapping, synthesis, discriminator, w_dim=G.w_dim, augment=augment)

    def computing(self) -> contextlib.AbstractContextManager[Any]:
        if self.form is None:
            return contextlib.nullcontext()
        return use_backend("reference" if self.form == "published" else self.form)

    def lower(self, name: str) -> None:
        """The phase in bfloat16."""
        for network in (self.G, self.D):
            network.set_precision("bfloat16")
        try:
            self.phase(name)
        finally:
            for network in (self.G, self.D):
                network.set_precision("float32")

    def phase(self, name: str) -> None:
        """Computes the gradients of the phase's network, for as many pairs as there are real ones."""
        network = self.G if name.startswith("G") else self.D
        for each in (self.G, self.D):
            each.requires_grad_(each is network)
            each.zero_grad(set_to_none=True)
        count = len(self.real)
        z = torch.randn(count, self.G.z_dim, device=self.real.device)
        c = torch.zeros(count, 0, device=self.real.device)
        with self.computing():
            self.loss.accumulate_gradients(name, self.real, c, z, c)

    def gradients(self, name: str) -> Tensor:
        """The gradients of all parameters of the phase's network: the same random draws for every form, a smooth D."""
        torch.manual_seed(5)
        with smooth(self.D):
            self.phase(name)
        network = self.G if name.startswith("G") else self.D
        return torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None])


def networks(quick: bool, device: str, pairs: int) -> tuple[Generator, Discriminator, Tensor]:
    """Generator and discriminator as `digan-fast train` creates them at 128², and real pairs [pairs, 7, 128, 128]."""
    torch.manual_seed(0)
    side = 16 if quick else 128
    small: dict[str, Any] = {"channel_base": 256, "channel_max": 16} if quick else {}
    config = TrainConfig(Path(), resolution=side, channel_base=small.get("channel_base"), z_dim=16 if quick else 512)
    G = Generator(**config.generator_kwargs(0))
    D = Discriminator(0, side, conv_clamp=256, **small)
    real = torch.randn(pairs, 7, side, side).clamp(-1, 1)
    return G.to(device), D.to(device), real.to(device)
