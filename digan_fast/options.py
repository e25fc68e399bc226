"""Types of options that the command line and configurations share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import tyro


def parse_path(text: str) -> Path:
    """Raises ValueError for nothing, as an unset variable of a shell gives, which Path takes for this folder."""
    if not text.strip():
        raise ValueError("'' is no path; an unset variable?")
    return Path(text)


def _spec() -> Any:
    return tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="PATH",
        instance_from_str=lambda words: parse_path(words[0]),
        is_instance=lambda value: isinstance(value, Path),
        str_from_instance=lambda value: [str(value)],
    )


GivenPath = Annotated[Path, _spec()]
