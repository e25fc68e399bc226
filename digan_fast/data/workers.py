"""A function of many items in worker processes: results in order, survivors of a crash, nothing left behind."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import resource_tracker
from multiprocessing.synchronize import Event
from typing import Any, Final, TypeVar

import torch

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
# Items handed out for each worker, of which all but one wait: results are taken in order, and one may take long.
_AHEAD: Final = 4
# Seconds.
_TURN: Final = 1.0
# Set in the worker processes of a pool that is being left.
_left: Event | None = None


class CrashedError(RuntimeError):
    """An item whose process died, alone as well as among others."""


def default_workers() -> int:
    """The processors that this process may use, 16 at most."""
    return min(16, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def abandoned() -> bool:
    """Whether this is a worker whose results nobody waits for any more; long work asks now and then."""
    return _left is not None and _left.is_set()


@contextlib.contextmanager
def deaf_children() -> Iterator[None]:
    """Processes started in this block never get Ctrl-C, SIGTERM and SIGHUP, which reach a whole group of processes.

    Blocked signals are inherited, so that there is no moment of their start at which these kill them.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    # Otherwise started with the first of them, when Python 3.11 would unblock the signals here.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _signals())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def ignore_signals() -> None:
    """Does in a worker what :func:`deaf_children` does where signals cannot be blocked."""
    for number in _signals():
        signal.signal(number, signal.SIG_IGN)


def _signals() -> list[signal.Signals]:
    return [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


def in_order(
    function: Callable[[_Item], _Result], items: Sequence[_Item], workers: int
) -> Iterator[tuple[_Item, _Result | CrashedError]]:
    """Each item and ``function(item)``, in the order of the items, at most ``4·workers`` of them begun ahead.

    The processes are spawned, so the function must be picklable.  With 0 workers it is called in this process.  An item
    during which a process died is tried again alone, and gives a CrashedError if it dies again.
    """
    if workers < 1:
        for item in items:
            yield item, function(item)
        return
    with _Pool(max(1, min(workers, len(items)))) as pool:
        rest = iter(items)
        waiting: deque[tuple[_Item, Future[_Result]]] = deque()
        while True:
            for item in rest:
                waiting.append((item, pool.submit(function, item)))
                if len(waiting) >= _AHEAD * workers:
                    break
            if not waiting:
                return
            item, future = waiting.popleft()
            # By turns, so that a heartbeat sees a process that waits for workers get on.
            while not wait([future], _TURN).done:
                pass
            try:
                result: _Result | CrashedError = future.result()
            except BrokenProcessPool:
                pool.renew()
                result = _alone(function, item)
                waiting = deque((each, _kept(pool, function, each, begun)) for each, begun in waiting)
            yield item, result


def _kept(pool: _Pool, function: Callable[[_Item], _Result], item: _Item, begun: Future[_Result]) -> Future[_Result]:
    """What was begun in a pool that broke, if it was finished before; otherwise begun again."""
    finished = begun.done() and not begun.cancelled() and begun.exception() is None
    return begun if finished else pool.submit(function, item)


def _alone(function: Callable[[_Item], _Result], item: _Item) -> _Result | CrashedError:
    with _Pool(1) as pool:
        try:
            return pool.submit(function, item).result()
        except BrokenProcessPool:
            return CrashedError("the process that read it died")


class _Pool:
    """Worker processes that end with the block, and with this process, however it ends."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._context = multiprocessing.get_context("spawn")
        self._left = self._context.Event()
        self._executor = self._begun()

    def submit(self, function: Callable[[_Item], _Result], item: _Item) -> Future[_Result]:
        """The call's future, which fails with BrokenProcessPool if the pool is broken."""
        with deaf_children():
            try:
                return self._executor.submit(function, item)
            except BrokenProcessPool as error:
                broken: Future[_Result] = Future()
                broken.set_exception(error)
                return broken

    def renew(self) -> None:
        """New processes in place of those of a broken pool."""
        self._executor.shutdown(cancel_futures=True)
        self._executor = self._begun()

    def __enter__(self) -> _Pool:
        return self

    def __exit__(self, *_: object) -> None:
        self._left.set()
        self._executor.shutdown(cancel_futures=True)

    def _begun(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(self._workers, self._context, _begin, (self._left,))


def _begin(left: Any) -> None:
    """Prepares a worker: one thread, deaf to the terminal's signals, and gone when its parent is."""
    global _left
    _left = left
    torch.set_num_threads(1)
    ignore_signals()
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A worker waits for work on a queue that it holds open itself, so a killed parent would leave it waiting."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
