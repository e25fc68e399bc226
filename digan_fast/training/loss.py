"""The losses of a training phase, accumulated into gradients (section 3.2 of arXiv 2202.10571)."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from digan_fast.networks.discriminators import Head
from digan_fast.networks.generator import sample_pair_times
from digan_fast.training.draws import of_batch

# What a discriminator is shown, by head; pairs are shown to all heads.
Shown = Mapping[str, Tensor]
Heads = Mapping[str, Head]
PAIRS: Final = "pairs"
PHASES = ("Gmain", "Greg", "Gboth", "Dmain", "Dreg", "Dboth")


class Loss:
    """Non-saturating logistic or hinge losses and lazy R1 on every head, optional style mixing and path length.

    ``adversarial``: ``logistic``, the means of softplus(−D(real)) + softplus(D(fake)), and for the generator of
    softplus(−D(fake)); or ``hinge``: of max(0, 1 − D(real)) + max(0, 1 + D(fake)), and of −D(fake).
    ``mapping``, ``synthesis`` and ``discriminator`` are called separately, so that each can be wrapped.
    ``report`` collects the last value of every term.
    """

    def __init__(
        self,
        mapping: nn.Module,
        synthesis: nn.Module,
        discriminator: nn.Module,
        w_dim: int,
        img_channels: int = 3,
        augment: Callable[[Tensor], Tensor] = lambda pairs: pairs,
        r1_gamma: float = 1.0,
        style_mixing_prob: float = 0.0,
        pl_weight: float = 0.0,
        pl_decay: float = 0.01,
        pl_batch_shrink: int = 2,
        adversarial: str = "logistic",
    ) -> None:
        self.w_dim = w_dim
        self.img_channels = img_channels
        self.mapping = mapping
        self.synthesis = synthesis
        self.discriminator = discriminator
        self.augment = augment
        self.r1_gamma = r1_gamma
        self.style_mixing_prob = style_mixing_prob
        self.pl_weight = pl_weight
        self.pl_decay = pl_decay
        self.pl_batch_shrink = pl_batch_shrink
        self.adversarial = adversarial
        self.pl_mean = torch.zeros([])
        self.report: dict[str, float] = {}

    def _latents(self, z: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """ws [B, num_ws, w_dim], some with styles mixed, and motion vectors [B, w_dim], which are drawn first."""
        batch = len(z)
        z_motion = of_batch(lambda rows: torch.randn(rows, self.w_dim), batch).to(z.device)
        ws = self.mapping(z, c)
        if self.style_mixing_prob > 0:
            num_ws = ws.shape[1]
            cutoff = int(torch.empty([], dtype=torch.int64).random_(1, num_ws))
            first = cutoff if torch.rand([]) < self.style_mixing_prob else num_ws
            mixed = of_batch(lambda rows: torch.randn(rows, z.shape[1], dtype=z.dtype, device=z.device), batch)
            other = self.mapping(mixed, c, skip_w_avg_update=True)
            ws = torch.cat((ws[:, :first], other[:, first:]), dim=1)
        return ws, z_motion

    def _fakes(self, z: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """Pairs [B, 7, H, W] with their Δt plane, and their ws [B, num_ws, w_dim].

        Random draws follow the published order: times, motion vectors, mixing.
        """
        batch = len(z)
        times = of_batch(sample_pair_times, batch).to(z.device)
        ws, z_motion = self._latents(z, c)
        img = self.synthesis(ws, times.reshape(-1, 1, 1, 1), z_motion)
        difference = (times[:, 1] - times[:, 0]).view(batch, 1, 1, 1)
        plane = difference.expand(-1, 1, *img.shape[2:])
        return torch.cat((img.reshape(batch, -1, *img.shape[2:]), plane), dim=1), ws

    def _shown_fakes(self, z: Tensor, c: Tensor) -> Shown:
        """What the discriminator is shown of generated videos."""
        return {PAIRS: self._fakes(z, c)[0]}

    def _shown_reals(self, real: Tensor) -> Shown:
        """What it is shown of real ones."""
        return {PAIRS: real}

    def _augmented(self, shown: Shown) -> Shown:
        return {name: self.augment(part) for name, part in shown.items()}

    def _judge(self, augmented: Shown, c: Tensor, shown: Shown, penalised: bool = False) -> Iterator[Heads]:
        """All heads, or one after the other if the discriminator can: each is to be differentiated before the next."""
        names = getattr(self.discriminator, "head_names", None)
        # Of DIGAN's steps at 128², of which every sixteenth has a penalty, computing again takes 2 %.
        for options in [{}] if names is None else [{"head": name, "recompute": penalised} for name in names]:
            yield self.discriminator(augmented[PAIRS], c, **options).heads(shown[PAIRS])

    def _term(self, logits: Tensor, sign: float, trains_generator: bool) -> Tensor:
        """The loss of logits whose ``sign`` is −1 where they should be large."""
        if self.adversarial == "logistic":
            return F.softplus(sign * logits).mean()
        return -logits.mean() if trains_generator else F.relu(1 + sign * logits).mean()

    def _adversarial(self, name: str, heads: Heads, sign: float) -> Tensor:
        losses = {head: self._term(logits, sign, name == "G") for head, (logits, _) in heads.items()}
        for head, (logits, _) in heads.items():
            self.report[f"logits/{name}_{head}"] = float(logits.detach().mean())
            self.report[f"loss/{name}"] += float(losses[head].detach())
        return _total(losses.values())

    def _gradient_penalty(self, heads: Heads) -> Tensor:
        penalties = {name: _r1(head) for name, head in heads.items()}
        self.report |= {f"r1/{name}": float(penalty.detach()) for name, penalty in penalties.items()}
        return _total(penalties.values()) * (self.r1_gamma / 2)

    def _path_length(self, z: Tensor, c: Tensor) -> Tensor:
        """The squared deviation of each video's path length from its running mean, moved by this part of the batch."""
        batch = max(1, len(z) // self.pl_batch_shrink)
        pairs, ws = self._fakes(z[:batch], c[:batch])
        frames = pairs[:, :-1]
        shape = frames.shape[1:]
        noise = of_batch(lambda rows: torch.randn(rows, *shape, dtype=z.dtype, device=z.device), batch)
        noise = noise / math.sqrt(frames[0].numel() / self.img_channels)
        (gradient,) = torch.autograd.grad((frames * noise).sum(), ws, create_graph=True)
        lengths = gradient.square().sum(2).mean(1).sqrt()
        mean = self.pl_mean.to(lengths.device).lerp(lengths.detach().mean(), self.pl_decay)
        self.pl_mean.copy_(mean)
        self.report["path_length"] = float(mean)
        return (lengths - mean).square().mean() * self.pl_weight + (frames * 0).sum()

    def accumulate_gradients(
        self, phase: str, real: Tensor, real_c: Tensor, z: Tensor, c: Tensor, gain: float = 1.0
    ) -> None:
        """Add the gradients of a phase, times ``gain``, to the parameters that require them.

        real [B, 7, H, W] are pairs in [−1, 1] with their Δt plane, z [B, z_dim], labels [B, c_dim].  Parameters that
        a phase does not reach get zeros, so that the optimiser updates them.  Raises ValueError for an unknown phase.
        """
        if phase not in PHASES:
            raise ValueError(f"phase: {phase!r}, expected one of {', '.join(PHASES)}")
        regularise = phase in ("Greg", "Gboth") and self.pl_weight > 0
        if phase in ("Gmain", "Gboth"):
            fakes = self._shown_fakes(z, c)
            augmented = self._augmented(fakes)
            judged = {name: part.detach().requires_grad_() for name, part in augmented.items()}
            self.report["loss/G"] = 0.0
            for heads in self._judge(judged, c, fakes):
                (self._adversarial("G", heads, -1) * gain).backward()
                del heads
            torch.autograd.backward(list(augmented.values()), [part.grad for part in judged.values()])
        if regularise:
            (self._path_length(z, c) * gain).backward()
        if phase in ("Dmain", "Dboth"):
            with torch.no_grad():
                fakes = self._shown_fakes(z, c)
            self.report["loss/D_fake"] = 0.0
            for heads in self._judge(self._augmented(fakes), c, fakes):
                (self._adversarial("D_fake", heads, 1) * gain).backward()
                del heads
        if phase.startswith("D"):
            self._judge_real(phase, real, real_c, gain)

    def _judge_real(self, phase: str, real: Tensor, c: Tensor, gain: float) -> None:
        adversarial = phase in ("Dmain", "Dboth")
        penalised = phase in ("Dreg", "Dboth") and self.r1_gamma > 0
        if adversarial:
            self.report["loss/D_real"] = 0.0
        shown = {name: part.detach().requires_grad_(penalised) for name, part in self._shown_reals(real).items()}
        parameters = [p for p in self.discriminator.parameters() if p.requires_grad]
        for heads in self._judge(self._augmented(shown), c, shown, penalised):
            total = _total(head.logits.sum() for head in heads.values()) * 0
            if adversarial:
                total = total + self._adversarial("D_real", heads, -1)
            if penalised:
                total = total + self._gradient_penalty(heads)
            # Not by what is shown: heads may share the graph of its augmentation, and others' parameters have no part.
            (total * gain).backward(inputs=parameters)
            del heads, total


def _total(terms: Iterable[Tensor]) -> Tensor:
    return functools.reduce(torch.add, terms)


def _r1(head: Head) -> Tensor:
    """The mean over samples of the squared gradient of a head's logits by its penalised input (arXiv 1801.04406)."""
    (gradient,) = torch.autograd.grad(head.logits.sum(), head.penalised, create_graph=True)
    return gradient.square().sum(tuple(range(1, gradient.ndim))).mean()
