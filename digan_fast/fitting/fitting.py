"""Trains a network on one clip: a ``VideoINR``, or a coordinate MLP."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import torch
from torch import Tensor
from tqdm import tqdm

from digan_fast import video
from digan_fast.fitting.clips import GivenClip
from digan_fast.fitting.networks import NETWORKS, widest
from digan_fast.fitting.optimising import Curve, Optimiser, Schedule, Stopwatch, all_finite, copied, diverged
from digan_fast.fitting.quality import Quality, measure
from digan_fast.fitting.sampling import Points, Windows
from digan_fast.inr import StoredVideo, VideoINR, VideoMLP
from digan_fast.inr.storage import STORAGES
from digan_fast.levels import walk
from digan_fast.precision import PRECISIONS

_RATES: Final = {"inr": 5e-3, "siren": 5e-4, "fourier": 2e-3}
# The phases of an INR's sinusoids move the whole picture: their network learns more slowly.
_MOTION_SHARE: Final = 0.1
_BETAS: Final = (0.9, 0.99)
# Steps between evaluations: a 40th of all, and no fewer than these.
_EVALUATIONS: Final = 40
_BETWEEN: Final = 50
# Pixels of the evenly spaced frames that an evaluation measures.
_EVALUATED: Final = 1 << 19
# A gain in decibels below which an evaluation has gained nothing.
_GAIN: Final = 0.05
_BOUNDS: Final[dict[str, tuple[float, float]]] = {
    "size_kb": (1, 1e6),
    "steps": (1, 1e9),
    "pixels": (64, 1 << 24),
    "lr": (1e-9, 1e3),
    "psnr": (1, 100),
    "patience": (1, 1e9),
    "seed": (0, 2**63 - 1),
}


@dataclass(frozen=True)
class FitConfig:
    """How to fit.

    ``network``: inr, siren or fourier.  ``storage``: as for :meth:`VideoINR.save`; ``size_kb``: the size of the file,
    in thousands of bytes, for which widths are chosen.  ``pixels`` of a step bound its memory.  ``psnr`` in decibels
    ends the fit when the stored network reaches it over the whole clip.  ``patience``: evaluations (40, or one in 50
    steps) without a gain of 0.05 dB after which the rate decays and the fit ends.
    """

    network: str = "inr"
    size_kb: float = 200.0
    storage: str = "float16"
    steps: int = 3000
    pixels: int = 16384
    lr: float | None = None
    psnr: float | None = None
    patience: int = 8
    precision: str = "float32"
    seed: int = 0

    def __post_init__(self) -> None:
        for name, allowed in (("network", NETWORKS), ("storage", STORAGES), ("precision", PRECISIONS)):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name}: {getattr(self, name)!r}, expected one of {', '.join(allowed)}")
        for name, (least, most) in _BOUNDS.items():
            value = getattr(self, name)
            if value is not None and not least <= value <= most:
                raise ValueError(f"{name}: {value}, expected {least:g} to {most:g}")

    @property
    def rate(self) -> float:
        return _RATES[self.network] if self.lr is None else self.lr


@dataclass(frozen=True, eq=False)
class Fitted:
    """The best network, its curve, and why the fit ended.

    ``ended``: ``steps``, ``psnr``, ``plateau``, ``interrupted``, or ``diverged`` if the loss or a weight was no longer
    finite.
    """

    video: StoredVideo
    curve: Curve
    seconds: float
    steps: int
    ended: str


def fit(
    clip: GivenClip,
    config: FitConfig,
    stops: Sequence[Any] = (),
    progress: bool = False,
    device: torch.device | str = "cpu",
) -> Fitted:
    """Train a network on a clip; it ends early when ``stops``, which signal handlers may fill, is not empty.

    The same clip, configuration, backend and number of threads give the same network.  Raises ValueError, naming the
    field, if the size is too small for a network, or the fit diverges before its first evaluation.
    """
    return Fitting(clip, config, device).run(stops, progress)


class Fitting:
    """A fit in progress."""

    def __init__(self, clip: GivenClip, config: FitConfig, device: torch.device | str = "cpu") -> None:
        self.clip = clip
        self.config = config
        video = widest(config.network, clip.described, config.size_kb, config.storage, config.seed)
        self._fixed = {"frequency"} if isinstance(video.network, VideoMLP) else set()
        self._tensors = {name: tensor.to(device, copy=True) for name, tensor in video.network.tensors().items()}
        trained = {n: t.requires_grad_() for n, t in self._tensors.items() if n not in self._fixed}
        self.video = replace(video, network=_with(video.network, self._tensors))
        motion = {name: tensor for name, tensor in trained.items() if ".motion." in name}
        others = {name: tensor for name, tensor in trained.items() if name not in motion}
        groups = [(others, config.rate), (motion, config.rate * _MOTION_SHARE)]
        self.optimiser = Optimiser(groups, _BETAS)
        self.generator = torch.Generator().manual_seed(config.seed)
        sampler = Windows if isinstance(video.network, VideoINR) else Points
        self.sampler: Any = sampler(clip, config.pixels)

    def step(self, factor: float) -> float:
        """The loss of one step."""
        loss: float = self.sampler.backward(self.video.network, self.config.precision, self.generator)
        self.optimiser.step(factor)
        return loss

    def run(self, stops: Sequence[Any] = (), progress: bool = False) -> Fitted:
        config, schedule, curve, watch = self.config, Schedule(self.config.steps), Curve(), Stopwatch()
        every = max(_BETWEEN, math.ceil(config.steps / _EVALUATIONS))
        best, kept, since, ended = -math.inf, copied(self._tensors), 0, "steps"
        bar = tqdm(total=config.steps, desc="fitting", unit="step", disable=None if progress else True, smoothing=0.05)
        step = 0
        with bar:
            while step < schedule.end:
                if stops:
                    ended = "interrupted"
                    unseen = step > (curve.steps or [0])[-1]
                    if unseen and all_finite(self._tensors) and self.quality().psnr > best:
                        kept = copied(self._tensors)
                    break
                watch.start()
                loss = self.step(schedule.factor(step))
                watch.stop()
                evaluated = (step + 1) % every == 0 or step + 1 == schedule.end
                if not math.isfinite(loss) or (evaluated and not all_finite(self._tensors)):
                    if not curve.steps:
                        raise diverged("lr", step)
                    ended = "diverged"
                    break
                step += 1
                bar.update()
                if not evaluated:
                    continue
                found = self.quality().psnr
                curve.add(step, watch.seconds, found)
                bar.set_postfix_str(f"{found:.2f} dB")
                since = 0 if found > best + _GAIN else since + 1
                if found > best:
                    best, kept = found, copied(self._tensors)
                if config.psnr is not None and found >= config.psnr and self.stored_quality().psnr >= config.psnr:
                    kept, ended = copied(self._tensors), "psnr"
                    break
                if since >= config.patience and schedule.decays(step):
                    ended = "plateau"
                    break
                if since >= config.patience:
                    schedule.settle(step)
                    since = 0
            bar.total = step
        ended = "plateau" if ended == "steps" and step < config.steps else ended
        network = _with(self.video.network, kept)
        return Fitted(replace(self.video, network=network), curve, watch.seconds, step, ended)

    def quality(self) -> Quality:
        """The quality of some evenly spaced frames, as trained."""
        frames, _, height, width = self.clip.frames.shape
        count = min(frames, max(2, _EVALUATED // (height * width)))
        chosen = ((torch.arange(count) + 0.5) * frames / count).long()
        return _quality(self.video, self.clip, chosen)

    def stored_quality(self) -> Quality:
        """The quality of all frames of the network as it is stored."""
        return _quality(self.video.rounded(self.config.storage), self.clip, torch.arange(len(self.clip)))


def played(stored: StoredVideo, times: Tensor) -> Iterator[Tensor]:
    """Frames uint8 [3, H, W] of the clip at times [T]."""
    return (video.to_uint8(frame[0]).cpu() for frame in stored.frames(times))


def _quality(stored: StoredVideo, clip: GivenClip, chosen: Tensor) -> Quality:
    with torch.no_grad():
        return measure(played(stored, clip.times[chosen]), (clip.frames[index] for index in chosen.tolist()))


def _with(network: VideoINR | VideoMLP, tensors: dict[str, Tensor]) -> VideoINR | VideoMLP:
    """The network with these tensors, by their paths."""
    other: VideoINR | VideoMLP = walk(network, "", lambda path, _: tensors[path[1:]])
    return other
