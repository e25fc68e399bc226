"""Batches for the steps of a run, read ahead in worker processes."""

from __future__ import annotations

import itertools
import os
import pickle
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.util import Finalize
from typing import Any, Final, cast

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from digan_fast.data.clips import Batch, Clips
from digan_fast.data.packed import Pack
from digan_fast.data.workers import deaf_children, default_workers, ignore_signals

# Batches that each worker reads ahead.
AHEAD: Final = 2
# Raw frames of a smaller file stay in the system's cache of files, from which they are read as fast as by a worker.
_CACHED: Final = 1 << 30
_MOST: Final = 4


def workers_for(pack: Pack, device: torch.device) -> int:
    """How many workers to read a file with: none on a CPU, which they would share, or for few raw frames."""
    few = pack.encoding == "raw" and pack.path.stat().st_size < _CACHED
    return 0 if few or device.type == "cpu" else min(_MOST, default_workers())


class Feed:
    """The batches of a run from ``seen`` pairs on; ``waited`` adds up the seconds that :meth:`next` took.

    batch: pairs of this process in a step, of which there are ``world`` times as many in all.
    workers: processes that read ahead, `AHEAD` batches each; 0 reads in this one.  Batches come through pipes, not
    through shared memory, of which containers have little.
    """

    def __init__(self, clips: Clips, seen: int, batch: int, workers: int) -> None:
        self.waited = 0.0
        loader = DataLoader(
            _Batches(clips, batch),
            batch_size=None,
            sampler=_Steps(seen, batch * clips.sampler.world),
            num_workers=workers,
            prefetch_factor=AHEAD if workers else None,
            multiprocessing_context="spawn" if workers else None,
            worker_init_fn=_begin,
            collate_fn=_as_is,
            # Otherwise the loader draws a seed from torch's global generator, which the run's values come from.
            generator=torch.Generator(),
        )
        with deaf_children():
            self._batches: Iterator[Any] = iter(loader)

    def next(self) -> Batch:
        """The next batch.  Raises ValueError or OSError, naming the file, for a frame that cannot be read."""
        begun = time.perf_counter()
        found = next(self._batches)
        self.waited += time.perf_counter() - begun
        if isinstance(found, Exception):
            raise found
        return Batch(*map(torch.from_numpy, found))

    def close(self) -> None:
        """Ends the workers."""
        self._batches = iter(())


@dataclass
class _Steps(Sampler[int]):
    """The pairs seen before each step, without an end."""

    seen: int
    pairs: int

    def __iter__(self) -> Iterator[int]:
        return itertools.count(self.seen, self.pairs)


@dataclass
class _Batches(Dataset[Any]):
    clips: Clips | bytes
    batch: int

    def __getitem__(self, seen: int) -> Any:
        try:
            if isinstance(self.clips, bytes):
                self.clips = cast(Clips, pickle.loads(self.clips))
            return tuple(each.numpy() for each in self.clips.batch(seen, self.batch))
        except (ValueError, OSError) as error:
            # Raised where it is waited for: the loader would wrap it in a traceback.
            return error

    def __getstate__(self) -> dict[str, Any]:
        """Unpickled with the first batch in a worker, where the file may be gone or be another one by then."""
        return {"clips": pickle.dumps(self.clips), "batch": self.batch}


def _as_is(found: Any) -> Any:
    return found


def _begin(worker: int) -> None:
    ignore_signals()
    # The last of what a process does: where a thread still writes a batch into the full pipe, Python's own end of the
    # process was seen to abort ("terminate called without an active exception").
    Finalize(None, os._exit, args=(0,), exitpriority=-100)
