"""How a command line presents a field of plain data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Shown:
    """An annotation: the name of the value, whether it stands without its option's name, whether its text has the default."""

    metavar: str | None = None
    positional: bool = False
    own_default: bool = False
