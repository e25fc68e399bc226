"""The published data sets as they come: which videos a tree has, of what class and part, and what is missing."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from digan_fast.data.finding import Findings, survey
from digan_fast.data.packed import Pack
from digan_fast.data.sources import ZippedFrames, name_of, opened_zip
from digan_fast.video.pictures import is_image_name
from digan_fast.video.reading import natural

PARTS: Final = ("train", "test", "both")
_LISTS: Final = "ucfTrainTestlist"
# How many names a line shows.
_SHOWN: Final = 3


@dataclass(frozen=True)
class Layout:
    """What is asked of a data set; none of it is guessed from a path.

    name: one of `SETS`.
    part: ``train``, ``test`` or ``both``; None, for sets without parts, is the whole tree.
    lists: the folder of UCF-101's list files; by default the data's, the one beside it, or ucfTrainTestlist in either.
    list_number: which of UCF-101's three splits.
    conditional: for ``folder``, whether the first folder below the data is a video's class.
    take: what a folder with pictures and folders of videos gives; see :func:`digan_fast.data.finding.survey`.
    """

    name: str
    part: str | None = None
    lists: Path | None = None
    list_number: int = 1
    conditional: bool = False
    take: str | None = None

    def find(self, root: Path) -> Findings:
        """The videos in sorted order, their classes and parts, and a line for each thing left out or missing.

        Raises FileNotFoundError if ``root`` does not exist, ValueError for another layout than the set's.
        """
        if self.name not in SETS:
            raise ValueError(f"set: {self.name!r}, expected one of {', '.join(SETS)}")
        if self.part not in (None, *PARTS):
            raise ValueError(f"split: {self.part!r}, expected one of {', '.join(PARTS)}")
        if not root.exists():
            raise FileNotFoundError(f"data: {root} does not exist")
        if self.list_number not in (1, 2, 3):
            raise ValueError(f"list_number: {self.list_number}, expected 1, 2 or 3")
        return SETS[self.name].find(self, root)

    def record(self) -> dict[str, str | int | None]:
        """The choice of a set as plain data."""
        return {
            "set": self.name,
            "split": self.part,
            "list_number": self.list_number if self.name == "ucf101" else None,
        }


@dataclass(frozen=True)
class NamedSet:
    """A set's layout, and DIGAN's clips of it: the step between their frames, and where they begin."""

    find: Callable[[Layout, Path], Findings]
    stride: int = 1
    clips: str = "every"


def _ucf101(layout: Layout, root: Path) -> Findings:
    """Class folders of videos; list files say which part a video belongs to."""
    found = survey(root, True, "all", layout.take)
    parts = {part: _listed(layout, root, f"{part}list0{layout.list_number}.txt") for part in ("train", "test")}
    lists = {name: part for part, names in parts.items() if names is not None for name in names}
    wanted = ("train", "test") if layout.part in (None, "both") else (layout.part,)
    absent = next((f"{part}list0{layout.list_number}.txt" for part in wanted if parts[str(part)] is None), None)
    if absent is not None and layout.lists is not None:
        raise ValueError(f"lists: {layout.lists} has no {absent}")
    if absent is not None and layout.part in ("train", "test"):
        raise ValueError(
            f"lists: no {absent} in {root}, beside it, or in {_LISTS} in either; --lists names their folder"
        )
    if not lists:
        return found
    sources, unlisted, seen = [], [], set()
    for source in found.sources:
        name = name_of(source, root)
        key = name if source.path.is_dir() else name.rpartition(".")[0]
        seen.add(key)
        part = lists.get(key)
        if part is None:
            unlisted.append(name)
        elif part in wanted:
            sources.append(dataclasses.replace(source, part=part))
    missing = [name for name, part in lists.items() if part in wanted and name not in seen]
    for names, what in ((unlisted, "in none of the lists"), (missing, "in the lists, but not here")):
        if names:
            found.left_out.append(f"{len(names)} {what}: {_some(names)}")
    found.sources = sources
    return found


def _listed(layout: Layout, root: Path, name: str) -> list[str] | None:
    """The videos of a list file, without suffixes; None if there is no such file."""
    if layout.lists is not None:
        places = [layout.lists]
    else:
        places = [root, root / _LISTS, root.absolute().parent, root.absolute().parent / _LISTS]
    texts = {place / name: (place / name).read_text("utf-8") for place in places if (place / name).is_file()}
    if len(set(texts.values())) > 1:
        raise ValueError(f"lists: {' and '.join(map(str, texts))} differ; --lists names the folder to use")
    for text in texts.values():
        # A line is `class/video.avi`, followed by the class's number in the lists for training.
        return [line.split()[0].rpartition(".")[0] for line in text.splitlines() if line.strip()]
    return None


def _parts_as_folders(folders: dict[str, tuple[str, ...]], conditional: bool) -> Callable[[Layout, Path], Findings]:
    """A set whose parts are folders, each of the first name that there is."""

    def find(layout: Layout, root: Path) -> Findings:
        whole = Findings()
        for part in ("train", "test") if layout.part in (None, "both") else (layout.part,):
            names = [name for name in folders[str(part)] if (root / name).is_dir()]
            if not names:
                raise ValueError(f"split: {root} has no folder {' or '.join(folders[str(part)])} for {part}")
            found = survey(root / names[0], conditional, "all", layout.take)
            whole.sources += [dataclasses.replace(source, part=part) for source in found.sources]
            whole.left_out += found.left_out
        return whole

    return find


def _folder(layout: Layout, root: Path) -> Findings:
    """Whatever :func:`survey` finds."""
    found = survey(root, layout.conditional, "all" if layout.part == "both" else layout.part, layout.take)
    if layout.part in ("train", "test"):
        found.sources = [dataclasses.replace(source, part=layout.part) for source in found.sources]
    return found


def _stylegan_v(layout: Layout, root: Path) -> Findings:
    """A zip file, or a folder, of one folder of frames for each video; such a file has no parts."""
    if layout.part in ("train", "test"):
        raise ValueError(f"split: {layout.part!r}, but the set stylegan-v has no parts: each has a file of its own")
    if root.is_dir():
        return survey(root, layout.conditional, "all", layout.take)
    frames: defaultdict[str, list[str]] = defaultdict(list)
    others = 0
    for entry in opened_zip(root).infolist():
        folder, _, name = entry.filename.rpartition("/")
        if is_image_name(name) and folder and not any(each.startswith((".", "__MACOSX")) for each in folder.split("/")):
            frames[folder].append(entry.filename)
        elif not entry.is_dir():
            others += 1
    if not frames:
        raise ValueError(f"data: {root}: no folder of frames in this zip file")
    outside = [folder for folder in frames if layout.conditional and "/" not in folder]
    if outside:
        raise ValueError(f"data: {root / outside[0]} lies in no class folder, which conditional training needs")
    found = Findings()
    for folder, names in sorted(frames.items()):
        label = folder.split("/")[0] if layout.conditional else None
        members = tuple(sorted(names, key=natural))
        found.sources.append(ZippedFrames(root / folder, label, archive=root, members=members))
    if others:
        found.left_out.append(f"{others} files that are no frames of a video")
    return found


def _packed(layout: Layout, root: Path) -> Findings:
    """The videos of a packed file, whose parts and classes were found when it was packed."""
    sources = Pack(root).sources()
    wanted = [source for source in sources if layout.part in (None, "both", source.part)]
    if not wanted:
        raise ValueError(f"split: {root} holds no video of {layout.part}")
    return Findings(wanted)


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


SETS: Final[dict[str, NamedSet]] = {
    "ucf101": NamedSet(_ucf101),
    "sky": NamedSet(
        _parts_as_folders({"train": ("sky_train", "train"), "test": ("sky_test", "test", "val")}, False),
        clips="disjoint",
    ),
    "taichi": NamedSet(
        _parts_as_folders({"train": ("train",), "test": ("test",)}, False), stride=4, clips="interleaved"
    ),
    "kinetics-food": NamedSet(
        _parts_as_folders({"train": ("train",), "test": ("val", "test")}, True), clips="disjoint"
    ),
    "stylegan-v": NamedSet(_stylegan_v),
    "folder": NamedSet(_folder),
    "packed": NamedSet(_packed),
}
