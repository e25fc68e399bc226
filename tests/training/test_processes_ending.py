"""How a run of two processes ends: by a signal to all or to one, by the death of one or of torchrun."""

from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import ranks
import torch
from small_runs import words
from waiting import has_text, until

from digan_fast.training.config import TrainConfig


@pytest.fixture
def long(config: TrainConfig) -> TrainConfig:
    """A run that goes on until it is ended, and saves nothing by itself."""
    return replace(config, batch=8, kimg=1000, snapshot_kimg=1000)


def wait_for_a_step(config: TrainConfig) -> None:
    until(lambda: has_text(config.out / "log.jsonl"))


def saved_pairs(out: Path) -> list[int]:
    return [int(path.stem) for path in (out / "samples").glob("*.png")]


def test_a_signal_to_one_process_stops_all_and_saves_once(long: TrainConfig) -> None:
    processes = ranks.start_commands(words(long))
    wait_for_a_step(long)
    processes[1].send_signal(signal.SIGTERM)
    errors = ranks.ended(processes)
    assert [each.returncode for each in processes] == [130, 130]
    assert "stopped and saved" in errors[0]
    state = torch.load(long.out / "state.pt", weights_only=True)
    assert saved_pairs(long.out) == [state["pairs"]]
    assert not (long.out / ".lock").exists()


def test_ctrl_c_under_torchrun_saves_once(long: TrainConfig) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "digan_fast"]
    launched = subprocess.Popen(
        [*command, *words(long)], env=ranks.environment(0, 1), stderr=subprocess.PIPE, text=True
    )
    wait_for_a_step(long)
    launched.send_signal(signal.SIGINT)
    (errors,) = ranks.ended([launched])
    assert "training on cpu in 2 processes" in errors
    assert errors.count("training on") == 1
    state = torch.load(long.out / "state.pt", weights_only=True)
    assert saved_pairs(long.out) == [state["pairs"]]
    assert not (long.out / ".lock").exists()


def test_a_death_ends_the_run_with_a_message(long: TrainConfig) -> None:
    processes = ranks.start_commands(words(long))
    wait_for_a_step(long)
    processes[1].send_signal(signal.SIGKILL)
    errors = ranks.ended(processes)
    assert processes[0].returncode == 1
    assert "process 0 of 2 lost another one" in errors[0]
    assert "Traceback" not in errors[0]
    assert not (long.out / "state.pt").exists()


def test_a_killed_torchrun_ends_its_processes(long: TrainConfig) -> None:
    """They finish the step, save once, and say why."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "digan_fast"]
    told = long.out.with_name("told")
    with open(told, "w") as errors:
        launched = subprocess.Popen(
            [*command, *words(long)], env=ranks.environment(0, 1), stderr=errors, stdout=subprocess.DEVNULL
        )
        wait_for_a_step(long)
        launched.send_signal(signal.SIGKILL)
        launched.wait()
    # By the first process, after all that it does to the folder.
    line = f"torchrun, process {launched.pid}, has ended, so its processes end too\n"
    until(lambda: line in told.read_text())
    assert not (long.out / ".lock").exists()
    state = torch.load(long.out / "state.pt", weights_only=True)
    assert saved_pairs(long.out) == [state["pairs"]]
