"""The processes that train or evaluate together, as torchrun starts them; a single one without it.

Every method is to be called by all processes, in the same order.
"""

from __future__ import annotations

import datetime
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from digan_fast.heartbeat import Heartbeat

_Made = TypeVar("_Made")
_CPU: Final = torch.device("cpu")
# What a step of the slowest process may take longer than one of the fastest, and the longest time without a sign of
# life from one that works alone, packing, saving or evaluating; the others learn at once if it ends.
PATIENCE: Final = datetime.timedelta(minutes=10)
# Signs of life within that time.
_BEATS: Final = 10
# Seconds between questions whether torchrun is there.
_WATCH: Final = 1.0


@dataclass(frozen=True)
class Processes:
    """This process's rank and how many there are, and what they exchange; alone, it exchanges nothing.

    Exchanges raise ConnectionError if another process has ended, or has not answered within ``patience``.
    """

    rank: int = 0
    world: int = 1
    # The group in which one waits for another's work.
    _waiting: Any = None
    patience: datetime.timedelta = PATIENCE

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def broadcast(self, networks: Iterable[nn.Module]) -> None:
        """Gives the first process's parameters and buffers to all."""
        if self.world > 1:
            with self._connected(), torch.no_grad():
                for network in networks:
                    for tensor in (*network.parameters(), *network.buffers()):
                        dist.broadcast(tensor.detach(), 0)

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replaces each tensor by its mean over the processes, in one exchange on the first tensor's device."""
        if self.world == 1 or not tensors:
            return
        device = tensors[0].device
        flat = torch.cat([tensor.detach().reshape(-1).to(device) for tensor in tensors])
        with self._connected():
            dist.all_reduce(flat)
        flat /= self.world
        for tensor, mean in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.detach().copy_(mean.view(tensor.shape))

    def mean(self, values: dict[str, float]) -> dict[str, float]:
        """The mean of each value over the processes, which have the same names."""
        numbers = torch.tensor(list(values.values()), dtype=torch.float64)
        self.average([numbers])
        return dict(zip(values, numbers.tolist(), strict=True))

    def agree(self, *flags: bool) -> tuple[bool, ...]:
        """For each flag, whether any process raised it."""
        if self.world == 1:
            return flags
        raised = torch.tensor(flags, dtype=torch.int32)
        with self._connected():
            dist.all_reduce(raised, dist.ReduceOp.MAX)
        return tuple(bool(flag) for flag in raised)

    def check_equal(self, digest: str, what: str) -> None:
        """Raises RuntimeError in every process if the hexadecimal ``digest`` of ``what`` is not the same in all."""
        if self.world == 1:
            return
        # 60 of its bits, and their negative: the greatest of both are opposite only if all are equal.
        number = int(digest[:15], 16)
        greatest = torch.tensor([number, -number])
        with self._connected():
            dist.all_reduce(greatest, dist.ReduceOp.MAX)
        if int(greatest[0]) != -int(greatest[1]):
            raise RuntimeError(f"{what} differs between the {self.world} processes; go on from what was saved")

    def wait(self) -> None:
        """Returns once every process is here."""
        if self.world > 1:
            with self._connected():
                dist.barrier(self._waiting)

    def by_first(self, make: Callable[[], _Made]) -> _Made | None:
        """What ``make`` returns in the first process; the others wait for it and get None.

        They wait for as long as it gets on, see :class:`digan_fast.heartbeat.Progress`.
        """
        if self.world == 1:
            return make()
        made: _Made | None = None
        if self.is_first:
            with Heartbeat(lambda: self._signal(done=False), self.patience.total_seconds() / _BEATS):
                made = make()
            self._signal(done=True)
        else:
            while not self._signal(done=False):
                pass
        return made

    def _signal(self, done: bool) -> bool:
        """One sign of life of the first process, in all: whether it is done."""
        flag = torch.tensor(done, dtype=torch.uint8)
        with self._connected():
            dist.broadcast(flag, 0, self._waiting)
        return bool(flag)

    def from_first(self, make: Callable[[], _Made]) -> _Made:
        """What ``make`` returns in the first process, in every process; its error is a ValueError in the others."""
        if self.world == 1:
            return make()
        made: Any = None
        failure: Exception | None = None

        def attempt() -> None:
            nonlocal made, failure
            try:
                made = make()
            except Exception as error:
                failure = error

        self.by_first(attempt)
        box = [made, None if failure is None else str(failure)]
        with self._connected():
            dist.broadcast_object_list(box, 0, self._waiting)
        if failure is not None:
            raise failure
        if box[1] is not None:
            raise ValueError(box[1])
        found: _Made = box[0]
        return found

    @contextmanager
    def _connected(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:  # What gloo and nccl raise, with a line of their source and a trace after it.
            raise ConnectionError(
                f"process {self.rank} of {self.world} lost another one, which ended or has not answered; what was "
                "saved last remains, to go on from"
            ) from error


def is_first_process() -> bool:
    """Whether this is the first of the processes that torchrun started, or the only one."""
    return int(os.environ.get("RANK", "0")) == 0


def say(line: str) -> None:
    """Prints to stderr, once for all processes."""
    if is_first_process():
        print(line, file=sys.stderr)


@contextmanager
def joined(device: torch.device = _CPU, patience: datetime.timedelta = PATIENCE) -> Iterator[Processes]:
    """The processes that torchrun started; their tensors on ``device`` are exchanged by nccl on GPUs, else by gloo.

    Processes that share a GPU, which nccl refuses, use gloo.  A process group that exists is used as it is.  If
    torchrun ends before them, even by a kill that it cannot pass on, they get a SIGTERM.
    """
    with _ended_with_torchrun():
        yield from _joined(device, patience)


def _joined(device: torch.device, patience: datetime.timedelta) -> Iterator[Processes]:
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield Processes()
        return
    backend = "gloo"
    if device.type == "cuda":
        torch.cuda.set_device(local_device(device))
        if int(os.environ.get("LOCAL_WORLD_SIZE", world)) <= torch.cuda.device_count() and device.index is None:
            backend = "cpu:gloo,cuda:nccl"
    is_own = not dist.is_initialized()
    if is_own:
        dist.init_process_group(backend, timeout=patience)
    try:
        waiting = dist.new_group(backend="gloo", timeout=patience)
        yield Processes(dist.get_rank(), dist.get_world_size(), waiting, patience)
    finally:
        if is_own:
            dist.destroy_process_group()


@contextmanager
def _ended_with_torchrun() -> Iterator[None]:
    """Sends this process a SIGTERM once torchrun, which started it, is no longer its parent.

    By the parent's number, which works on every POSIX system and, unlike Linux's parent-death signal, does not depend
    on which of the parent's threads started the process; on Windows the number never changes, and nothing is sent.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ:  # Another parent, such as a shell under nohup, may end.
        yield
        return
    parent, left = os.getppid(), threading.Event()

    def watch() -> None:
        while not left.wait(_WATCH):
            if os.getppid() != parent:
                os.kill(os.getpid(), signal.SIGTERM)
                return

    thread = threading.Thread(target=watch, name="torchrun", daemon=True)
    thread.start()
    try:
        yield
    finally:
        left.set()
        thread.join()
        if os.getppid() != parent:
            say(f"torchrun, process {parent}, has ended, so its processes end too")


def local_device(device: torch.device) -> torch.device:
    """cuda:LOCAL_RANK for a CUDA device without a number, otherwise the same."""
    if device.type == "cuda" and device.index is None and "LOCAL_RANK" in os.environ:
        return torch.device("cuda", int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())
    return device
