"""What both kinds of fitting share: the schedule of learning rates, the curve, when to stop."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import torch
from torch import Tensor

_WARM_UP: Final = 50
_STEADY: Final = 0.3
_SETTLING: Final = 0.5
_SMALLEST: Final = 0.02


class Schedule:
    """Factors of the learning rate: a warm-up, steady to 30 % of the steps, then a cosine down to 2 %."""

    def __init__(self, steps: int) -> None:
        self.end = steps
        self._decay = math.ceil(_STEADY * steps)

    def factor(self, step: int) -> float:
        warm = min(1.0, (step + 1) / _WARM_UP)
        if step < self._decay:
            return warm
        share = (step - self._decay) / max(1, self.end - self._decay)
        return warm * (_SMALLEST + (1 - _SMALLEST) * (1 + math.cos(math.pi * share)) / 2)

    def decays(self, step: int) -> bool:
        """Whether the decay has begun."""
        return step >= self._decay

    def settle(self, step: int) -> None:
        """Begin the decay now; it takes half as many steps as there have been."""
        self._decay, self.end = step, min(self.end, step + math.ceil(_SETTLING * step))


@dataclass
class Curve:
    """PSNR over steps and seconds of optimisation, in which measuring is not counted."""

    steps: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    psnr: list[float] = field(default_factory=list)

    def add(self, step: int, seconds: float, psnr: float) -> None:
        self.steps.append(step)
        self.seconds.append(round(seconds, 3))
        self.psnr.append(round(psnr, 4))


class Stopwatch:
    """Seconds between ``start`` and ``stop``, summed."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._begun = 0.0

    def start(self) -> None:
        self._begun = time.perf_counter()

    def stop(self) -> None:
        self.seconds += time.perf_counter() - self._begun


class Optimiser:
    """Adam over named tensors in groups with learning rates of their own, on a schedule."""

    def __init__(self, groups: Iterable[tuple[Mapping[str, Tensor], float]], betas: tuple[float, float]) -> None:
        parts = [{"params": list(tensors.values()), "lr": lr, "given": lr} for tensors, lr in groups if tensors]
        self._adam = torch.optim.Adam(parts, betas=betas)

    def step(self, factor: float) -> None:
        """One step at ``factor`` times the learning rates, with the gradients that ``backward`` left."""
        for group in self._adam.param_groups:
            group["lr"] = group["given"] * factor
        self._adam.step()
        self._adam.zero_grad()


def copied(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors' values as they are now."""
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


def all_finite(tensors: Mapping[str, Tensor]) -> bool:
    """Whether all values are finite."""
    return all(bool(tensor.isfinite().all()) for tensor in tensors.values())


def diverged(option: str, step: int) -> ValueError:
    """The error of a fit that has come to nothing, naming the option to change."""
    return ValueError(f"{option}: the loss or a weight is not finite at step {step}; a smaller rate may help")
