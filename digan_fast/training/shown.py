"""How the command line presents a dataclass field."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Shown:
    """An annotation of a field.

    ``metavar``: the name of its value; ``positional``: it is a positional argument; ``own_default``: its text states
    the default; ``is_path``: its value is a path, and an empty one is rejected.
    """

    metavar: str | None = None
    positional: bool = False
    own_default: bool = False
    is_path: bool = False
