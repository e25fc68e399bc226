"""A training run: phases, moving average, log, samples, saved state."""

from __future__ import annotations

import copy
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from digan_fast import snapshot, video
from digan_fast.data.clips import Batch, Clips
from digan_fast.data.feeding import Feed, workers_for
from digan_fast.files import replacing
from digan_fast.metrics.features.network import state_sha256
from digan_fast.networks import discriminators, generators
from digan_fast.processes import Processes, local_device
from digan_fast.training.augment import DiffAugment
from digan_fast.training.clip_loss import ClipLoss
from digan_fast.training.config import TrainConfig
from digan_fast.training.draws import of_batch, part_of_batch, random_states, set_random_states
from digan_fast.training.folder import SAMPLES, SNAPSHOT, Saved, kept_lines
from digan_fast.training.identity import of_pack
from digan_fast.training.loss import Loss
from digan_fast.training.record import LOG
from digan_fast.training.states import resuming, save_state

G_INTERVAL = 4
D_INTERVAL = 16
BETAS = (0.0, 0.99)
SAMPLE_VIDEOS = 6
SAMPLE_FRAMES = 8
SAMPLE_RATE = 16.0


def lazy_adam(parameters: Iterator[nn.Parameter], lr: float, interval: int | None) -> torch.optim.Adam:
    """Adam for a network that is regularised every ``interval`` steps (arXiv 1912.04958, appendix B).

    ``interval``: None for a network that is not regularised.
    """
    ratio = 1.0 if interval is None else interval / (interval + 1)
    betas = (BETAS[0] ** ratio, BETAS[1] ** ratio)
    return torch.optim.Adam(parameters, lr=lr * ratio, betas=betas, eps=1e-8)


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, beta: float) -> None:
    """``average ← lerp(network, average, beta)`` for parameters; buffers are copied."""
    for mean, value in zip(average.parameters(), network.parameters(), strict=True):
        mean.copy_(value.lerp(mean, beta))
    for kept, buffer in zip(average.buffers(), network.buffers(), strict=True):
        kept.copy_(buffer)


def sanitise_gradients(network: nn.Module) -> None:
    """NaN becomes 0, ±inf becomes ±1e5."""
    for parameter in network.parameters():
        if parameter.grad is not None:
            torch.nan_to_num_(parameter.grad, nan=0.0, posinf=1e5, neginf=-1e5)


@dataclass
class Phase:
    name: str
    network: nn.Module
    optimiser: torch.optim.Adam
    interval: int
    # Of a regulariser that is due every ``interval`` steps, the factor that makes up for the others.
    gain: float = 1.0


class Run:
    """A training run and its folder.  ``step`` shows one batch of pairs; ``save`` makes the run resumable.

    A step deals its batch out to the processes, and each deals its share out to micro-batches of ``at_once`` pairs.
    ``clips`` draw the pairs of this process.
    """

    def __init__(self, config: TrainConfig, clips: Clips, processes: Processes | None = None) -> None:
        self.processes = Processes() if processes is None else processes
        self.config = config
        self.clips = clips
        schedule = config.schedule()
        self.batch, lr, self.ema_kimg = schedule.batch, schedule.lr, schedule.ema_kimg
        recipe = config.recipe()
        d_lr = lr if recipe.d_lr is None else recipe.d_lr
        self.at_once = config.at_once(self.processes.world)
        self.device = config.torch_device()
        if self.processes.world > 1:
            self.device = local_device(self.device)
        torch.manual_seed(config.seed)
        self.G: Any = generators.named(config.generator)(**config.generator_kwargs(clips.c_dim)).to(self.device)
        discriminator = discriminators.named(config.discriminator)
        self.D = discriminator(**config.discriminator_kwargs(clips.c_dim)).to(self.device)
        self.D.set_precision(config.d_precision)
        if config.checkpoint:
            self.G.synthesis.checkpoint = True
        self.G_ema = copy.deepcopy(self.G).eval().requires_grad_(False)
        self.G.set_precision(config.g_precision)
        self.networks = {"G": self.G, "D": self.D, "G_ema": self.G_ema}
        # DIGAN's optimisers are those of its regularisers even without them, as published.
        lazy = not config.judges_clips
        g_optimiser = lazy_adam(self.G.parameters(), lr, G_INTERVAL if lazy else None)
        d_optimiser = lazy_adam(self.D.parameters(), d_lr, D_INTERVAL if lazy or recipe.r1_gamma > 0 else None)
        self.optimisers = {"G": g_optimiser, "D": d_optimiser}
        parts = (self.G.mapping, self.G.synthesis, self.D, self.G.w_dim)
        augment = DiffAugment(config.augment)
        options: dict[str, Any] = {
            "r1_gamma": recipe.r1_gamma,
            "style_mixing_prob": config.style_mixing,
            "pl_weight": config.path_length,
            "adversarial": recipe.loss,
        }
        self.loss = (
            ClipLoss(*parts, clip_length=config.clip_length, augment=augment, **options)
            if config.judges_clips
            else Loss(*parts, augment=augment, **options)
        )
        # What forward passes move towards the mean of their batch: that of paths, and the generator's.
        self._means = [self.loss.pl_mean, *self.G.running_means()]
        self.phases = [Phase("Gmain", self.G, g_optimiser, recipe.d_steps)]
        if config.path_length > 0:
            self.phases.append(Phase("Greg", self.G, g_optimiser, G_INTERVAL, gain=G_INTERVAL))
        self.phases.append(Phase("Dmain", self.D, d_optimiser, 1))
        if recipe.r1_gamma > 0:
            self.phases.append(Phase("Dreg", self.D, d_optimiser, D_INTERVAL, gain=D_INTERVAL))
        # Whether the average's window grows with the pairs seen; it does not if the run starts from an average.
        self.average_ramps = True
        self.steps = 0
        self.pairs = 0
        self.seconds = 0.0
        self._feed: Feed | None = None
        # Seconds, and those of them without data, when the last line of the log was written.
        self._lined = (0.0, 0.0)
        # Values of each term since the last line of the log.
        self.terms: dict[str, list[float]] = {}

    def step(self) -> dict[str, float]:
        """Runs one batch through every phase that is due and returns the terms of their losses."""
        report: dict[str, float] = {}
        real, real_c = self._next().on(self.device, self.clips.c_dim)
        for phase in self.phases:
            if self.steps % phase.interval:
                continue
            report |= self.train_phase(phase, real, real_c)
        # The window counts the pairs before this step, so the first average is the network itself.
        window = self.ema_kimg * 1000
        if self.average_ramps:
            window = min(window, 0.05 * self.pairs)
        update_average(self.G_ema, self.G, 0.5 ** (self.batch / max(window, 1e-8)))
        self.steps += 1
        self.pairs += self.batch
        return self.processes.mean(report)

    def train_phase(self, phase: Phase, real: Tensor, real_c: Tensor) -> dict[str, float]:
        """One step of the phase's optimiser; the terms of this process's losses."""
        other = self.D if phase.network is self.G else self.G
        other.requires_grad_(False)
        phase.network.requires_grad_(True)
        phase.optimiser.zero_grad(set_to_none=True)
        advance: Any = getattr(phase.network, "advance", None)
        if advance is not None:
            advance()
        report = self._accumulate(phase, real, real_c)
        sanitise_gradients(phase.network)
        phase.optimiser.step()
        return report

    def _accumulate(self, phase: Phase, real: Tensor, real_c: Tensor) -> dict[str, float]:
        """Gives a phase's gradients, and the running means, the mean of what they are for each part of the batch.

        Returns the terms of this process's losses.
        """
        world, count = self.processes.world, len(real) // self.at_once
        states, before = random_states(self.device), [mean.clone() for mean in self._means]
        after = [torch.zeros_like(mean) for mean in self._means]
        report: dict[str, float] = {}
        for micro in range(count):
            set_random_states(states, self.device)
            for mean, value in zip(self._means, before, strict=True):
                mean.copy_(value)
            self.loss.report.clear()
            with part_of_batch(self.processes.rank + world * micro, world * count):
                z = of_batch(lambda rows: torch.randn(rows, self.G.z_dim), self.at_once).to(self.device)
                c = real_c[micro::count]
                self.loss.accumulate_gradients(phase.name, real[micro::count], c, z, c, phase.gain / count)
            for total, mean in zip(after, self._means, strict=True):
                total.add_(mean / count)
            for name, term in self.loss.report.items():
                report[name] = report.get(name, 0.0) + term / count
        for mean, total in zip(self._means, after, strict=True):
            mean.copy_(total)
        gradients = [parameter.grad for parameter in phase.network.parameters() if parameter.grad is not None]
        self.processes.average([*gradients, *self._means])
        return report

    def check_equal(self) -> None:
        """Raises RuntimeError if the weights, averages or random numbers of the processes have come to differ."""
        if self.processes.world > 1:
            state = {f"{name}.{key}": t for name, net in self.networks.items() for key, t in net.state_dict().items()}
            digest = state_sha256({**state, "pl_mean": self.loss.pl_mean, "random": torch.get_rng_state()})
            self.processes.check_equal(digest, f"the state after {self.pairs} {self.config.unit}s")

    def _next(self) -> Batch:
        """The batch after the pairs seen so far, from workers that are started for the first."""
        if self._feed is None:
            workers = self.config.workers
            workers = workers_for(self.clips.pack, self.device) if workers is None else workers
            self._feed = Feed(self.clips, self.pairs, self.batch // self.processes.world, workers)
        return self._feed.next()

    def close(self) -> None:
        """Ends the workers that read the data."""
        if self._feed is not None:
            self._feed.close()

    def line(self) -> dict[str, float]:
        """A line of the log: the mean of each term since the previous line, and the share of time without data."""
        line: dict[str, float] = {"pairs": self.pairs, "seconds": round(self.seconds, 3)}
        waited = 0.0 if self._feed is None else self._feed.waited
        seconds, before = self.seconds - self._lined[0], self._lined[1]
        line["waiting"] = round((waited - before) / seconds, 4) if seconds > 0 else 0.0
        self._lined = (self.seconds, waited)
        line |= {name: sum(values) / len(values) for name, values in self.terms.items()}
        self.terms.clear()
        return line

    def samples(self, count: int) -> Tensor:
        """Videos of a few fixed latents by the averaged weights, uint8 [V, T, 3, R, R], at ``count`` times from 0 to 1.

        A grid generator makes only clips of the length that it is trained on, of which these are the nearest frames.
        """
        generator = torch.Generator().manual_seed(0)
        z = torch.randn(SAMPLE_VIDEOS, self.G.z_dim, generator=generator).to(self.device)
        z_motion = torch.randn(SAMPLE_VIDEOS, self.G.w_dim, generator=generator).to(self.device)
        c = torch.zeros(SAMPLE_VIDEOS, self.clips.c_dim, device=self.device)
        if self.clips.c_dim:
            c[torch.arange(SAMPLE_VIDEOS), torch.arange(SAMPLE_VIDEOS) % self.clips.c_dim] = 1
        with torch.no_grad():
            ws = self.G_ema.mapping(z, c)
            if self.config.generator != "digan":
                length = self.config.clip_length
                chosen = torch.linspace(0, length - 1, count).round().long()
                return video.to_uint8(self.G_ema.synthesis.clips(ws, z_motion, length)[:, chosen]).cpu()
            times = torch.linspace(0, 1, count, device=self.device).repeat(SAMPLE_VIDEOS)
            img = self.G_ema.synthesis(ws, times.view(-1, 1, 1, 1), z_motion, noise_mode="const")
        return video.to_uint8(img).cpu().unflatten(0, (SAMPLE_VIDEOS, count))

    def save(self) -> Path:
        """Saves the state to resume from, the snapshot and the samples, each atomically; the path of the sheet.

        Raises RuntimeError, and saves nothing, if a weight is not finite.
        """
        folder = Path(self.config.out)
        for name, net in self.networks.items():
            wrong = next((key for key, tensor in net.state_dict().items() if not bool(tensor.isfinite().all())), None)
            if wrong is not None:
                raise RuntimeError(
                    f"batch {self.steps}: {name}.{wrong} is not finite, so the run stops; what was saved last remains"
                )
        state: dict[str, Any] = {name: net.state_dict() for name, net in self.networks.items()}
        state |= {f"{name}_optimiser": opt.state_dict() for name, opt in self.optimisers.items()}
        state |= {
            "data": of_pack(self.config, self.clips.pack)._asdict(),
            "steps": self.steps,
            "pairs": self.pairs,
            "seconds": self.seconds,
            "terms": self.terms,
            "average_ramps": self.average_ramps,
            "pl_mean": self.loss.pl_mean,
            "torch_rng": torch.get_rng_state(),
            "device_rng": random_states(self.device)[1:],
        }
        # First, since without a state a run that is killed here could not go on; it writes its snapshot when it does.
        save_state(folder, state, self.config.keep)
        self._save_snapshot()
        sheet = folder / SAMPLES / f"{self.pairs:09d}.png"
        video.write_image(sheet, video.sheet(self.samples(SAMPLE_FRAMES)))
        if self.config.sample_frames:
            self._save_video(sheet.with_suffix(".mp4" if importlib.util.find_spec("av") else ".gif"))
        return sheet

    def _save_snapshot(self) -> None:
        training_set = {"classes": self.clips.classes} if self.clips.classes else {}
        snapshot.save(Path(self.config.out) / SNAPSHOT, {**self.networks, "training_set": training_set})

    def _save_video(self, path: Path) -> None:
        """The samples side by side, three to a row, at 16 frames per second."""
        videos = self.samples(self.config.sample_frames)
        rows = torch.cat([torch.cat(videos[row : row + 3].unbind(), dim=-1) for row in (0, 3)], dim=-2)
        video.write(path, rows.unbind(), SAMPLE_RATE)

    def restore(self, saved: Saved) -> None:
        """Continues from a state as if there had been no interruption; drops later lines of the log.

        The snapshot is written if it is missing, or if the run was at its end, where it may be that of the save before.
        Raises ValueError, naming the file, if the state belongs to other networks.
        """
        with resuming(saved.path):
            self._continue_from(saved.state)
        folder = Path(self.config.out)
        if self.processes.is_first:
            self._cut_log(folder)
            if self.pairs >= self.config.pairs or not (folder / SNAPSHOT).exists():
                self._save_snapshot()

    def _cut_log(self, folder: Path) -> None:
        with replacing(folder / LOG) as part:
            part.write_text("".join(f"{line}\n" for line in kept_lines(folder, self.pairs)), encoding="utf-8")

    def _continue_from(self, state: dict[str, Any]) -> None:
        for name, network in self.networks.items():
            network.load_state_dict(state[name])
        for name, optimiser in self.optimisers.items():
            optimiser.load_state_dict(state[f"{name}_optimiser"])
        self.steps, self.pairs = int(state["steps"]), int(state["pairs"])
        self.seconds = float(state["seconds"])
        self.terms = state["terms"]
        self.average_ramps = bool(state.get("average_ramps", True))
        self.loss.pl_mean.copy_(state["pl_mean"])
        set_random_states([state["torch_rng"], *state.get("device_rng", [])], self.device)
        self._lined = (self.seconds, 0.0)
