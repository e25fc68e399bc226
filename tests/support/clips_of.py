"""Clips of a folder, packed beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from digan_fast.data import packing
from digan_fast.data.clips import Clips
from digan_fast.data.finding import survey
from digan_fast.data.packing import Preparation


def clips_of(root: Path, resolution: int, length: int = 16, conditional: bool = False, **options: Any) -> Clips:
    """Every clip of the videos at ``root``; ``options`` are those of :class:`Clips`."""
    found = survey(root, conditional)
    out = root.parent / f"{root.name}-{resolution}.pack"
    packed = packing.pack(root, found, Preparation(resolution), {}, out, progress=False, replace=True)
    return Clips(packed, length, conditional=conditional, **options)
