"""Options shared by the commands that read whole data sets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from digan_fast.cli.errors import UsageError
from digan_fast.cli.options import OWN_DEFAULT
from digan_fast.cli.presentation import GivenPath, MaybePath

if TYPE_CHECKING:
    from digan_fast.data.layouts import Layout

_SETS = Literal["ucf101", "sky", "taichi", "kinetics-food", "stylegan-v", "folder", "packed"]


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """Which videos."""

    data: Annotated[tyro.conf.Positional[GivenPath], tyro.conf.arg(metavar="DIR")]
    """The data set: a folder, or a zip file (stylegan-v) or a packed one."""
    set: Annotated[_SETS, tyro.conf.arg(name="set")]
    """How it is laid out, as published; `folder`: any tree of videos and folders of frames;
    `packed`: a file of digan-fast data pack."""
    split: Annotated[Literal["train", "test", "both"] | None, OWN_DEFAULT] = None
    """The part to use, by the set's lists or folders; default: both, or all of a set without parts."""
    lists: Annotated[MaybePath, OWN_DEFAULT] = None
    """ucf101: folder of trainlist01.txt and testlist01.txt; default: DIR or beside it, or
    ucfTrainTestlist in either."""
    list_number: int = 1
    """ucf101: which of the three splits, 1 to 3."""
    conditional: bool = False
    """folder, stylegan-v: the first folder below DIR is a video's class; other sets have their own."""
    take: Annotated[Literal["videos", "frames"] | None, OWN_DEFAULT] = None
    """What to read from a folder that has both pictures and folders of videos."""
    shortest: Annotated[int | None, OWN_DEFAULT] = None
    """Frames that a video needs; default: those of a clip of 16, as DIGAN trains on the set (taichi:
    61, since its clips take every fourth frame)."""
    workers: Annotated[int | None, OWN_DEFAULT] = None
    """Processes that decode; 0: none but this one; default: one per processor, 16 at most."""

    def layout(self) -> Layout:
        from digan_fast.data.layouts import Layout

        return Layout(self.set, self.split, self.lists, self.list_number, self.conditional, self.take)

    def least_frames(self) -> int:
        from digan_fast.data.layouts import SETS

        return 15 * SETS[self.set].stride + 1 if self.shortest is None else self.shortest

    def processes(self) -> int:
        from digan_fast.data.workers import default_workers

        return default_workers() if self.workers is None else self.workers

    def check(self) -> None:
        """Raises UsageError for numbers out of bounds."""
        for name, least, most in (("shortest", 1, 10**9), ("workers", 0, 1024)):
            value = getattr(self, name)
            if value is not None and not least <= value <= most:
                raise UsageError(f"--{name}: {value}, expected {least} to {most}")
        if self.list_number not in (1, 2, 3):
            raise UsageError(f"--list-number: {self.list_number}, expected 1, 2 or 3")
        if self.set != "ucf101" and self.lists is not None:
            raise UsageError(f"--lists: the set {self.set} has no list files")
        if self.conditional and self.set not in ("folder", "stylegan-v"):
            raise UsageError(f"--conditional: the set {self.set} has its own classes, or none")


def option_names(kind: type) -> set[str]:
    """The fields of an options class that are not positional."""
    import dataclasses

    return {field.name for field in dataclasses.fields(kind)} - {"data"}
