"""What a run's data are, as its states record it: a run does not go on with others unnoticed."""

from __future__ import annotations

from typing import Any, NamedTuple

from digan_fast.data.finding import Findings
from digan_fast.data.packed import Pack, is_pack
from digan_fast.data.sources import fingerprint
from digan_fast.processes import say
from digan_fast.training.config import TrainConfig


class Identity(NamedTuple):
    """``sha256`` is that of ``what``, the same for every copy of the data; ``path``: where they were."""

    what: str
    sha256: str
    path: str

    def __str__(self) -> str:
        return f"{self.path} (sha256 of its {self.what}: {self.sha256})"


def of_pack(config: TrainConfig, pack: Pack) -> Identity:
    """Of a packed file, its frames; of what was packed into the run's folder, the list of files and their sizes."""
    if is_pack(config.data):
        return _of_frames(config, pack)
    return _of_files(config, pack.record["file_list_sha256"])


def of_found(config: TrainConfig, found: Findings) -> Identity:
    """The same, before anything is decoded."""
    if is_pack(config.data):
        return _of_frames(config, Pack(config.data))
    return _of_files(config, fingerprint(config.data, found.sources)[0])


def check_data(config: TrainConfig, found: Findings, state: dict[str, Any]) -> None:
    """Compares data with those that a state was saved with, if it records them.

    Raises ValueError, its message beginning with ``resume``, if they are others and ``other_data`` does not allow it.
    """
    if "data" not in state:
        return
    before, now = Identity(**state["data"]), of_found(config, found)
    if (before.what, before.sha256) == (now.what, now.sha256):
        return
    if not config.other_data:
        raise ValueError(f"resume: the run read {before}, not {now}; --other-data goes on with these")
    say(f"resume: the run read {before}, from here on it reads {now}")


def _of_frames(config: TrainConfig, pack: Pack) -> Identity:
    return Identity("frames", pack.frames_sha256, str(config.data.absolute()))


def _of_files(config: TrainConfig, sha256: str) -> Identity:
    return Identity("list of files", sha256, str(config.data.absolute()))
