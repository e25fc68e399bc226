"""Errors in a run of two processes."""

from __future__ import annotations

from dataclasses import replace

import ranks
import torch
from small_runs import words

from digan_fast.training.config import TrainConfig


def test_an_error_of_the_first_ends_the_others(config: TrainConfig) -> None:
    """It alone reads the videos, while the others wait."""
    for path in config.data.rglob("*.png"):
        path.write_bytes(b"")
    processes = ranks.start_commands(words(replace(config, batch=8)))
    errors = ranks.ended(processes)
    assert [each.returncode for each in processes] == [1, 1]
    assert "no video" in errors[0]
    assert "process 1 of 2 lost another one" in errors[1]
    assert not config.out.exists()


def test_a_dry_run_measures_what_the_processes_do_together(config: TrainConfig) -> None:
    """As the run would be divided; one prints it."""
    processes = ranks.start_commands([*words(replace(config, batch=8)), "--dry-run"])
    (first, errors), (second, _) = ranks.told(processes)
    assert [each.returncode for each in processes] == [0, 0], errors
    assert "on cpu in 2 processes, from 3 steps of 8" in first
    assert "in each of 2 processes, with 4 pairs at once" in first
    assert second == ""
    assert not config.out.exists()


def test_a_dry_run_divides_every_batch_that_a_run_divides(config: TrainConfig) -> None:
    """Two processes of three pairs are six, which no batch with deviation groups is."""
    processes = ranks.start_commands([*words(replace(config, batch=12), batch_per_process=3), "--dry-run"])
    (first, errors), _ = ranks.told(processes)
    assert [each.returncode for each in processes] == [0, 0], errors
    assert "from 3 steps of 6" in first


def test_processes_that_come_to_differ_stop(config: TrainConfig) -> None:
    differing = (
        "import os, sys, torch; from digan_fast.cli import main; from digan_fast.training.run import Run\n"
        "step = Run.step\n"
        "def other(run):\n"
        "    terms = step(run)\n"
        "    if run.steps == 2: next(run.G_ema.parameters()).data.view(-1)[0] += 1e-6 * int(os.environ['RANK'])\n"
        "    return terms\n"
        "Run.step = other; sys.exit(main(sys.argv[1:]))"
    )
    long = replace(config, batch=8, kimg=1, snapshot_kimg=0.008)
    errors = ranks.ended(ranks.start_commands(words(long), ["-c", differing]))
    for each in errors:
        assert "the state after 16 pairs differs between the 2 processes" in each
    assert torch.load(config.out / "state.pt", weights_only=True)["pairs"] == 8
