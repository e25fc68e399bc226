"""A part's cases as JSON, rewritten after each case: a killed part loses one case at most."""

from __future__ import annotations

import argparse
import json
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch


@dataclass
class Record:
    """Cases by name: ``state`` (running, passed or failed), ``seconds``, and the case's results."""

    path: Path
    dry: bool
    cases: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def device(self) -> str:
        return "cpu" if self.dry else "cuda"

    @contextmanager
    def case(self, name: str) -> Iterator[dict[str, Any]]:
        """Records what the block puts into the dictionary.  An exception fails this case only."""
        found: dict[str, Any] = {}
        entry = self.cases[name] = {"state": "running", "seconds": 0.0, **found}
        self.write()
        begin = time.perf_counter()
        try:
            yield found
            if not self.dry:
                torch.cuda.synchronize()
            entry["state"] = "passed"
        except Exception as error:
            entry["state"] = "failed"
            found["error"] = f"{type(error).__name__}: {str(error)[:1000]}"
            print(f"{name}: failed\n{traceback.format_exc()}", flush=True)
        entry["seconds"] = round(time.perf_counter() - begin, 3)
        entry |= found
        if entry["state"] == "passed":
            print(f"{name}: {json.dumps(found)}", flush=True)
        self.write()

    def write(self) -> None:
        beside = self.path.with_suffix(".tmp")
        beside.write_text(json.dumps(self.cases, indent=1))
        beside.replace(self.path)

    @property
    def failed(self) -> bool:
        return any(entry["state"] != "passed" for entry in self.cases.values())


def opened(description: str | None) -> Record:
    """The record of a part started as ``python -m bench.gpu.PART JSON [--dry]``."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("path", type=Path, help="the JSON file to write")
    parser.add_argument("--dry", action="store_true", help="tiny, on the CPU: control flow only")
    options = parser.parse_args()
    if not options.dry and not torch.cuda.is_available():
        parser.error("torch sees no CUDA device; --dry runs on the CPU")
    options.path.parent.mkdir(parents=True, exist_ok=True)
    return Record(options.path, options.dry)
