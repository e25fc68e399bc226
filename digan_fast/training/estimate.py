"""What a run would take, from a few steps with random pictures, for ``--dry-run``."""

from __future__ import annotations

import math
import sys
import time
from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor, nn
from tqdm import tqdm

from digan_fast import devices
from digan_fast.allocator import keep_freed_memory
from digan_fast.processes import Processes, local_device
from digan_fast.threads import using_threads
from digan_fast.training.config import TrainConfig
from digan_fast.training.dividing import GROUP
from digan_fast.training.operations import OperationCounter
from digan_fast.training.run import Run

STEPS: Final = 3
# Pairs of a measured step on a CPU, where their number changes a pair's time little.
_FEW: Final = 4


@dataclass(frozen=True)
class _Classes:
    """In place of the clips of a run: how many classes they have."""

    c_dim: int
    classes: tuple[str, ...] = ()


def estimate(config: TrainConfig, classes: int, processes: Processes | None = None) -> list[str]:
    """Lines with the parameters of the networks, and the memory, operations and time of a step.

    Every phase is computed :data:`STEPS` times, after one that is not timed, and weighs as often as it is due; in
    several processes all compute their shares and exchange gradients.  Torch's random state is left as it was.
    """
    processes = Processes() if processes is None else processes
    world = processes.world
    batch, at_once = config.schedule().batch, config.at_once(world)
    device = config.torch_device() if world == 1 else local_device(config.torch_device())
    pairs = at_once if device.type == "cuda" else min(at_once, _FEW)
    generators = [device] if device.type == "cuda" else []
    with using_threads(config.threads), torch.random.fork_rng(devices=generators):
        keep_freed_memory(not config.checkpoint)
        # A batch that may be divided so; a phase computes one micro-batch of it.
        few = replace(config, batch=math.lcm(world * pairs, GROUP), batch_per_process=pairs)
        run = Run(few, _Classes(classes), processes)  # type: ignore[arg-type]
        real, labels = _pictures(config, classes, pairs, device)
        operations = seconds = 0.0
        passes = len(run.phases) * (1 + STEPS)
        with tqdm(desc="estimating", total=passes, unit="pass", leave=False, disable=not processes.is_first) as bar:
            for phase in run.phases:
                bar.set_postfix_str(phase.name)
                with OperationCounter() as counter:
                    run.train_phase(phase, real, labels)
                operations += counter.total / phase.interval
                _wait(device)
                bar.update()
                begun = time.perf_counter()
                for _ in range(STEPS):
                    run.train_phase(phase, real, labels)
                    bar.update()
                _wait(device)
                seconds += (time.perf_counter() - begun) / STEPS / phase.interval
        memory = _memory(device)
    rate = world * pairs / seconds
    of = f"{config.unit}s"
    sizes = ", ".join(
        f"{name} {_parameters(net) / 1e6:.2f} million" for name, net in run.networks.items() if name != "G_ema"
    )
    each = f" in each of {world} processes" if world > 1 else ""
    where = devices.described(device) + (f" in {world} processes" if world > 1 else "")
    known = f"{memory / 2**20:.0f} MiB at most{each}, with {pairs} {of} at once"
    return [
        f"parameters: {sizes}",
        f"memory: {known if memory else 'not known here'}",
        f"operations: {operations / pairs * batch / 1e12:.3g} TFLOP in a step of {batch} {of}",
        f"speed: {rate:.3g} {of} per second on {where}, from {STEPS} steps of {world * pairs}",
        f"time: {config.kimg * 1000 / rate / 3600:.3g} hours for {config.kimg:g} thousand {of}",
    ]


def _pictures(config: TrainConfig, classes: int, pairs: int, device: torch.device) -> tuple[Tensor, Tensor]:
    side = config.resolution
    shape = (config.clip_length, 3, side, side) if config.judges_clips else (7, side, side)
    labels = torch.zeros(pairs, classes)
    if classes:
        labels[:, 0] = 1
    return torch.rand(pairs, *shape).mul_(2).sub_(1).to(device), labels.to(device)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def _memory(device: torch.device) -> int:
    """The peak of the device's memory, or of this process's; 0 if the system does not tell."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        import resource
    except ImportError:  # Windows.
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
