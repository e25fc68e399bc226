"""A process that hangs without dying is noticed within the patience; one that works alone for longer is waited for."""

from __future__ import annotations

import json
import math
import signal
import time
from dataclasses import replace

import pytest
import ranks
import waiting
from small_runs import words

from digan_fast import heartbeat
from digan_fast.training.config import TrainConfig


def test_beats_stop_with_progress() -> None:
    """A thread that computes is seen to get on, one that waits in the system is not."""
    beats: list[float] = []
    with heartbeat.Heartbeat(lambda: beats.append(time.monotonic()), 0.01):
        end = time.monotonic() + 60
        while len(beats) < 3 and time.monotonic() < end:
            math.sqrt(2)
        busy = len(beats)
        time.sleep(1)
        waiting = len(beats) - busy
    assert busy >= 3
    # Of a hundred: going to sleep and waking up are progress, each for as long as a busy machine makes it last.
    assert waiting <= 10

    def fails() -> None:
        raise ConnectionError("lost")

    with pytest.raises(ConnectionError, match="lost"), heartbeat.Heartbeat(fails, 0.01):
        time.sleep(0.1)


def test_a_hanging_process_is_noticed(config: TrainConfig) -> None:
    """The first, stopped while it saves and the other waits; the patience is 3 seconds."""
    stopped = (
        "import os, signal, sys, ranks; from digan_fast.cli import main; from digan_fast.training.run import Run\n"
        "def save(run): os.kill(os.getpid(), signal.SIGSTOP)\n"
        "Run.save = save; ranks.meet(); sys.exit(main(sys.argv[1:]))"
    )
    processes = ranks.start_commands([*words(replace(config, batch=8)), "--patience", "0.05"], ["-c", stopped])
    try:
        errors = processes[1].communicate(timeout=waiting.LIMIT)[1]
        assert processes[1].returncode == 1
        assert "process 1 of 2 lost another one, which ended or has not answered" in errors
    finally:
        for each in processes:
            each.send_signal(signal.SIGKILL)
            each.communicate()


def test_a_long_work_alone_is_waited_for(config: TrainConfig) -> None:
    """Longer than the patience, with progress."""
    slow = (
        "import ranks, sys, time; from digan_fast.cli import main; from digan_fast.training.run import Run\n"
        "save = Run.save\n"
        "def slow(run):\n"
        "    end = time.monotonic() + 4\n"
        "    while time.monotonic() < end: pass\n"
        "    return save(run)\n"
        "Run.save = slow; ranks.meet(); sys.exit(main(sys.argv[1:]))"
    )
    short = replace(config, batch=8, kimg=0.008)
    processes = ranks.start_commands([*words(short), "--patience", "0.05"], ["-c", slow])
    ranks.ended(processes)
    assert [each.returncode for each in processes] == [0, 0]
    assert json.loads((config.out / "config.json").read_text())["patience"] == 0.05
