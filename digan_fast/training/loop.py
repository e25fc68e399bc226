"""The training loop: the checks before it, when it saves, how it stops."""

from __future__ import annotations

import contextlib
import datetime
import json
import math
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from digan_fast import devices
from digan_fast.allocator import keep_freed_memory
from digan_fast.data.clips import Clips
from digan_fast.data.finding import survey
from digan_fast.metrics.features import FeatureNetwork
from digan_fast.networks import discriminators, generators
from digan_fast.processes import Processes, joined, say
from digan_fast.threads import using_threads
from digan_fast.training.config import TrainConfig
from digan_fast.training.evaluating import evaluate_run, load_features
from digan_fast.training.folder import SNAPSHOT, Lock, Saved, clear_leftovers, owned, resumable
from digan_fast.training.identity import check_data
from digan_fast.training.initial import load_initial, start_from
from digan_fast.training.interrupts import interruptible
from digan_fast.training.reading import open_clips, read_clips
from digan_fast.training.record import LOG, Record, write_config
from digan_fast.training.run import Run
from digan_fast.training.states import resuming
from digan_fast.training.tensorboard import Board


def train(config: TrainConfig) -> Path:
    """Run to ``config.kimg`` and return the snapshot's path; under torchrun, in all of its processes together.

    On Ctrl-C, SIGTERM or a lost connection, finishes the step, saves and raises KeyboardInterrupt; on a Ctrl-C after
    that, raises it at once and, as after a kill, the last saved state remains.  Raises ValueError or OSError for
    invalid options, folder or data, before anything but decoded frames is written; ConnectionError if another process
    ends.
    """
    config.check()
    folder = Path(config.out)
    Board.check(config)
    together = joined(config.torch_device(), datetime.timedelta(minutes=config.patience))
    with (
        together as processes,
        owned(folder) if processes.is_first else contextlib.nullcontext() as lock,
        using_threads(config.threads),
    ):
        config.at_once(processes.world)
        resumed = resumable(config)
        if config.resume and resumed is None:
            say(f"resume: {folder} holds no state to go on from, so the run starts from the beginning")
        first = processes.is_first
        initial = load_initial(config.init) if config.init is not None and resumed is None and first else None
        network = load_features(config) if first else None
        read = processes.by_first(lambda: _read(config, resumed, processes))
        clips, classes = (open_clips(config, processes), []) if read is None else read
        processes.check_equal(clips.pack.index_sha256, "the data")
        keep_freed_memory(not config.checkpoint)
        run = Run(config, clips, processes)
        number = f" in {processes.world} processes" if processes.world > 1 else ""
        say(f"training on {devices.described(run.device)}{number}")
        if initial is not None:
            say(start_from(initial, run.networks))
            run.average_ramps = initial.G_ema is None
        if first:
            clear_leftovers(folder)
        if resumed is not None:
            run.restore(resumed)
            described = resumed.config
            if run.pairs >= config.pairs:
                say(f"resume: the run is finished, after {run.pairs} {config.unit}s; a larger --kimg goes on with it")
            # The networks hold the state now.
            del resumed
        else:
            described = _described(config, classes)
            if first:
                write_config(folder, described)
                (folder / LOG).unlink(missing_ok=True)
        processes.broadcast(run.networks.values())
        (run.average_ramps,) = processes.agree(run.average_ramps and first)
        try:
            with Record(folder if first else None, described) as record:
                _loop(run, network, record, lock)
        finally:
            run.close()
    return folder / SNAPSHOT


def _read(config: TrainConfig, resumed: Saved | None, processes: Processes) -> tuple[Clips, list[str]]:
    """The clips of the data, packed if they are not, and their classes, once the networks are known to fit."""
    found = survey(config.data, config.conditional, config.split, config.take, [Path(config.out)])
    classes = sorted({source.label for source in found.sources if source.label is not None})
    check_networks(config, classes, resumed)
    if resumed is not None:
        check_data(config, found, resumed.state)
    return read_clips(config, found, processes), classes


def _described(config: TrainConfig, classes: list[str]) -> dict[str, Any]:
    """What config.json holds of a run that starts from the beginning."""
    return {
        **json.loads(config.to_json()),
        "resolved": config.resolved(),
        "classes": classes,
        "threads_used": torch.get_num_threads(),
    }


def check_networks(config: TrainConfig, classes: list[str], resumed: Saved | None) -> None:
    """Rejects invalid network options, and a state of other networks, before the videos are decoded."""
    with torch.device("meta"):
        G = generators.named(config.generator)(**config.generator_kwargs(len(classes)))
        D = discriminators.named(config.discriminator)(**config.discriminator_kwargs(len(classes)))
    reason = None if config.generator != "digan" else G.synthesis.why_not_inr()
    if reason is not None and config.judges_clips and config.d_reduction == "render":
        raise ValueError(f"d_reduction: 'render', but this generator has no INR: {reason}")
    if reason is not None and config.g_precision != "float32":
        raise ValueError(f"g_precision: {config.g_precision!r}, but this generator has no INR: {reason}")
    if resumed is None:
        return
    saved, state, path = resumed
    before = saved.get("classes", classes)
    if before != classes:
        raise ValueError(
            f"resume: the run's classes are {', '.join(map(str, before)) or 'none'}, the data has "
            f"{', '.join(classes) or 'none'}"
        )
    with resuming(path), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "for .*: copying from a non-meta parameter", UserWarning)
        for name, network in (("G", G), ("D", D), ("G_ema", G)):
            network.load_state_dict(state[name], assign=False)
    if "data_rng" in state:
        say("resume: the version that began this run drew its pairs otherwise; they are others from here on")
    for name, then, now in (
        ("threads", saved.get("threads_used"), torch.get_num_threads()),
        ("checkpoint", saved.get("checkpoint"), config.checkpoint),
    ):
        if then is not None and then != now:
            say(f"resume: {name} was {then} and is {now}: sums are rounded otherwise than without the interruption")


class Pace:
    """How fast a session goes."""

    def __init__(self, pairs: int) -> None:
        self._begun = time.monotonic(), pairs

    def left(self, pairs: int, total: int) -> float:
        """Seconds to the end, saves and evaluations included, at the session's mean pace."""
        seconds, done = time.monotonic() - self._begun[0], pairs - self._begun[1]
        return round(seconds / max(done, 1) * max(total - pairs, 0), 1)


def ending(seconds: float) -> str:
    """The local time in so many seconds."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(time.time() + seconds))


def check_finite(run: Run, terms: dict[str, float]) -> None:
    """Raises RuntimeError, naming the batch, if a term of the last step's losses is not finite."""
    bad = next((name for name, value in terms.items() if not math.isfinite(value)), None)
    if bad is not None:
        raise RuntimeError(
            f"batch {run.steps} ({run.config.unit}s {run.pairs - run.batch} to {run.pairs - 1}): {bad} is "
            f"{terms[bad]}, so the run stops; what was saved last in {run.config.out} remains, from whose snapshot "
            "another run may start, by --init, with a lower --lr"
        )


def due(run: Run, every_kimg: float) -> bool:
    """Whether the last step crossed a multiple of ``every_kimg``."""
    every = max(1.0, every_kimg * 1000)
    return run.pairs // every > (run.pairs - run.batch) // every


def _loop(run: Run, network: FeatureNetwork | None, record: Record, lock: Lock | None) -> None:
    config, processes = run.config, run.processes
    total = config.pairs
    saved_at, stopped = time.monotonic(), False
    first = processes.is_first
    bar = tqdm(total=total, initial=run.pairs, unit=config.unit, smoothing=0.02, desc="training", disable=not first)
    pace = Pace(run.pairs)
    with bar, Board(config, run.pairs) as board, interruptible() as stops:

        def write(line: dict[str, float]) -> None:
            if lock is not None:
                lock.check()
            record.write(line)
            board.scalars(line)

        def save() -> None:
            if lock is not None:
                lock.check()
            record.restore()
            board.sheet(run.save(), run.pairs)

        def evaluate() -> None:
            assert network is not None
            write(evaluate_run(run, network))

        while run.pairs < total and not stopped:
            begun = time.perf_counter()
            terms = run.step()
            check_finite(run, terms)
            for name, value in terms.items():
                run.terms.setdefault(name, []).append(value)
            run.seconds += time.perf_counter() - begun
            bar.update(run.batch)
            finished = run.pairs >= total
            if due(run, config.tick_kimg) or finished:
                run.check_equal()
                left = pace.left(run.pairs, total)
                bar.set_postfix_str(f"ends {ending(left)}", refresh=False)
                write(run.line() | {"seconds_left": left})
            if config.evaluate_kimg and (due(run, config.evaluate_kimg) or finished):
                processes.by_first(evaluate)
            waited = config.save_minutes > 0 and time.monotonic() - saved_at >= 60 * config.save_minutes
            stopped, waited = processes.agree(bool(stops), waited)
            if due(run, config.snapshot_kimg) or waited or finished or stopped:
                processes.by_first(save)
                saved_at = time.monotonic()
    if stopped and run.pairs < total:
        raise KeyboardInterrupt(f"stopped and saved; go on with --resume and the same options (--out {config.out})")
