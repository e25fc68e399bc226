"""What a mutant is, which tests it is held against, and how a table of them is read."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Rig:
    """Tests that one kind of mutant is for: pytest's arguments and what is added to its environment."""

    name: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)


RIGS = {
    rig.name: rig
    for rig in (
        Rig(
            "interpreted",
            ("tests/kernels/test_interpreted.py", "tests/kernels/test_addresses.py"),
            {"TRITON_INTERPRET": "1"},
        ),
        Rig("executed", ("tests/kernels/test_executed.py",)),
    )
}


@dataclass(frozen=True)
class Mutant:
    """A bug: in ``file``, ``old``, which is there exactly once, becomes ``new``.

    ``tests`` is pytest's ``-k`` for the few tests of ``rig`` that should catch it.  Where nothing can, because nobody
    may see the change, ``equivalent`` says why.
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
        """The source with the bug; ValueError where its place is not found exactly once."""
        if source.count(self.old) != 1:
            raise ValueError(f"{self}: {self.old!r} is {source.count(self.old)} times in the file, expected once")
        if self.old == self.new:
            raise ValueError(f"{self}: changes nothing")
        return source.replace(self.old, self.new)


def read(table: Path) -> list[Mutant]:
    """The mutants of a text file, whose head describes its form.  Raises ValueError naming a line that has another."""
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
    """Every table of the folder by its name."""
    for path in sorted(folder.glob("*.txt")):
        yield path.stem, read(path)
