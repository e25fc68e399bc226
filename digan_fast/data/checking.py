"""What a data set holds: videos, frames, sizes, rates, classes, and what cannot be used."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tqdm import tqdm

from digan_fast.data.finding import Findings
from digan_fast.data.sources import Source, fingerprint, reason
from digan_fast.data.workers import CrashedError, in_order

# How many values of a kind, and names, a line of the report shows.
_VALUES: Final = 8
_NAMES: Final = 20


@dataclass(frozen=True)
class Probe:
    """A video's frames, their size as shown and their rate, or why it cannot be read."""

    frames: int = 0
    width: int = 0
    height: int = 0
    rate: float | None = None
    broken: str | None = None


def probe(source: Source, decode: bool) -> Probe:
    """Looks at a video: its first frame and its packets, or with ``decode`` all of its frames."""
    count = 0
    height = width = 0
    try:
        for frame in source.frames():
            if count == 0:
                height, width = frame.shape[1:]
            count += 1
            if not decode:
                count = source.count()
                break
        return Probe(count, width, height, source.rate())
    except (ValueError, OSError) as error:
        return Probe(broken=reason(source, error))


@dataclass
class Census:
    """The videos of a set, what was found of each, and the SHA-256 of the list of files and sizes."""

    findings: Findings
    probes: list[Probe]
    sha256: str
    shortest: int
    short: list[tuple[Source, Probe]] = field(init=False)
    usable: list[tuple[Source, Probe]] = field(init=False)

    def __post_init__(self) -> None:
        sound = [pair for pair in zip(self.findings.sources, self.probes, strict=True) if pair[1].broken is None]
        self.short = [(source, found) for source, found in sound if found.frames < self.shortest]
        self.usable = [(source, found) for source, found in sound if found.frames >= self.shortest]

    @property
    def broken(self) -> list[str]:
        return [found.broken for found in self.probes if found.broken is not None]

    def report(self) -> list[str]:
        """One line for each property of the set, then one for each video that cannot be used."""
        sources = [source for source, _ in self.usable]
        frames = sorted(found.frames for _, found in self.usable)
        parts = _counted(source.part for source in sources if source.part is not None)
        lines = [f"videos: {len(sources)} of {len(self.probes)} can be used" + (f": {parts}" if parts else "")]
        if frames:
            middle = frames[len(frames) // 2]
            lines.append(f"frames: {sum(frames)}; a video has {frames[0]} to {frames[-1]}, the median {middle}")
        lines.append(f"sizes: {_counted(f'{found.width}×{found.height}' for _, found in self.usable)}")
        lines.append(f"rates: {_counted(_rate(found.rate) for _, found in self.usable)}")
        labels = [source.label for source in sources if source.label is not None]
        if labels:
            lines.append(f"classes: {len(set(labels))}: {_counted(labels)}")
        lines += _listed("broken", self.broken)
        short = [f"{source.path} ({found.frames})" for source, found in self.short]
        lines += _listed(f"shorter than {self.shortest} frames", short)
        lines += [f"left out: {line}" for line in self.findings.left_out]
        return [*lines, f"file list: sha256 {self.sha256}"]


def census(root: Path, found: Findings, shortest: int, decode: bool, workers: int, progress: bool) -> Census:
    """Probes every video, in ``workers`` processes.

    Raises ValueError if none can be used, with the first reasons.
    """
    looked = in_order(functools.partial(probe, decode=decode), found.sources, workers)
    bar = tqdm(looked, desc="checking", total=len(found.sources), unit="video", disable=not progress)
    probes = [
        Probe(broken=reason(source, result)) if isinstance(result, CrashedError) else result for source, result in bar
    ]
    counted = Census(found, probes, fingerprint(root, found.sources)[0], shortest)
    if not counted.usable:
        raise ValueError(f"data: none of {len(probes)} videos can be used; {'; '.join(counted.report()[3:6])}")
    return counted


def _rate(rate: float | None) -> str:
    return "not recorded" if rate is None else f"{rate:.4g}/s"


def _counted(values: Iterable[str]) -> str:
    """The commonest values with their counts."""
    found = Counter(values).most_common()
    more = f", {len(found) - _VALUES} more" if len(found) > _VALUES else ""
    return ", ".join(f"{value} ({count})" for value, count in found[:_VALUES]) + more


def _listed(what: str, names: Sequence[str]) -> list[str]:
    if not names:
        return []
    more = [f"  and {len(names) - _NAMES} more"] if len(names) > _NAMES else []
    return [f"{what}: {len(names)}", *(f"  {name}" for name in names[:_NAMES]), *more]
