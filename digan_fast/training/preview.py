"""What a run would read, for ``--dry-run``."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from pathlib import Path
from typing import Final

from digan_fast import video
from digan_fast.data.finding import survey
from digan_fast.training.config import TrainConfig

# Videos that are decoded, and frames of each, to tell how long all of them take.
_TRIED: Final = 8
_FRAMES: Final = 32


def preview(config: TrainConfig) -> str:
    """Lines on the videos, their classes, the memory and the time that reading them takes; nothing is written.

    The frames of a few videos are counted, those of the others estimated.  Raises what
    :func:`digan_fast.training.loop.train` raises for options or data that do not fit.
    """
    config.check()
    found = survey(config.data, config.conditional, config.split, config.take, [Path(config.out)])
    step = max(1, len(found.sources) // _TRIED)
    tried = found.sources[::step][:_TRIED]
    counts: list[int] = []
    frames, begun = 0, time.perf_counter()
    problems: list[str] = []
    for source in tried:
        try:
            count = video.frame_count(source.path)
            for frame in itertools.islice(video.iter_frames(source.path), _FRAMES):
                video.square(frame, config.resolution, config.crop)
                frames += 1
            counts.append(count)
        except (ValueError, OSError) as error:
            problems.append(str(error))
    seconds = time.perf_counter() - begun
    mean = sum(counts) / max(1, len(counts))
    total = mean * len(found.sources)
    memory = total * 3 * config.resolution**2 / 2**20
    lines = [f"{len(found.sources)} videos, about {total:.0f} frames, {memory:.0f} MiB at side {config.resolution}"]
    if frames:
        lines.append(f"about {seconds / frames * total:.0f} seconds to read them")
    if config.conditional:
        sizes = Counter(source.label for source in found.sources)
        lines.append(f"{len(sizes)} classes: " + ", ".join(f"{name} ({size})" for name, size in sorted(sizes.items())))
    lines += [f"left out: {line}" for line in found.left_out]
    lines += [f"cannot be read: {line}" for line in problems]
    return "\n".join(lines)
