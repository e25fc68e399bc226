"""The training loop of one process: phases, moving average, log, samples, snapshots, resume."""

from __future__ import annotations

import copy
import json
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from digan_fast import snapshot, video
from digan_fast.allocator import keep_freed_memory
from digan_fast.data.clips import Clips, find_videos
from digan_fast.devices import described
from digan_fast.files import remove_leftovers, replacing
from digan_fast.networks import Discriminator, Generator
from digan_fast.training.augment import DiffAugment
from digan_fast.training.config import TrainConfig
from digan_fast.training.initial import load_initial, start_from
from digan_fast.training.loss import Loss

G_INTERVAL = 4
D_INTERVAL = 16
BETAS = (0.0, 0.99)
SAMPLE_VIDEOS = 6
SAMPLE_FRAMES = 8


def lazy_adam(parameters: Iterator[nn.Parameter], lr: float, interval: int) -> torch.optim.Adam:
    """Adam for a network that is regularised every ``interval`` steps (arXiv 1912.04958, appendix B)."""
    ratio = interval / (interval + 1)
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
class _Phase:
    name: str
    network: nn.Module
    optimiser: torch.optim.Adam
    interval: int


class Run:
    """A training run and its folder.  ``step`` shows one batch of pairs; ``save`` makes the run resumable."""

    def __init__(self, config: TrainConfig, clips: Clips) -> None:
        self.config = config
        self.clips = clips
        self.batch, lr, self.ema_kimg, _ = config.schedule()
        self.device = config.torch_device()
        torch.manual_seed(config.seed)
        self.draw = torch.Generator().manual_seed(config.seed)
        self.G = Generator(**config.generator_kwargs(clips.c_dim)).to(self.device)
        self.D = Discriminator(**config.discriminator_kwargs(clips.c_dim)).to(self.device)
        self.D.set_precision(config.d_precision)
        self.G.synthesis.checkpoint = config.checkpoint
        self.G_ema = copy.deepcopy(self.G).eval().requires_grad_(False)
        self.networks = {"G": self.G, "D": self.D, "G_ema": self.G_ema}
        g_optimiser = lazy_adam(self.G.parameters(), lr, G_INTERVAL)
        d_optimiser = lazy_adam(self.D.parameters(), lr, D_INTERVAL)
        self.optimisers = {"G": g_optimiser, "D": d_optimiser}
        self.loss = Loss(
            self.G.mapping,
            self.G.synthesis,
            self.D,
            w_dim=self.G.w_dim,
            augment=DiffAugment(config.augment),
            r1_gamma=config.r1_gamma,
            style_mixing_prob=config.style_mixing,
            pl_weight=config.path_length,
        )
        self.phases = [_Phase("Gmain", self.G, g_optimiser, 1)]
        if config.path_length > 0:
            self.phases.append(_Phase("Greg", self.G, g_optimiser, G_INTERVAL))
        self.phases.append(_Phase("Dmain", self.D, d_optimiser, 1))
        if config.r1_gamma > 0:
            self.phases.append(_Phase("Dreg", self.D, d_optimiser, D_INTERVAL))
        self.steps = 0
        self.pairs = 0
        self.seconds = 0.0
        # Values of each term since the last line of the log.
        self.terms: dict[str, list[float]] = {}

    def step(self) -> dict[str, float]:
        """One batch through every phase that is due; the terms of their losses."""
        self.loss.report.clear()
        real, real_c = (t.to(self.device) for t in self.clips.pairs(self.batch, self.draw))
        for phase in self.phases:
            if self.steps % phase.interval:
                continue
            z = torch.randn(self.batch, self.G.z_dim).to(self.device)
            other = self.D if phase.network is self.G else self.G
            other.requires_grad_(False)
            phase.network.requires_grad_(True)
            phase.optimiser.zero_grad(set_to_none=True)
            self.loss.accumulate_gradients(phase.name, real, real_c, z, real_c, phase.interval)
            sanitise_gradients(phase.network)
            phase.optimiser.step()
        # The window counts the pairs before this step, so the first average is the network itself.
        window = min(self.ema_kimg * 1000, 0.05 * self.pairs)
        update_average(self.G_ema, self.G, 0.5 ** (self.batch / max(window, 1e-8)))
        self.steps += 1
        self.pairs += self.batch
        return dict(self.loss.report)

    def line(self) -> dict[str, float]:
        """A line of the log: the mean of each term since the last one."""
        line: dict[str, float] = {"pairs": self.pairs, "seconds": round(self.seconds, 3)}
        line |= {name: sum(values) / len(values) for name, values in self.terms.items()}
        self.terms.clear()
        return line

    def samples(self) -> Tensor:
        """A sheet, uint8 [3, H, W]: a row for each of a few fixed latents, a column for each moment."""
        generator = torch.Generator().manual_seed(0)
        z = torch.randn(SAMPLE_VIDEOS, self.G.z_dim, generator=generator).to(self.device)
        z_motion = torch.randn(SAMPLE_VIDEOS, self.G.w_dim, generator=generator).to(self.device)
        c = torch.zeros(SAMPLE_VIDEOS, self.clips.c_dim, device=self.device)
        if self.clips.c_dim:
            c[torch.arange(SAMPLE_VIDEOS), torch.arange(SAMPLE_VIDEOS) % self.clips.c_dim] = 1
        times = torch.linspace(0, 1, SAMPLE_FRAMES, device=self.device).repeat(SAMPLE_VIDEOS)
        with torch.no_grad():
            ws = self.G_ema.mapping(z, c)
            img = self.G_ema.synthesis(ws, times.view(-1, 1, 1, 1), z_motion, noise_mode="const")
        frames = video.to_uint8(img).cpu()
        return video.sheet(frames.unflatten(0, (SAMPLE_VIDEOS, SAMPLE_FRAMES)))

    def save(self) -> None:
        """Write snapshot, sample sheet and the state to resume from, each whole or not at all."""
        folder = Path(self.config.out)
        video.write_image(folder / "samples" / f"{self.pairs:09d}.png", self.samples())
        snapshot.save(folder / "snapshot.safetensors", self.networks)
        state: dict[str, Any] = {name: net.state_dict() for name, net in self.networks.items()}
        state |= {f"{name}_optimiser": opt.state_dict() for name, opt in self.optimisers.items()}
        state |= {
            "steps": self.steps,
            "pairs": self.pairs,
            "seconds": self.seconds,
            "terms": self.terms,
            "pl_mean": self.loss.pl_mean,
            "torch_rng": torch.get_rng_state(),
            "data_rng": self.draw.get_state(),
        }
        with replacing(folder / "state.pt") as beside:
            torch.save(state, beside)

    def restore(self) -> None:
        """Continue from the folder's state, as if it had not been interrupted; later lines of the log are dropped.

        Raises ValueError, naming the file, where one is damaged, missing, or of another run.
        """
        folder = Path(self.config.out)
        with _resuming(folder / "config.json") as path:
            saved = json.loads(path.read_text())
            if not isinstance(saved, dict):
                raise TypeError(f"{type(saved).__name__}, expected an object")
        different = self.config.differences(saved)
        if different:
            raise ValueError(f"resume: {folder} was started with another {', '.join(different)}")
        with _resuming(folder / "state.pt") as path:
            self._continue_from(torch.load(path, map_location=self.device, weights_only=True))
        with _resuming(folder / "log.jsonl") as path:
            lines = _whole_lines(path) if path.exists() else []
            kept = [line for line in lines if json.loads(line)["pairs"] <= self.pairs]
        with replacing(path) as beside:
            beside.write_text("".join(f"{line}\n" for line in kept))

    def _continue_from(self, state: dict[str, Any]) -> None:
        for name, network in self.networks.items():
            network.load_state_dict(state[name])
        for name, optimiser in self.optimisers.items():
            optimiser.load_state_dict(state[f"{name}_optimiser"])
        self.steps, self.pairs = int(state["steps"]), int(state["pairs"])
        self.seconds = float(state["seconds"])
        self.terms = state["terms"]
        self.loss.pl_mean.copy_(state["pl_mean"])
        torch.set_rng_state(state["torch_rng"].cpu())
        self.draw.set_state(state["data_rng"].cpu())


@contextmanager
def _resuming(path: Path) -> Iterator[Path]:
    """What goes wrong inside the block becomes a ValueError with the path and one line."""
    try:
        yield path
    except Exception as error:  # Damaged files make torch raise UnpicklingError, EOFError, IndexError, …
        # The sentences that follow in torch's messages advise to load the file unsafely.
        reason = str(error).partition("\n")[0].partition(". ")[0]
        raise ValueError(f"{path}: not a state to resume from: {type(error).__name__}: {reason}") from error


def _whole_lines(log: Path) -> list[str]:
    """The lines of a JSONL file that were written to their end."""
    return [line for line in log.read_text().split("\n")[:-1] if line]


@contextmanager
def _interruptible() -> Iterator[list[int]]:
    """Collect a SIGINT or SIGTERM instead of dying of it, so that a step ends and the run is saved.

    The next one raises KeyboardInterrupt at once.
    """
    received: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        if received:
            raise KeyboardInterrupt("stopped at once; what was saved before remains")
        received.append(number)

    signals = (signal.SIGINT, signal.SIGTERM)
    previous = [signal.signal(number, stop) for number in signals]
    try:
        yield received
    finally:
        for number, handler in zip(signals, previous, strict=True):
            signal.signal(number, handler)


def train(config: TrainConfig) -> Path:
    """Run to ``config.kimg`` and return the snapshot's path.

    Ctrl-C ends the step, saves and raises KeyboardInterrupt; a second one raises it at once, and as after a kill the
    last state remains.  Raises ValueError or OSError, before anything is written, for options or data that do not fit.
    """
    config.check()
    folder = Path(config.out)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"out: {folder} is a file, expected a folder")
    started = (folder / "state.pt").exists()
    if started and not config.resume:
        raise ValueError(f"out: {folder} already holds a run; pass --resume or name another folder")
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    keep_freed_memory(not config.checkpoint)
    initial = None if config.init is None or started else load_initial(config.init)
    sources = find_videos(config.data, config.conditional)
    # What the networks refuse is said before the videos are decoded.
    with torch.device("meta"):
        Generator(**config.generator_kwargs(0))
        Discriminator(**config.discriminator_kwargs(0))
    clips = Clips(
        sources,
        config.resolution,
        config.clip_length,
        config.clip_stride,
        config.frame_range(),
        config.crop,
        config.mirror,
        progress=True,
    )
    run = Run(config, clips)
    print(f"training on {described(run.device)}", file=sys.stderr)
    if initial is not None:
        print(start_from(initial, run.networks), file=sys.stderr)
    remove_leftovers(folder)
    if started:
        run.restore()
    else:
        with replacing(folder / "config.json") as beside:
            beside.write_text(config.to_json() + "\n")
        (folder / "log.jsonl").unlink(missing_ok=True)
    _loop(run)
    return folder / "snapshot.safetensors"


def _due(run: Run, every_kimg: float) -> bool:
    """Whether the last step crossed a multiple of ``every_kimg``."""
    every = max(1.0, every_kimg * 1000)
    return run.pairs // every > (run.pairs - run.batch) // every


def _loop(run: Run) -> None:
    config = run.config
    total = int(config.kimg * 1000)
    saved = -1
    bar = tqdm(total=total, initial=run.pairs, unit="pair", smoothing=0.02, desc="training")
    with (
        bar,
        open(Path(config.out) / "log.jsonl", "a", encoding="utf-8") as log,
        _interruptible() as stops,
    ):
        while run.pairs < total and not stops:
            begun = time.perf_counter()
            for name, value in run.step().items():
                run.terms.setdefault(name, []).append(value)
            run.seconds += time.perf_counter() - begun
            bar.update(run.batch)
            finished = run.pairs >= total
            if _due(run, config.tick_kimg) or finished:
                log.write(json.dumps(run.line()) + "\n")
                log.flush()
            if _due(run, config.snapshot_kimg) or finished:
                run.save()
                saved = run.pairs
        if stops and saved != run.pairs:
            run.save()
    if stops and run.pairs < total:
        raise KeyboardInterrupt(f"stopped and saved; go on with --resume and the same options (--out {config.out})")
