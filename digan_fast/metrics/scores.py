"""Metrics of stored features: of every trial, and of real clips against real clips."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from digan_fast.metrics.frechet import frechet
from digan_fast.metrics.inception_score import inception_score
from digan_fast.metrics.kernel import kernel_distance
from digan_fast.metrics.moments import Moments
from digan_fast.metrics.protocols import Protocol
from digan_fast.metrics.real import Draw
from digan_fast.metrics.store import Store


@dataclass(frozen=True)
class Score:
    """A metric of every trial, and what it is between real clips.

    ``floor``: the metric of two sets of real clips without a common one, ``floor_clips`` clips each; of the inception
    score, the real clips' own.  None if there are too few.  ``deviation``: over trials, or, of an inception score of
    one trial, over its splits.
    """

    protocol: Protocol
    values: tuple[float, ...]
    deviation: float
    real_clips: int
    floor: float | None
    floor_clips: int

    @property
    def mean(self) -> float:
        return statistics.fmean(self.values)

    def line(self) -> str:
        """The result in words; the protocol is part of the metric's name."""
        trials = len(self.values)
        over = f" over {trials} trials" if trials > 1 else ""
        if self.protocol.splits is not None and trials == 1:
            over = f" over {self.protocol.splits} splits"
        spread = f" ± {self.deviation:.4g}{over}" if over else " (one trial)"
        counts = f"{self.real_clips} real, {self.protocol.fake} generated"
        if self.floor is None:
            real = "too few clips for real against real"
        elif self.protocol.splits is not None:
            real = f"real clips {self.floor:.6g} ({self.floor_clips} clips)"
        else:
            real = f"real against real {self.floor:.6g} ({self.floor_clips} against {self.floor_clips} clips)"
            if self.floor_clips < self.real_clips:
                real += f", too few for {self.real_clips} each"
        return f"{self.protocol.metric_title} [{self.protocol.title}]: {self.mean:.6g}{spread}, {counts}; {real}"

    def to_json(self) -> dict[str, Any]:
        return {
            "metric": self.protocol.metric_title,
            "mean": self.mean,
            "std": self.deviation,
            "values": list(self.values),
            "real_clips": self.real_clips,
            "generated_clips": self.protocol.fake,
            "real_against_real": self.floor,
            "real_against_real_clips": self.floor_clips,
            "protocol": self.protocol.to_json(),
        }


def score(protocol: Protocol, real: Store, drawn: Draw, fake: Store, fakes: Sequence[Tensor]) -> Score:
    """The metric of ``protocol`` from the features of the drawn real clips and of the generated ones of each trial."""
    if protocol.metric == "is":
        return _inception(protocol, real, drawn, fake, fakes)
    measure = _kernel if protocol.kernel is not None else _frechet
    values = [measure(protocol, real, first, fake, second) for first, second in zip(drawn.trials, fakes, strict=True)]
    halves = drawn.halves
    floor = None if halves is None else measure(protocol, real, halves[0], real, halves[1])
    clips = 0 if halves is None else len(halves[0])
    return Score(protocol, tuple(values), statistics.pstdev(values), len(drawn.trials[0]), floor, clips)


def _frechet(protocol: Protocol, store: Store, chosen: Tensor, other: Store, second: Tensor) -> float:
    moments = (Moments.of(store.rows(chosen)), Moments.of(other.rows(second)))
    return frechet(*moments, unbiased=protocol.covariance == "n-1")


def _kernel(protocol: Protocol, store: Store, chosen: Tensor, other: Store, second: Tensor) -> float:
    assert protocol.kernel is not None
    return kernel_distance(_all(store, chosen), _all(other, second), protocol.kernel)


def _inception(protocol: Protocol, real: Store, drawn: Draw, fake: Store, fakes: Sequence[Tensor]) -> Score:
    splits = protocol.splits or 1
    found = [inception_score(_all(fake, chosen), splits) for chosen in fakes]
    values = tuple(mean for mean, _ in found)
    deviation = found[0][1] if len(found) == 1 else statistics.pstdev(values)
    clips = len(drawn.trials[0])
    floor = inception_score(_all(real, drawn.trials[0]), splits)[0] if clips >= splits else None
    return Score(protocol, values, deviation, clips, floor, clips)


def _all(store: Store, chosen: Tensor) -> Tensor:
    return torch.cat(list(store.rows(chosen)))
