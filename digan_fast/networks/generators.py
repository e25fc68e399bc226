"""The generators by name, as snapshots store it."""

from __future__ import annotations

from typing import Any, Final

from digan_fast.networks.generator import Generator
from digan_fast.networks.grid_generator import GridGenerator

# The kind of snapshots that do not name one.
DEFAULT: Final = "digan"
KINDS: Final[dict[str, type[Any]]] = {DEFAULT: Generator, "dvd-gan": GridGenerator}


def named(name: str) -> type[Any]:
    """The generator of this name.  Raises ValueError if there is none."""
    if name not in KINDS:
        raise ValueError(f"generator: {name!r}, expected one of {', '.join(KINDS)}")
    return KINDS[name]


def name_of(network: object) -> str | None:
    """The name of a network's class, or of the nearest of its bases; None if it is no generator."""
    names = {kind: name for name, kind in KINDS.items()}
    return next((names[kind] for kind in type(network).__mro__ if kind in names), None)
