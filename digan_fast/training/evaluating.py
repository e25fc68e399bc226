"""Evaluations in the course of a run."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Final

from digan_fast.data.finding import CACHE
from digan_fast.metrics import features
from digan_fast.metrics.evaluation import evaluate
from digan_fast.metrics.features.network import FeatureNetwork, state_sha256
from digan_fast.metrics.protocols import NETWORKS, Protocol, named
from digan_fast.metrics.real import Reading
from digan_fast.metrics.report import result, write
from digan_fast.metrics.work import Data, Subject, Work
from digan_fast.training.config import TrainConfig
from digan_fast.training.run import Run

FOLDER: Final = "evaluations"


def load_features(config: TrainConfig) -> FeatureNetwork | None:
    """The network of a run's evaluations; None without them.

    Draws from torch's global generator, so a run loads it before it seeds that.  Raises ValueError, its message
    beginning with the field's name, for a file that is none of I3D's weights.
    """
    if not config.evaluate_kimg:
        return None
    try:
        network = features.load(config.evaluate_features)
    except (ValueError, OSError, ImportError) as error:
        raise ValueError(f"evaluate_features: {error}") from error
    if not network.is_offline and network.name != "i3d":
        raise ValueError(f"evaluate_features: {network.source} holds {network.name}, expected i3d")
    return network


def evaluate_run(run: Run, network: FeatureNetwork) -> dict[str, float]:
    """A line of the log: each metric and its value between real clips; the whole result is written beside the log.

    The run's state, its random numbers among it, is left as it is.
    """
    config, folder = run.config, Path(run.config.out)
    begun = time.perf_counter()
    wanted = [metric for metric, name in NETWORKS.items() if name == (None if network.is_offline else network.name)]
    packed = run.clips.pack
    reading = Reading(config.resolution, config.crop, run.clips.part, snapshot="the run")
    data = Data(packed.path, run.clips.used, reading, folder / CACHE, {"packed": packed.record})
    network = network.to(run.device)
    work = Work(folder / f".{FOLDER}.parts", say=lambda line: None, progress=False)
    subject = Subject(run.G_ema, f"the run after {run.pairs} {config.unit}s", state_sha256(run.G_ema.state_dict()))
    measured = [(_protocol(config, metric, network), network) for metric in wanted]
    scores = evaluate(subject, data, measured, work)
    weights = {"path": str(folder), "sha256_of_weights": subject.sha256}
    whole = result(scores, weights, data, work, run.device, time.perf_counter() - begun)
    write(folder / FOLDER / f"{run.pairs:09d}.json", {"pairs": run.pairs, **whole})
    line: dict[str, float] = {"pairs": run.pairs, "seconds": round(run.seconds, 3)}
    for score in scores:
        name = f"{score.protocol.metric_title} [{score.protocol.title}]"
        line[f"evaluation/{name}"] = score.mean
        if score.floor is not None:
            line[f"evaluation/real against real, {name}"] = score.floor
    return line


def _protocol(config: TrainConfig, metric: str, network: FeatureNetwork) -> Protocol:
    base = named(config.evaluate_protocol, metric).of_network(network, config.resolution, config.crop)
    protocol = replace(base, at_most=True)
    count = config.evaluate_count
    return protocol.with_changes(length=config.clip_length, stride=config.clip_stride, real=count, fake=count)
