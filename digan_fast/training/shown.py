"""How a command line presents a field of plain data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Shown:
    """An annotation of a field.

    ``metavar`` is what its value is called; ``positional``: it stands without its option's name; ``own_default``: its
    text tells the default; ``is_path``: its value is a path, and nothing is none.
    """

    metavar: str | None = None
    positional: bool = False
    own_default: bool = False
    is_path: bool = False
