"""Waiting for other processes: only one that hangs reaches the limit, however busy the machine is."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

# Seconds; less than the patience of processes that train together, ten minutes, so that these tests see it kept.
LIMIT: Final = 300.0


def until(condition: Callable[[], object], process: subprocess.Popen[Any] | None = None) -> None:
    """Returns once ``condition`` holds.  Raises AssertionError at the limit, or if ``process`` ends before."""
    end = time.monotonic() + LIMIT
    while not condition():
        assert process is None or process.poll() is None, f"ended with {process.returncode}"
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def has_text(path: Path) -> bool:
    """Whether a file is there and not empty."""
    return path.exists() and path.stat().st_size > 0
