"""``digan-fast evaluate``."""

from __future__ import annotations

import dataclasses
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import tyro

from digan_fast.cli.errors import UsageError
from digan_fast.cli.options import OWN_DEFAULT
from digan_fast.cli.presentation import GivenPath, MaybePath

if TYPE_CHECKING:
    from digan_fast.metrics.features import FeatureNetwork
    from digan_fast.metrics.protocols import Protocol
    from digan_fast.processes import Processes

# What a process can hold and a statistic add up exactly; beyond are slips of the finger.
_BOUNDS: Final = {
    "real": (2, 2**22),
    "fake": (2, 2**22),
    "trials": (1, 1000),
    "clip_stride": (1, 10_000),
    "batch": (1, 4096),
    "workers": (1, 1024),
}


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """Measure a snapshot's videos against real ones, by a named protocol.

    Prints and stores the whole protocol beside every number, and the same distance between real
    clips. Features of the real clips are cached beside the data. A killed evaluation goes on
    where it was when the command is repeated. torchrun starts it with several processes.
    """

    snapshot: Annotated[tyro.conf.Positional[GivenPath], tyro.conf.arg(metavar="SNAPSHOT")]
    """A snapshot, a published pickle, the folder of a run, or the word shipped."""
    data: Annotated[tyro.conf.Positional[GivenPath], tyro.conf.arg(metavar="DATA")]
    """The real videos: a file of digan-fast data pack, a video file, a folder of frames, or a tree of either."""
    protocol: Literal["digan", "stylegan-v", "digan-proxy"]
    """What is compared, and how; `digan-proxy`: 512 videos, 5 trials."""
    metrics: Annotated[str | None, OWN_DEFAULT] = None
    """Some of fvd,kvd (I3D), fid (Inception), is (C3D), fd,kd (features without a file); default:
    those of the given features."""
    features: Annotated[
        tuple[str, ...], tyro.conf.UseAppendAction, tyro.conf.arg(metavar="FILE", help_behavior_hint="")
    ] = ()
    """A file of weights of I3D, C3D or Inception, which digan_fast never downloads, or random3d or
    efficientnet-lite0, which need none; repeatable. Default: random3d."""
    run_torchscript: bool = False
    """Execute the code in a TorchScript file of features; only for files you trust. Otherwise its
    tensors are read and nothing of it is executed."""

    real: Annotated[int | None, OWN_DEFAULT] = None
    """Real clips; this and the next four change the protocol, and its printed name says so."""
    fake: Annotated[int | None, OWN_DEFAULT] = None
    """Generated videos of a trial."""
    trials: Annotated[int | None, OWN_DEFAULT] = None
    """Repetitions with other videos and clips."""
    clip_stride: Annotated[int | None, OWN_DEFAULT] = None
    """Step between frames of a real clip."""
    clips: Annotated[Literal["every", "disjoint", "interleaved", "one"] | None, OWN_DEFAULT] = None
    """Where real clips begin: at every frame, without common frames, interleaved by the stride in
    groups, or one random clip per video."""

    crop: Annotated[Literal["center", "left", "right"] | None, OWN_DEFAULT] = None
    """Square to crop from each frame and resize; default: frames have the snapshot's size already."""
    frames: Annotated[str, tyro.conf.arg(metavar="START:STOP", help_behavior_hint="")] = ":"
    """Frames to use of each video; default: all."""
    fps: Annotated[float | None, OWN_DEFAULT] = None
    """Resample videos by time to this rate."""
    split: Annotated[str | None, tyro.conf.arg(metavar="FOLDER", help_behavior_hint="")] = None
    """Which of the folders train, val, test, … below the data to use, as in training."""
    take: Annotated[Literal["videos", "frames"] | None, OWN_DEFAULT] = None
    """What to read from a folder that has both pictures and folders of videos."""

    precision: Literal["float32", "bfloat16", "int8"] = "float32"
    """Of rendering; another one than float32 is part of the protocol's printed name."""
    seed: int = 0
    """The first seed of the generated videos, and that of the draw of real clips."""
    out: GivenPath = Path("evaluation.json")
    """The result."""
    cache: Annotated[MaybePath, OWN_DEFAULT] = None
    """Folder for features of real clips; default: .digan_fast beside the data."""
    batch: int = 8
    """Clips at once."""
    workers: Annotated[int | None, OWN_DEFAULT] = None
    """Threads that decode videos; default: one per processor, 16 at most."""
    device: Annotated[str | None, OWN_DEFAULT] = None
    """Such as cpu or cuda:1; default: cuda if available, else cpu."""


def run(options: EvaluateOptions) -> None:
    """Print the scores and write the result."""
    from digan_fast.processes import joined

    _check(options)
    with joined() as processes:
        evaluate_with(options, processes)


def evaluate_with(options: EvaluateOptions, processes: Processes) -> None:
    """The evaluation in one of several processes; the first prints and writes."""
    from digan_fast import snapshot
    from digan_fast.allocator import keep_freed_memory
    from digan_fast.cli.streams import device_of
    from digan_fast.data.finding import CACHE, survey
    from digan_fast.data.frames import frame_range
    from digan_fast.metrics import features
    from digan_fast.metrics.evaluation import evaluate
    from digan_fast.metrics.features.files import file_sha256
    from digan_fast.metrics.real import Reading
    from digan_fast.metrics.report import result, show, write
    from digan_fast.metrics.work import Data, Subject, Work
    from digan_fast.processes import local_device

    begun = time.perf_counter()
    keep_freed_memory(True)
    path = _snapshot(options.snapshot)
    device = local_device(device_of(options.device))
    generator = snapshot.load_generator(path, device)
    reason = generator.synthesis.why_not_inr()
    if reason is not None and options.precision != "float32":
        raise UsageError(f"--precision: this generator has no INR: {reason}")
    networks = [features.load(source, options.run_torchscript) for source in options.features or ("random3d",)]
    measured = [
        (_protocol(options, metric, network, generator.img_resolution), network.to(device))
        for metric, network in _chosen(options.metrics, networks)
    ]
    found = survey(options.data, generator.c_dim > 0, options.split, options.take)
    base = options.data if options.data.is_dir() else options.data.parent
    data = Data(
        options.data,
        found.sources,
        Reading(generator.img_resolution, options.crop, frame_range(options.frames), options.fps, path.name),
        options.cache or base / CACHE,
        {"split": options.split, "take": options.take},
    )
    work = Work(
        options.out.with_name(f".{options.out.name}.parts"),
        options.batch,
        options.workers or min(16, os.cpu_count() or 1),
        processes,
        _say if processes.is_first else lambda line: None,
    )
    work.leave_out(found.left_out)
    subject = Subject(generator, str(path), file_sha256(path))
    scores = evaluate(subject, data, measured, work)
    if not processes.is_first:
        return
    snapshot_file = {"path": str(path), "sha256": subject.sha256}
    whole = result(scores, snapshot_file, data, work, device, time.perf_counter() - begun)
    write(options.out, whole)
    print("\n".join(show(whole, scores)))
    print(options.out)


def _check(options: EvaluateOptions) -> None:
    """Raises UsageError for invalid options that can be detected before anything is loaded."""
    from digan_fast.cli.streams import check_rate, check_target
    from digan_fast.data.frames import frame_range
    from digan_fast.data.packed import is_pack
    from digan_fast.metrics import features
    from digan_fast.training.folder import check_folder

    for name, (least, most) in _BOUNDS.items():
        value = getattr(options, name)
        if value is not None and not least <= value <= most:
            raise UsageError(f"--{name.replace('_', '-')}: {value}, expected {least} to {most}")
    check_rate(options.fps)
    if options.fps is not None and is_pack(options.data):
        raise UsageError(f"--fps: {options.fps:g}, but the frames of {options.data} have no times any more")
    if not 0 <= options.seed < 2**31:
        raise UsageError(f"--seed: {options.seed}, expected 0 to 2**31 - 1")
    if options.out.suffix.lower() != ".json":
        raise UsageError(f"--out: {options.out}, expected the suffix .json")
    check_target(options.out)
    for source in options.features:
        if source not in features.OFFLINE and not Path(source).is_file():
            words = " or ".join(features.OFFLINE)
            raise UsageError(f"--features: {source}: no such file, expected a file of weights, or {words}")
    try:
        check_folder(options.out.parent)
        frame_range(options.frames)
        _metric_names(options.metrics)
    except ValueError as error:
        raise UsageError(f"--{error}") from error


def _metric_names(text: str | None) -> list[str]:
    from digan_fast.metrics.protocols import METRICS

    names = [] if text is None else [name.strip().lower() for name in text.split(",")]
    for name in names:
        if name not in METRICS:
            raise ValueError(f"metrics: {name!r}, expected some of {', '.join(METRICS)}, separated by commas")
    return list(dict.fromkeys(names))


def _chosen(text: str | None, networks: list[FeatureNetwork]) -> list[tuple[str, FeatureNetwork]]:
    """The metrics with their networks.  Raises UsageError for a metric without its network."""
    from digan_fast.metrics.protocols import NETWORKS

    wanted = _metric_names(text) or [metric for metric in NETWORKS if any(_fits(metric, each) for each in networks)]
    chosen = []
    for metric in wanted:
        fitting = [network for network in networks if _fits(metric, network)]
        if not fitting:
            given = ", ".join(f"{network.source} ({network.name})" for network in networks)
            raise UsageError(
                f"--features: {given}, expected a file of {NETWORKS[metric]} for {metric}, which digan_fast does not "
                "download; without one there are the metrics fd and kd of --features random3d or efficientnet-lite0"
                if NETWORKS[metric]
                else f"--features: {given}, expected random3d or efficientnet-lite0 for {metric}"
            )
        chosen += [(metric, network) for network in fitting]
    return chosen


def _fits(metric: str, network: FeatureNetwork) -> bool:
    from digan_fast.metrics.protocols import NETWORKS

    return network.is_offline if NETWORKS[metric] is None else network.name == NETWORKS[metric]


def _protocol(options: EvaluateOptions, metric: str, network: FeatureNetwork, size: int) -> Protocol:
    from digan_fast.metrics.protocols import named

    protocol = named(options.protocol, metric).of_network(network, size, options.crop)
    return dataclasses.replace(protocol, seed=options.seed).with_changes(
        real=options.real,
        fake=options.fake,
        trials=options.trials,
        stride=options.clip_stride,
        clips=options.clips,
        precision=options.precision,
    )


def _snapshot(path: Path) -> Path:
    from digan_fast import snapshot
    from digan_fast.training.folder import snapshot_in

    if str(path) == "shipped" and not path.exists():
        return snapshot.shipped()
    found = snapshot_in(path)
    if not found.exists():
        expected = "a snapshot, a published pickle, the folder of a run, or the word shipped"
        raise FileNotFoundError(f"snapshot: {found} does not exist, expected {expected}")
    return found


def _say(line: str) -> None:
    print(line, file=sys.stderr)
