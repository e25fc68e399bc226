"""Finds a clip in a generator's latent space, then fits the weights of the INR found to it.

First w and the motion vector, from the mean of w, with noise that fades (StyleGAN2, arXiv 1912.04958, appendix D); then
the tensors that belong to the video, from where that ended (pivotal tuning, arXiv 2106.05744, of the INR instead of the
generator), so that latents and generator stay what they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import torch
from torch import Tensor
from tqdm import tqdm

from digan_fast.fitting.clips import GivenClip, colours
from digan_fast.fitting.fitting import played
from digan_fast.fitting.objective import Objective
from digan_fast.fitting.optimising import Curve, Optimiser, Stopwatch, all_finite, copied, diverged
from digan_fast.fitting.quality import Quality, measure
from digan_fast.inr import Latents, StoredVideo, VideoINR, own_tensors
from digan_fast.levels import walk
from digan_fast.networks import Generator
from digan_fast.snapshot import fingerprint

SPACES: Final = ("w", "w+")
_SAMPLES: Final = 10_000
_TOGETHER: Final = 1000
_WARM_UP, _DECAY, _FADED = 0.05, 0.25, 0.75
_BETAS: Final = (0.9, 0.999)
_EVALUATIONS: Final = 20
_BOUNDS: Final[dict[str, tuple[float, float]]] = {
    "steps": (0, 1e9),
    "tuning_steps": (0, 1e9),
    "lr": (1e-9, 1e3),
    "tuning_lr": (1e-9, 1e3),
    "noise": (0, 1e3),
    "pixels": (1, 1 << 28),
    "seed": (0, 2**32 - 1),
}


@dataclass(frozen=True)
class ProjectConfig:
    """How to project.

    ``space``: one w for all layers, or one for each (w+).  ``steps`` and ``lr`` of the search for latents,
    ``tuning_steps`` and ``tuning_lr`` of the fit of weights.  ``noise``: its standard deviation at the beginning, as a
    share of that of w.  ``pixels`` of a step: as many frames as have them, at least two.
    """

    steps: int = 500
    tuning_steps: int = 500
    space: str = "w"
    lr: float = 0.1
    tuning_lr: float = 0.01
    noise: float = 0.05
    pixels: int = 32768
    seed: int = 0
    objective: Objective = field(default_factory=Objective)

    def __post_init__(self) -> None:
        if self.space not in SPACES:
            raise ValueError(f"space: {self.space!r}, expected one of {', '.join(SPACES)}")
        for name, (least, most) in _BOUNDS.items():
            value = getattr(self, name)
            if not least <= value <= most:
                raise ValueError(f"{name}: {value}, expected {least:g} to {most:g}")


@dataclass(frozen=True, eq=False)
class Projected:
    """``found``: the generator's INR at the latents found; ``video``: the same after tuning; both have the latents.

    ``diverged``: the rate, ``lr`` or ``tuning_lr``, at which the loss or a value was no longer finite, if one was; the
    best found before is kept.
    """

    found: StoredVideo
    video: StoredVideo
    curve: Curve
    seconds: float
    interrupted: bool
    diverged: str | None = None


def project(
    generator: Generator,
    clip: GivenClip,
    config: ProjectConfig,
    labels: Tensor | None = None,
    stops: Sequence[Any] = (),
    progress: bool = False,
) -> Projected:
    """Project a clip; it ends early when ``stops``, which signal handlers may fill, is not empty.

    labels: [1, c_dim] of a conditional generator.  The same arguments, backend and number of threads give the same
    result.  Raises ValueError if the generator has no INR, the clip is not of its resolution, or the search for latents
    diverges before its first evaluation.
    """
    reason = generator.synthesis.why_not_inr()
    if reason is not None:
        raise ValueError(f"this generator has no INR: {reason}")
    side, extents = generator.img_resolution, tuple(clip.frames.shape[2:])
    if extents != (side, side):
        raise ValueError(f"frames of {extents[1]}×{extents[0]}, expected {side}×{side}, the generator's resolution")
    return _Projection(generator, clip, config, labels, stops, progress).run()


def mean_and_deviation(generator: Generator, labels: Tensor | None, seed: int) -> tuple[Tensor, float]:
    """The mean of w [w_dim] over 10,000 samples and the root mean square of their distance from it."""
    device = next(generator.parameters()).device
    random = torch.Generator().manual_seed(seed)
    z = torch.randn(_SAMPLES, generator.z_dim, generator=random)
    parts = []
    with torch.no_grad():
        for part in z.split(_TOGETHER):
            own = None if labels is None else labels.to(device).expand(len(part), -1)
            parts.append(generator.mapping(part.to(device), own, skip_w_avg_update=True)[:, 0])
    w = torch.cat(parts)
    mean = w.mean(0)
    return mean, float((w - mean).square().sum(1).mean().sqrt())


def at_zero(generator: Generator, clip: GivenClip) -> StoredVideo:
    """The video of latents that are zero, which has the shapes of every projection of the clip."""
    like = next(generator.parameters())
    ws, z_motion = like.new_zeros(1, generator.num_ws, generator.w_dim), like.new_zeros(1, generator.w_dim)
    return _video(generator, clip, ws, z_motion)


def _video(generator: Generator, clip: GivenClip, ws: Tensor, z_motion: Tensor) -> StoredVideo:
    with torch.no_grad():
        inr = generator.synthesis.inr(ws, z_motion).detach()
    return StoredVideo(inr, clip.described, Latents(ws, z_motion, fingerprint(generator)))


class _Projection:
    def __init__(
        self,
        generator: Generator,
        clip: GivenClip,
        config: ProjectConfig,
        labels: Tensor | None,
        stops: Sequence[Any],
        progress: bool,
    ) -> None:
        self.generator = generator
        self.clip = clip
        self.config = config
        self.labels = labels
        self.stops = stops
        self.random = torch.Generator().manual_seed(config.seed)
        self.device = next(generator.parameters()).device
        self.watch, self.curve = Stopwatch(), Curve()
        self.done = 0
        self.diverged: str | None = None
        self.together = min(len(clip), max(2, config.pixels // clip.frames[0, 0].numel()))
        total = config.steps + config.tuning_steps
        self.bar = tqdm(total=total, desc="projecting", unit="step", disable=None if progress else True, smoothing=0.05)

    def run(self) -> Projected:
        with self.bar:
            found = _video(self.generator, self.clip, *self._latents())
            tuned = self._tuned(found)
        return Projected(found, tuned, self.curve, self.watch.seconds, bool(self.stops), self.diverged)

    def _latents(self) -> tuple[Tensor, Tensor]:
        """ws [1, num_ws, w_dim] and z_motion [1, w_dim]."""
        config, generator = self.config, self.generator
        mean, deviation = mean_and_deviation(generator, self.labels, config.seed)
        entries = generator.num_ws if config.space == "w+" else 1
        w = mean.expand(1, entries, -1).clone().requires_grad_()
        z_motion = mean.new_zeros(1, generator.w_dim).requires_grad_()

        def inr(share: float) -> VideoINR:
            faded = config.noise * max(0.0, 1 - share / _FADED) ** 2
            moved = w + self._noise(w, deviation * faded)
            return generator.synthesis.inr(
                moved.expand(-1, generator.num_ws, -1), z_motion + self._noise(z_motion, faded)
            )

        found = {"w": w, "z_motion": z_motion}
        frozen = [parameter for parameter in generator.parameters() if parameter.requires_grad]
        for parameter in frozen:
            parameter.requires_grad_(False)
        try:
            evaluated = self._optimise(config.steps, found, inr, "lr")
        finally:
            for parameter in frozen:
                parameter.requires_grad_(True)
        if self.diverged and not evaluated:
            raise diverged("lr", self.done)
        return w.detach().expand(-1, generator.num_ws, -1).clone(), z_motion.detach()

    def _tuned(self, found: StoredVideo) -> StoredVideo:
        """The INR with its own tensors fitted to the clip."""
        assert isinstance(found.network, VideoINR)
        fitted = {path: tensor.clone().requires_grad_() for path, tensor in own_tensors(found.network).items()}
        inr: VideoINR = walk(found.network, "", lambda path, tensor: fitted.get(path[1:], tensor))
        self._optimise(self.config.tuning_steps, fitted, lambda _: inr, "tuning_lr")
        return StoredVideo(inr.detach(), found.clip, found.latents)

    def _optimise(self, steps: int, fitted: Mapping[str, Tensor], inr: Callable[[float], VideoINR], rate: str) -> bool:
        """Fit tensors in place; whether they have been evaluated.  If they diverge, they end as the best evaluated."""
        every = max(1, steps // _EVALUATIONS)
        optimiser = Optimiser([(fitted, getattr(self.config, rate))], _BETAS)
        best, kept = -math.inf, copied(fitted)
        for step in range(steps):
            if self.stops or self.diverged:
                break
            self.watch.start()
            share = step / steps
            chosen = torch.randperm(len(self.clip), generator=self.random)[: self.together].sort().values
            times, clip = self.clip.times[chosen].to(self.device), colours(self.clip.frames[chosen]).to(self.device)
            loss = self.config.objective(inr(share).render(times)[0], clip)
            loss.backward()
            optimiser.step(min(1.0, (share + 1 / steps) / _WARM_UP, (1 - share) / _DECAY))
            self.watch.stop()
            if not (math.isfinite(float(loss.detach())) and all_finite(fitted)):
                self.diverged = rate
                break
            self.done += 1
            self.bar.update()
            if (step + 1) % every == 0 or step + 1 == steps:
                found = self._quality(inr(1.0)).psnr
                self.curve.add(self.done, self.watch.seconds, found)
                self.bar.set_postfix_str(f"{found:.2f} dB")
                if found > best:
                    best, kept = found, copied(fitted)
        if self.diverged:
            with torch.no_grad():
                for name, tensor in fitted.items():
                    tensor.copy_(kept[name])
        return best > -math.inf

    def _noise(self, like: Tensor, deviation: float) -> Tensor:
        """Normal noise, drawn on the CPU."""
        return (torch.randn(like.shape, generator=self.random) * deviation).to(like.device)

    def _quality(self, inr: VideoINR) -> Quality:
        with torch.no_grad():
            frames = played(StoredVideo(inr.detach()), self.clip.times)
            return measure(frames, self.clip.frames)
