"""A run's folder: its lock, its record of the run, and the state to resume from."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

from digan_fast.files import naming, remove_leftovers, take_lock, why_not_writable
from digan_fast.processes import say
from digan_fast.training.comparing import described, differences
from digan_fast.training.config import TrainConfig
from digan_fast.training.record import CONFIG, LOG
from digan_fast.training.states import STATE, load_state, resuming, saved_states

SNAPSHOT: Final = "snapshot.safetensors"
PACK: Final = "data.pack"
SAMPLES: Final = "samples"
_LOCK: Final = ".lock"


class Saved(NamedTuple):
    """What a run goes on from: the contents of its config.json, and of the state in the file at ``path``."""

    config: dict[str, Any]
    state: dict[str, Any]
    path: Path


class Lock:
    """A folder's lock, ``.lock``, held by this process until :meth:`release`.

    Raises ValueError, its message beginning with ``out``, if it cannot be written or another process holds it.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / _LOCK
        self._file = self._taken()

    def check(self) -> None:
        """Takes the lock again if its file was removed.  Raises RuntimeError if another process has taken it since."""
        if self._is_there(self._file):
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._file, before = self._taken(), self._file
        except ValueError as error:
            reason = f"{self.path} was removed, and now {str(error).removeprefix('out: ')}"
            raise RuntimeError(f"{reason}; this run stops, and leaves the folder as it is") from error
        before.close()
        say(f"{self.path} is gone, so it is taken again")

    def release(self) -> None:
        """Gives the lock up, and removes its file if that is this process's."""
        with contextlib.suppress(OSError):
            if self._is_there(self._file):
                os.unlink(self.path)
        self._file.close()

    def _is_there(self, file: IO[str]) -> bool:
        try:
            return os.path.samestat(self.path.stat(), os.fstat(file.fileno()))
        except FileNotFoundError:
            return False

    def _taken(self) -> IO[str]:
        try:
            lock = open(self.path, "a+", encoding="utf-8")  # noqa: SIM115 - held for the length of the run
        except OSError as error:
            raise ValueError(f"out: {self.path} cannot be written: {error.strerror}") from error
        try:
            take_lock(lock)
            if not self._is_there(lock):  # Its holder released and removed it between the two lines above.
                lock.close()
                return self._taken()
            lock.truncate(0)
            with naming(self.path):
                lock.write(f"{os.getpid()}\n")
                lock.flush()
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read().strip() or "of another user"
            lock.close()
            raise ValueError(f"out: process {holder} trains in {self.path.parent}") from None
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(self.path)
            with contextlib.suppress(OSError):  # Closing writes what is left in the buffer.
                lock.close()
            raise
        return lock


@contextlib.contextmanager
def owned(folder: Path) -> Iterator[Lock]:
    """Locks the folder for this process, creating it if it is missing; removes it again if nothing was written to it.

    Raises ValueError, its message beginning with ``out``, if it cannot be created or another process trains there.
    """
    check_folder(folder)
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"out: {folder} cannot be created: {error.strerror}") from error
    try:
        lock = Lock(folder)
        try:
            yield lock
        finally:
            lock.release()
    finally:
        for each in made:
            with contextlib.suppress(OSError):
                each.rmdir()


def check_folder(folder: Path) -> None:
    """Checks, without writing, that the folder can be used; raises ValueError, its message beginning with ``out``."""
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"out: {folder} is a file, expected a folder")
    reason = why_not_writable(folder)
    if reason is not None:
        raise ValueError(f"out: {folder} cannot be written to: {reason}")


def snapshot_in(path: Path) -> Path:
    """The snapshot in a run's folder; a path that is no folder, as it is."""
    return path / SNAPSHOT if path.is_dir() else path


def clear_leftovers(folder: Path) -> None:
    """Remove partially written files of a killed run."""
    remove_leftovers(folder, (r"config\.json", r"log\.jsonl", r"snapshot\.safetensors", r"state(\.\d+)?\.pt"))
    remove_leftovers(folder / SAMPLES, (r"[0-9]{9,}\.png", r"[0-9]{9,}\.mp4", r"[0-9]{9,}\.gif"))


def resumable(config: TrainConfig) -> Saved | None:
    """What the folder holds to resume from; None to start from the beginning.

    Raises ValueError if ``resume`` does not match the folder, or its files are damaged or belong to another run.
    """
    folder = Path(config.out)
    states, snapshot = saved_states(folder), folder / SNAPSHOT
    if not config.resume:
        if states or snapshot.exists():
            raise ValueError(f"out: {folder} already holds a run; pass --resume or name another folder")
        return None
    if not states:
        if snapshot.exists():
            raise ValueError(
                f"resume: {folder / STATE} is missing, so that the run of {snapshot.name} cannot go on; name another "
                "folder, and the snapshot with --init, to start from its networks"
            )
        return None
    with resuming(folder / CONFIG) as path:
        saved = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(saved, dict):
            raise TypeError(f"{type(saved).__name__}, expected an object")
    different = differences(config, saved)
    if different:
        raise ValueError(f"resume: {folder} was started with another {described(different)}")
    kept_lines(folder, -1)
    path, state = load_state(folder, config.unit)
    return Saved(saved, state, path)


def kept_lines(folder: Path, pairs: float) -> list[str]:
    """The lines of the log up to ``pairs`` pairs, without a truncated last line."""
    with resuming(folder / LOG) as path:
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        return [line for line in text.split("\n")[:-1] if line and json.loads(line)["pairs"] <= pairs]
