"""Processes of one run, connected as torchrun connects them, and what they compute."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import waiting

from digan_fast.training.config import TrainConfig
from digan_fast.training.loop import train
from digan_fast.training.run import Phase, Run

# Of a case, between runs in two processes and in one: the largest of a phase's gradients, then of the final networks.
DIFFERENCES = ("case", "Gmain", "Greg", "Dmain", "Dreg", "G", "D", "G_ema")


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        found = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in found:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in found]


def environment(rank: int, world: int, port: int = 0) -> dict[str, str]:
    """As torchrun sets it."""
    return os.environ | {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(world),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "OMP_NUM_THREADS": "1",
    }


def start(rank: int, world: int, ports: list[int], configs: list[TrainConfig]) -> subprocess.Popen[str]:
    """A process that trains each configuration in turn, with one thread, and leaves its gradients beside the run.

    The ranks meet at a port of their own for each.
    """
    options = json.dumps([[port, config.to_json()] for port, config in zip(ports, configs, strict=True)])
    command = [sys.executable, "-c", "import ranks; ranks.train_each()", options]
    return subprocess.Popen(command, env=environment(rank, world), stderr=subprocess.PIPE, text=True)


def start_commands(words: list[str], program: list[str] | None = None) -> list[subprocess.Popen[str]]:
    """A command of digan-fast in two processes; ``program``: what Python runs in its place."""
    port, meeting = free_ports(2)
    command = [sys.executable, *(["-m", "digan_fast"] if program is None else program), *words]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    environments = [{**environment(rank, 2, port), "MEETING": str(meeting)} for rank in (0, 1)]
    return [subprocess.Popen(command, env=each, **pipes) for each in environments]


def meet() -> None:
    """In both programs of :func:`start_commands`: returns once the other has imported what takes longest, as this one.

    Otherwise one may begin later than the other by more than a short patience.
    """
    import digan_fast.training.preview  # noqa: F401

    first = os.environ["RANK"] == "0"
    limit = datetime.timedelta(seconds=waiting.LIMIT)
    torch.distributed.TCPStore("127.0.0.1", int(os.environ["MEETING"]), 2, first, limit)


def told(processes: list[subprocess.Popen[str]]) -> list[tuple[str, str]]:
    """What they wrote to stdout and stderr, once they have ended."""
    try:
        return [each.communicate(timeout=waiting.LIMIT) for each in processes]
    finally:
        for each in processes:
            each.kill()


def ended(processes: list[subprocess.Popen[str]]) -> list[str]:
    """What they wrote to stderr, once they have ended."""
    return [errors for _, errors in told(processes)]


def together(world: int, configs: list[TrainConfig]) -> list[str]:
    """Trains each in ``world`` processes; what they wrote to stderr."""
    ports = free_ports(len(configs))
    ranks = [start(rank, world, ports, configs) for rank in range(world)]
    errors = ended(ranks)
    assert [rank.returncode for rank in ranks] == [0] * world, errors
    return errors


def train_each() -> None:
    """The body of a process: the configurations are its argument."""
    for port, options in json.loads(sys.argv[1]):
        os.environ["MASTER_PORT"] = str(port)
        config = json.loads(options)
        paths = {name: Path(config[name]) for name in ("data", "out")}
        recorded(TrainConfig(**{**config, **paths}))


def recorded(config: TrainConfig) -> list[tuple[str, dict[str, Any]]]:
    """Trains; each phase's name and gradients, in order, also in a file beside the run: OUT.RANK.pt."""
    phases: list[tuple[str, dict[str, Any]]] = []
    accumulate = Run._accumulate

    def record(run: Run, phase: Phase, *batch: torch.Tensor) -> dict[str, float]:
        report = accumulate(run, phase, *batch)
        parameters = phase.network.named_parameters()
        phases.append((phase.name, {name: p.grad.clone() for name, p in parameters if p.grad is not None}))
        return report

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "_accumulate", record)
        train(config)
    torch.save(phases, f"{config.out}.{os.environ.get('RANK', '0')}.pt")
    return phases
