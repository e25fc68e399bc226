"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path


def remove_leftovers(folder: Path) -> None:
    """Remove what writers that were killed on the way left in a folder and below it; no other may be writing there."""
    for part in folder.rglob(".*.part*"):
        part.unlink()


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A path beside ``path`` (the same suffix) to write to; renamed over it at the end, removed on an error."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f".{target.stem}.{secrets.token_hex(4)}.part{target.suffix}")
    try:
        # Made here, with the permissions that the umask gives, since some writers choose their own.
        beside.touch()
        mode = beside.stat().st_mode & 0o777
        yield beside
        beside.chmod(mode)
        with open(beside, "r+b") as written:  # Windows flushes only what may be written
            os.fsync(written.fileno())
        os.replace(beside, target)
    finally:
        beside.unlink(missing_ok=True)
