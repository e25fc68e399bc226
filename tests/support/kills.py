"""``kill -9`` at random moments of training, each followed by an exact resumption: ``python -m kills --count 50``.

A run that is never interrupted keeps all its states.  Other runs, each in a forked process, are killed; after every
kill, the state that the run would resume from must be, bit for bit, that of the uninterrupted one after as many pairs.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from small_runs import SMALL, frame_folder
from tqdm import tqdm

from digan_fast.training.config import TrainConfig
from digan_fast.training.loop import train
from digan_fast.training.states import load_state, saved_states

# A kill that comes before the first save leaves nothing, so the run starts again.
NOTHING = 0


def equal(one: Any, other: Any) -> bool:
    """Whether two states are the same, tensors bit for bit."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(value, other[key]) for key, value in one.items())
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    return bool(one == other)


def child(config: TrainConfig) -> int:
    """The process in which a run goes on from whatever its folder holds; it writes to :func:`told`."""
    number = os.fork()
    if number:
        return number
    code = 1
    tqdm.set_lock(threading.RLock())  # tqdm's own, which a kill may leave locked, is shared with the parent
    try:
        with open(told(config), "w", encoding="utf-8") as sys.stderr:
            try:
                train(replace(config, resume=True))
                code = 0
            except BaseException:
                traceback.print_exc()
    finally:
        os._exit(code)


def told(config: TrainConfig) -> Path:
    """What the last process of a run wrote to stderr."""
    return config.out.with_suffix(".txt")


@dataclass
class Kills:
    """How many kills there were, and after how many pairs each run would go on."""

    root: Path
    options: dict[str, Any] = field(default_factory=dict)
    resumed_from: list[int] = field(default_factory=list)
    finished: int = 0

    def run(self, count: int, seed: int) -> None:
        """``count`` kills.  Raises AssertionError if a run fails by itself or would not go on exactly."""
        torch.set_num_threads(1)
        drawn = random.Random(seed)
        data = frame_folder(self.root / "data" / "video", 20).parent
        options = {**SMALL, "kimg": 0.02, "snapshot_kimg": 0.004, "tick_kimg": 0.008, "workers": 0, **self.options}
        config = TrainConfig(data=data, out=self.root / "whole", keep=1000, **options)
        begun = time.monotonic()
        assert os.waitpid(child(config), 0)[1] == 0
        length = time.monotonic() - begun
        states = {int(state["pairs"]): state for state in map(_loaded, saved_states(config.out))}
        last = max(states)
        number = 0
        bar = tqdm(total=count, desc="kills", disable=None)
        while len(self.resumed_from) < count:
            victim = replace(config, out=self.root / f"run-{number}", keep=2)
            process = child(victim)
            # Beyond the length of an uninterrupted run, since the machine may have slowed down; a run that comes to its
            # end before the signal is not counted.
            time.sleep(drawn.uniform(0, 1.5 * length))
            os.kill(process, signal.SIGKILL)
            status = os.waitpid(process, 0)[1]
            assert status in (0, signal.SIGKILL), f"run-{number} failed by itself: {told(victim).read_text()}"
            found = load_state(victim.out)[1] if saved_states(victim.out) else {"pairs": NOTHING}
            if found["pairs"] != NOTHING:
                del found["seconds"]
                expected = {key: value for key, value in states[found["pairs"]].items() if key != "seconds"}
                assert equal(found, expected), f"run-{number} differs after {found['pairs']} pairs"
            if status:
                self.resumed_from.append(int(found["pairs"]))
                bar.update()
            if found["pairs"] == last:
                number += 1
                self.finished += 1
        bar.close()


def _loaded(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = torch.load(path, weights_only=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="Kill training at random moments, and check that it goes on exactly.")
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--discriminator", default="digan")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        kills = Kills(Path(folder), {"discriminator": options.discriminator})
        kills.run(options.count, options.seed)
    print(f"{len(kills.resumed_from)} kills, {len(kills.resumed_from)} exact; {kills.finished} runs came to their end")
    counted = sorted(Counter(kills.resumed_from).items())
    print("kills by the pairs to go on from:", ", ".join(f"{pairs}: {times}" for pairs, times in counted))


if __name__ == "__main__":
    main()
