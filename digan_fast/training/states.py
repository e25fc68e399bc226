"""The saved states of a run: ``state.pt``, the last, and ``state.1.pt``, ``state.2.pt``, … before it."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import torch

from digan_fast.files import flush, replacing
from digan_fast.processes import say

STATE: Final = "state.pt"


def earlier(folder: Path, age: int) -> Path:
    """The state saved ``age`` saves before the last."""
    return folder / (f"state.{age}.pt" if age else STATE)


def saved_states(folder: Path) -> list[Path]:
    """The states there are, the last one first."""
    ages = [
        int(match[1]) for path in folder.glob("state.*.pt") if (match := re.fullmatch(r"state\.(\d+)\.pt", path.name))
    ]
    return [path for path in (earlier(folder, age) for age in [0, *sorted(ages)]) if path.exists()]


def save_state(folder: Path, state: dict[str, Any], keep: int) -> None:
    """Writes ``state.pt``, keeping the ``keep − 1`` before it.

    At every moment ``state.pt`` is whole, before the first save aside: the new one is written beside it, and the old
    one has its second name before it is replaced.  Raises OSError, naming the file, if the disk is full; what was saved
    before then remains.
    """
    with replacing(folder / STATE) as part:
        torch.save(state, part)
        flush(part)  # On a full disk no state is lost for the one that fails.
        _grow_older(folder, keep)


def _grow_older(folder: Path, keep: int) -> None:
    for path in saved_states(folder)[max(keep, 1) :]:
        path.unlink(missing_ok=True)
    if keep < 2 or not (folder / STATE).exists():
        return
    for age in range(keep - 1, 1, -1):
        with contextlib.suppress(FileNotFoundError):
            os.replace(earlier(folder, age - 1), earlier(folder, age))
    with replacing(earlier(folder, 1)) as part:
        part.unlink()
        try:
            os.link(folder / STATE, part)
        except OSError:  # File systems without hard links.
            shutil.copyfile(folder / STATE, part)


def load_state(folder: Path, unit: str = "pair") -> tuple[Path, dict[str, Any]]:
    """The last state that is whole, and its file; says which are damaged.  ``unit``: what the run counts.

    Raises ValueError, naming all of them, if none is, FileNotFoundError if there is none.
    """
    paths = saved_states(folder)
    if not paths:
        raise FileNotFoundError(f"{folder / STATE} does not exist")
    failures: list[ValueError] = []
    for path in paths:
        try:
            with resuming(path):
                state = _read(path)
        except ValueError as error:
            failures.append(error)
            continue
        going_on = f"so the run goes on from {path.name}, after {state['pairs']} {unit}s"
        for failure in failures:
            say(f"resume: {failure}; {going_on}")
        if not failures and path.name != STATE:
            say(f"resume: {STATE} is missing, {going_on}")
        return path, state
    raise ValueError("; ".join(map(str, failures)))


def _read(path: Path) -> dict[str, Any]:
    with zipfile.ZipFile(path) as archive:  # What torch.save writes; torch.load does not check its checksums.
        damaged = archive.testzip()
    if damaged is not None:
        raise ValueError(f"{damaged} has another checksum than recorded")
    loaded = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(loaded, dict):
        raise TypeError(f"{type(loaded).__name__}, expected a dict")
    missing = [name for name in ("steps", "pairs", "G", "D", "G_ema") if name not in loaded]
    if missing:
        raise KeyError(missing[0])
    return loaded


@contextlib.contextmanager
def resuming(path: Path) -> Iterator[Path]:
    """Turns any error inside the block into a one-line ValueError with the path."""
    try:
        yield path
    except Exception as error:  # Damaged files make torch raise UnpicklingError, EOFError, IndexError, …
        # The rest of torch's message advises loading the file unsafely.
        reason = str(error).partition("\n")[0].partition(". ")[0]
        raise ValueError(f"{path}: not a state to resume from: {type(error).__name__}: {reason}") from error
