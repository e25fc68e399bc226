"""Signals that end a run."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


@contextlib.contextmanager
def interruptible() -> Iterator[list[int]]:
    """Collect a SIGINT, SIGTERM or SIGHUP instead of dying from it, so that the step finishes and the run is saved.

    A Ctrl-C after that raises KeyboardInterrupt at once; a SIGTERM or SIGHUP does not, since one end of a job may send
    several: to a whole group of processes, of which torchrun passes on its own.  If SIGHUP is ignored, as under nohup,
    it stays ignored.  Only the main thread can handle signals; in other threads, nothing is collected.
    """
    received: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        if received and number == signal.SIGINT:
            raise KeyboardInterrupt("stopped at once; what was saved before remains")
        received.append(number)

    previous = {}
    if threading.current_thread() is threading.main_thread():
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)
            if number is not None and not (name == "SIGHUP" and signal.getsignal(number) is signal.SIG_IGN):
                previous[number] = signal.signal(number, stop)
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
