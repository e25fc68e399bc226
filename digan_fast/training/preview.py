"""Reports what a run would read and take, for ``--dry-run``."""

from __future__ import annotations

import datetime
import itertools
import time
from collections import Counter
from pathlib import Path
from typing import Final

from digan_fast import video
from digan_fast.data.finding import Findings, survey
from digan_fast.data.packed import is_pack
from digan_fast.data.sources import Source
from digan_fast.processes import Processes, joined
from digan_fast.training.config import TrainConfig
from digan_fast.training.estimate import estimate
from digan_fast.training.evaluating import load_features
from digan_fast.training.folder import check_folder, resumable
from digan_fast.training.identity import check_data
from digan_fast.training.initial import load_initial
from digan_fast.training.loop import check_networks
from digan_fast.training.reading import packed_clips, report
from digan_fast.training.tensorboard import Board

# Videos that are decoded, and frames of each, to estimate the time that all of them take.
_TRIED: Final = 8
_FRAMES: Final = 32


def preview(config: TrainConfig) -> str:
    """Describes the videos, their classes, the disk space and time needed to read them, and the run's own time.

    Writes nothing.  Under torchrun, all processes measure together.  Raises what
    :func:`digan_fast.training.loop.train` raises for invalid options, folder, snapshot or data.
    """
    config.check()
    Board.check(config)
    with joined(config.torch_device(), datetime.timedelta(minutes=config.patience)) as processes:
        config.at_once(processes.world)
        lines, classes = processes.from_first(lambda: _of_data(config))
        return "\n".join([*lines, *estimate(config, classes, processes)])


def _of_data(config: TrainConfig) -> tuple[list[str], int]:
    """Lines about the data, and the number of classes, once all else that a run needs is known to be there."""
    check_folder(Path(config.out))
    resumed = resumable(config)
    if config.init is not None and resumed is None:
        load_initial(config.init)
    load_features(config)
    found = survey(config.data, config.conditional, config.split, config.take, [Path(config.out)])
    sizes = Counter(source.label for source in found.sources if source.label is not None)
    check_networks(config, sorted(sizes), resumed)
    if resumed is not None:
        check_data(config, found, resumed.state)
    lines = _of_pack(config, found) if is_pack(config.data) else _of_folder(config, found)
    if config.conditional:
        lines.append(f"{len(sizes)} classes: " + ", ".join(f"{name} ({size})" for name, size in sorted(sizes.items())))
    return lines, len(sizes)


def _of_pack(config: TrainConfig, found: Findings) -> list[str]:
    """What the run will say: a packed file's index has all of it."""
    return report(config, packed_clips(config, found, Processes()), len(found.sources), found.left_out)


def _of_folder(config: TrainConfig, found: Findings) -> list[str]:
    """From a few of the videos, how many frames there are and how long it takes to read them."""
    step = max(1, len(found.sources) // _TRIED)
    tried = found.sources[::step][:_TRIED]
    span = (config.clip_length - 1) * config.clip_stride + 1
    counts: list[int] = []
    decoded, begun = 0, time.perf_counter()
    problems: list[str] = []
    for source in tried:
        try:
            count = _used(source, config)
            for frame in itertools.islice(source.frames(), _FRAMES):
                video.square(frame, config.resolution, config.crop)
                decoded += 1
        except (ValueError, OSError) as error:
            problems.append(f"cannot be read: {error}")
        else:
            if count < span:
                problems.append(f"left out: {source.path}: {count} frames, shorter than the {span} of a clip")
            counts.append(count if count >= span else 0)
    seconds = time.perf_counter() - begun
    total = sum(counts) / max(1, len(tried)) * len(found.sources)
    size = total * 3 * config.resolution**2 / 2**20
    lines = [f"{len(found.sources)} videos, about {total:.0f} frames, {size:.0f} MiB at side {config.resolution}"]
    if decoded:
        lines.append(f"about {seconds / decoded * total:.0f} seconds to read them")
    if len(tried) < len(found.sources):
        lines.append(f"{len(tried)} of them were tried")
    return [*lines, *(f"left out: {line}" for line in found.left_out), *problems]


def _used(source: Source, config: TrainConfig) -> int:
    """The number of frames of a video that a run keeps."""
    count = source.count()
    if config.fps is not None and not source.path.is_dir():
        rate = source.rate()
        count = count if rate is None else round(count * config.fps / rate)
    return len(range(count)[config.frame_range()])
