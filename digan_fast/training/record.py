"""``config.json`` and ``log.jsonl`` of a run in progress, written again if something else removes them."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from digan_fast.files import naming, replacing
from digan_fast.processes import say

CONFIG: Final = "config.json"
LOG: Final = "log.jsonl"


def write_config(folder: Path, described: Mapping[str, Any]) -> None:
    """Writes the description of a run."""
    with replacing(folder / CONFIG) as part:
        part.write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")


class Record:
    """A context in which lines are appended to the log; ``described`` is what config.json holds.

    folder: None for a process that records nothing.
    """

    def __init__(self, folder: Path | None, described: Mapping[str, Any]) -> None:
        self._folder = folder
        self._described = described
        path = Path(os.devnull) if folder is None else folder / LOG
        self._log = open(path, "a+", encoding="utf-8")  # noqa: SIM115 - held for the length of the run

    def write(self, line: Mapping[str, float]) -> None:
        """Appends a line to the log.  Raises OSError, naming the file, if it cannot be written."""
        self.restore()
        with naming(Path(self._log.name)):
            self._log.write(json.dumps(line, ensure_ascii=False) + "\n")
            self._log.flush()

    def restore(self) -> None:
        """Writes what was removed again: config.json, and the log with all of its lines.

        A log that was put in its place, as editors do, is the one that goes on.
        """
        if self._folder is None:
            return
        if not (self._folder / CONFIG).exists():
            say(f"{self._folder / CONFIG} is gone, so it is written again")
            write_config(self._folder, self._described)
        path = self._folder / LOG
        if path.exists() and os.path.samestat(path.stat(), os.fstat(self._log.fileno())):
            return
        if not path.exists():
            say(f"{path} is gone, so it is written again")
            # Its lines are there for as long as it is open.
            self._log.seek(0)
            with replacing(path) as part, open(part, "w", encoding="utf-8") as again:
                shutil.copyfileobj(self._log, again)
        self._log.close()
        self._log = open(path, "a+", encoding="utf-8")  # noqa: SIM115

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._log.close()
