"""Mutants, the tests that must catch them, and the parser of their tables."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Rig:
    """How to run the tests for one kind of mutant: pytest's arguments and additional environment variables.

    ``builds``: the tree's native module is built first, of which only what has changed is compiled.
    """

    name: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    builds: bool = False


# Code compiled for a single mutant runs only briefly.
_SOON = {"SIMULATOR_OPTIMISATION": "-O0"}
RIGS = {
    rig.name: rig
    for rig in (
        Rig(
            "interpreted",
            ("tests/kernels/test_interpreted.py", "tests/kernels/test_addresses.py"),
            {"TRITON_INTERPRET": "1"},
        ),
        Rig("executed", ("tests/kernels/test_executed.py",)),
        Rig("cuda_simulated", ("tests/cuda/test_cuda_simulated.py",), _SOON),
        Rig("cuda_sanitized", ("tests/cuda/test_cuda_sanitized.py",), _SOON),
        Rig("cuda_executed", ("tests/cuda/test_cuda_executed.py",), _SOON),
        Rig("cpu", ("tests/ops/test_coord_mlp_native.py", "tests/ops/test_coord_mlp_epilogues.py"), builds=True),
        Rig("rendered", ("tests/ops/test_render.py",), builds=True),
        Rig("convolved", ("tests/ops/test_conv3x3.py",), builds=True),
        Rig("trained", ("tests/ops/test_bfloat16_native.py",), builds=True),
    )
}


@dataclass(frozen=True)
class Mutant:
    """A bug: ``old``, which occurs exactly once in ``file``, is replaced by ``new``.

    ``tests`` is pytest's ``-k`` for the tests of ``rig`` that should catch it.  ``equivalent`` gives the reason if the
    change has no observable effect, so that no test can.
    """

    file: str
    bug: str
    old: str
    new: str
    tests: str
    rig: Rig
    equivalent: str | None = None

    def __str__(self) -> str:
        return f"{self.file}: {self.bug}"

    def planted(self, source: str) -> str:
        """The source with the bug; raises ValueError if ``old`` does not occur exactly once."""
        if source.count(self.old) != 1:
            raise ValueError(f"{self}: {self.old!r} is {source.count(self.old)} times in the file, expected once")
        if self.old == self.new:
            raise ValueError(f"{self}: changes nothing")
        return source.replace(self.old, self.new)


def read(table: Path) -> list[Mutant]:
    """The mutants of a text file, whose head describes the format.  Raises ValueError naming a malformed line."""
    _head, *sections = re.split(r"^\[(.+), (\w+)\]\n", table.read_text(), flags=re.MULTILINE)
    found = []
    for file, rig, text in zip(sections[::3], sections[1::3], sections[2::3], strict=True):
        if rig not in RIGS:
            raise ValueError(f"{table.name}: rig {rig!r} of {file}, expected one of {', '.join(RIGS)}")
        found += [
            _mutant(table.name, file, RIGS[rig], entry) for entry in re.split(r"\n{2,}", text.strip("\n")) if entry
        ]
    return found


def _mutant(table: str, file: str, rig: Rig, entry: str) -> Mutant:
    head, *lines = entry.split("\n")
    bug, at, tests = head.rpartition(" @ ")
    parts: dict[str, list[str]] = {"- ": [], "+ ": [], "= ": []}
    for line in lines:
        if line[:2] not in parts:
            raise ValueError(f"{table}: {line!r}, expected a line that begins with '- ', '+ ' or '= '")
        parts[line[:2]].append(line[2:])
    if not at or not parts["- "]:
        raise ValueError(f"{table}: {head!r}, expected a bug, ' @ ' and tests, then lines that begin with '- '")
    old, new, reason = ("\n".join(parts[key]) for key in ("- ", "+ ", "= "))
    return Mutant(file, bug, old, new, tests, rig, reason or None)


def tables(folder: Path) -> Iterator[tuple[str, list[Mutant]]]:
    """Every table in the folder, with its name."""
    for path in sorted(folder.glob("*.txt")):
        yield path.stem, read(path)
