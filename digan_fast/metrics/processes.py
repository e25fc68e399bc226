"""The processes of one evaluation, as torchrun starts them; a single one without it."""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import torch
import torch.distributed as dist

# What the slowest process may take longer than the fastest.
_PATIENCE: Final = datetime.timedelta(days=7)


@dataclass(frozen=True)
class Processes:
    """This process's number and how many there are."""

    rank: int = 0
    count: int = 1

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def wait(self) -> None:
        """Returns once every process is here."""
        if self.count > 1:
            dist.barrier()

    def from_first(self, make: Callable[[], Any]) -> Any:
        """What ``make`` returns in the first process, in every process; an error there is raised in all."""
        if self.count == 1:
            return make()
        box: list[Any] = [None, None]
        failure: Exception | None = None
        if self.is_first:
            try:
                box[0] = make()
            except Exception as error:
                failure = error
                box[1] = str(error)
        dist.broadcast_object_list(box, 0)
        if failure is not None:
            raise failure
        if box[1] is not None:
            raise ValueError(box[1])
        return box[0]


@contextmanager
def joined() -> Iterator[Processes]:
    """The processes that torchrun started, connected by gloo; one without it, or in a process group that exists."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Processes()
        return
    is_own = not dist.is_initialized()
    if is_own:
        dist.init_process_group("gloo", timeout=_PATIENCE)
    try:
        yield Processes(dist.get_rank(), dist.get_world_size())
    finally:
        if is_own:
            dist.destroy_process_group()


def local_device(device: torch.device) -> torch.device:
    """cuda:LOCAL_RANK for a CUDA device without a number, otherwise the same."""
    if device.type == "cuda" and device.index is None and "LOCAL_RANK" in os.environ:
        return torch.device("cuda", int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())
    return device
