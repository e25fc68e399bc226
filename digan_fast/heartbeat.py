"""Signs of life of a process that works alone while others wait for it."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from typing import Any


class Progress:
    """Whether a thread gets on: it has used its processor, or is at another place in Python, since the last question.

    One that waits in the system, for a file or a lock, does neither.
    """

    def __init__(self, thread: threading.Thread) -> None:
        assert thread.ident is not None
        self._ident = thread.ident
        clock: Any = getattr(time, "pthread_getcpuclockid", None)  # Windows has none.
        self._clock = None if clock is None else clock(self._ident)
        self._last: tuple[Any, ...] | None = None

    def made(self) -> bool:
        """Whether there was progress since the last call; the first says yes."""
        frame, places = sys._current_frames().get(self._ident), []
        while frame is not None:
            places.append((id(frame.f_code), frame.f_lasti))
            frame = frame.f_back
        used = time.clock_gettime(self._clock) if self._clock is not None else time.monotonic()
        now = (used, *places)
        before, self._last = self._last, now
        return before is None or before != now


class Heartbeat:
    """Calls ``beat`` every ``interval`` seconds, in a thread, for as long as the thread that made this one gets on.

    A context; on leaving it, the last beat has ended.  An error of ``beat`` ends the beats, and is raised on leaving.
    """

    def __init__(self, beat: Callable[[], object], interval: float) -> None:
        self._beat = beat
        self._interval = interval
        self._progress = Progress(threading.current_thread())
        self._ended = threading.Event()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def _run(self) -> None:
        while not self._ended.wait(self._interval):
            if self._progress.made():
                try:
                    self._beat()
                except Exception as error:
                    self._failure = error
                    return

    def __enter__(self) -> Heartbeat:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        if self._failure is not None and kind is None:
            raise self._failure
