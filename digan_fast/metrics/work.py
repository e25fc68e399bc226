"""What an evaluation is given: the generator, the data, and how the work is done."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from digan_fast.data.finding import Source
from digan_fast.metrics.real import Reading
from digan_fast.metrics.store import BLOCK, Store
from digan_fast.networks import Generator
from digan_fast.processes import Processes


@dataclass(frozen=True)
class Subject:
    """The generator to evaluate, the name of its file, and that file's hash or whatever else identifies its weights."""

    generator: Generator
    name: str
    sha256: str


@dataclass(frozen=True)
class Data:
    """The real videos, and how they are read.

    ``cache``: the folder for their features.  ``described``: the options that chose the videos, as plain data.
    ``decodable``: what decoding found of the videos so far, the number of frames or why there are none.
    """

    root: Path
    sources: list[Source]
    reading: Reading
    cache: Path
    described: dict[str, Any] = field(default_factory=dict)
    decodable: dict[Path, int | str] = field(default_factory=dict)


@dataclass
class Work:
    """How the work is done, which changes no number beyond rounding; ``seconds`` collects the time of each stage,
    ``left_out`` what of the data was not used.

    ``scratch``: the folder for features of generated videos, removed at the end.  ``batch``: clips at once.
    ``workers``: threads that decode videos.
    """

    scratch: Path
    batch: int = 8
    workers: int = 4
    processes: Processes = field(default_factory=Processes)
    say: Callable[[str], None] = print
    progress: bool = True
    seconds: dict[str, float] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)

    def leave_out(self, lines: list[str]) -> None:
        """Says and keeps what was left out, once."""
        for line in lines:
            if line not in self.left_out:
                self.left_out.append(line)
                self.say(f"data: left out: {line}")

    @property
    def shows(self) -> bool:
        return self.progress and self.processes.is_first

    @contextlib.contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        begun = time.perf_counter()
        yield
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - begun

    @contextlib.contextmanager
    def blocks(self, store: Store, count: int, title: str) -> Iterator[tuple[list[range], tqdm[Any]]]:
        """The clips of each block of this process that is still to be computed, and the bar to update once it is."""
        own = range(self.processes.rank, -(-count // BLOCK), self.processes.world)
        clips = {block: range(block * BLOCK, min(count, (block + 1) * BLOCK)) for block in own}
        todo = [part for block, part in clips.items() if not store.has(block, len(part))]
        total = sum(map(len, clips.values()))
        done = total - sum(map(len, todo))
        with tqdm(desc=title, total=total, initial=done, unit="clip", disable=not self.shows) as bar:
            yield todo, bar
