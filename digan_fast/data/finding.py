"""What a file or a tree of folders holds: its videos, what was left out, and why."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from digan_fast import video
from digan_fast.video.pictures import is_image_name

TAKES: Final = ("videos", "frames")
SPLITS: Final = ("train", "training", "val", "valid", "validation", "dev", "test", "testing")
# What a run's folder holds besides its config.json.
_RUN_FILES: Final = ("state.pt", "log.jsonl", "snapshot.safetensors")
_JUNK: Final = ("__MACOSX",)


@dataclass(frozen=True)
class Source:
    """One video on disk, and the name of its class where the tree has classes."""

    path: Path
    label: str | None


@dataclass
class Findings:
    """The videos below a root, and a line on each thing that was left out."""

    sources: list[Source] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def find_videos(
    root: str | os.PathLike[str], conditional: bool = False, split: str | None = None, take: str | None = None
) -> list[Source]:
    """The videos at or below ``root``, in sorted order; see :func:`survey`."""
    return survey(root, conditional, split, take).sources


def survey(
    root: str | os.PathLike[str],
    conditional: bool = False,
    split: str | None = None,
    take: str | None = None,
    but: Iterable[Path] = (),
) -> Findings:
    """The videos at or below ``root``: files, animations and folders of frames, in sorted order.

    Hidden files and folders, folders of training runs, folders that were seen already (through symbolic links) and
    those of ``but`` are left out.  A folder with videos is none of frames: pictures beside them are left out.

    conditional: the first folder below ``root`` is a video's class.
    split: which of the folders train, val, test, … below ``root`` is the data; ``all`` takes them as other folders.
    take: whether a folder with pictures and with folders of videos gives ``videos`` or ``frames``.

    Raises FileNotFoundError where there is nothing at ``root``, ValueError where there is no video, or one outside a
    class, or where it is ambiguous what is meant; the message names the option that decides.
    """
    root = Path(root)
    if not root.exists():
        raise FileNotFoundError(f"data: {root} does not exist")
    if take not in (None, *TAKES):
        raise ValueError(f"take: {take!r}, expected one of {', '.join(TAKES)}")
    search = _Search(take, {path.resolve() for path in but})
    base = _split(root, split, search.found)
    search.visit(base)
    found = search.found
    if not search.paths:
        reasons = f" ({'; '.join(found.left_out[:3])})" if found.left_out else ""
        raise ValueError(f"data: no video file and no folder of frames at or below {base}{reasons}")
    for path in search.paths:
        parents = path.relative_to(base).parts[:-1]
        if conditional and not parents:
            raise ValueError(f"data: {path} lies in no class folder, which conditional training needs")
        found.sources.append(Source(path, parents[0] if conditional else None))
    return found


def _split(root: Path, split: str | None, found: Findings) -> Path:
    """The folder below ``root`` that holds the data."""
    inside = sorted(entry.name for entry in _listed(root, found) if entry.is_dir()) if root.is_dir() else []
    splits = [name for name in inside if name.lower() in SPLITS]
    if split == "all" or (split is None and not splits):
        return root
    if split is not None:
        if split not in inside:
            raise ValueError(f"split: {split!r}, but {root} holds {', '.join(inside[:10]) or 'no folder'}")
    elif len(splits) == len([name for name in inside if not name.startswith(".")]) == 1:
        (split,) = splits
    else:
        names = ", ".join(splits)
        raise ValueError(
            f"split: {root} holds {names}, the parts of a published set; name the one to use (--split {splits[0]}), "
            "or take them all as they are (--split all)"
        )
    others = [name for name in splits if name != split]
    if others:
        found.left_out.append(f"{', '.join(others)}: other parts of the set")
    return root / split


def _listed(folder: Path, found: Findings) -> list[os.DirEntry[str]]:
    """What is in a folder, sorted, without hidden things; nothing where it cannot be read, which is noted."""
    try:
        with os.scandir(folder) as entries:
            shown = [entry for entry in entries if not entry.name.startswith(".") and entry.name not in _JUNK]
    except OSError as error:
        found.left_out.append(f"{folder}: it cannot be read: {error.strerror}")
        return []
    return sorted(shown, key=lambda entry: entry.name)


class _Search:
    def __init__(self, take: str | None, but: set[Path]) -> None:
        self.take = take
        self.but = but
        self.paths: list[Path] = []
        self.found = Findings()
        self.seen: set[tuple[int, int]] = set()

    def visit(self, path: Path) -> None:
        if path.is_file():
            if video.is_video(path):
                self.paths.append(path)
            return
        try:
            status = path.stat()
        except OSError as error:
            self._leave(path, f"it cannot be read: {error.strerror}")
            return
        if (status.st_dev, status.st_ino) in self.seen:
            self._leave(path, "the same folder as another, through a symbolic link")
            return
        self.seen.add((status.st_dev, status.st_ino))
        if path.resolve() in self.but or _is_run(path):
            self._leave(path, "the folder of a training run")
            return
        self._folder(path)

    def _folder(self, path: Path) -> None:
        start = len(self.paths)
        videos: list[Path] = []
        pictures = 0
        for entry in _listed(path, self.found):
            each = Path(entry.path)
            if entry.is_dir():
                self.visit(each)
            elif video.is_video(each):
                videos.append(each)
                self.paths.append(each)
            else:
                pictures += is_image_name(each.name)
        below = [each for each in self.paths[start:] if each not in videos]
        if not pictures:
            return
        if self.take == "frames" or not (videos or below):
            if videos or below:
                self._leave(path, f"{len(videos) + len(below)} videos beside and below its frames")
            self.paths[start:] = [path]
        elif videos or pictures == 1 or self.take == "videos":
            beside = "videos" if videos else "folders of videos"
            self._leave(path, f"{pictures} {'picture' if pictures == 1 else 'pictures'} beside {beside}")
        else:
            raise ValueError(
                f"take: {path} holds {pictures} pictures, and below it are {len(below)} videos such as {below[0]}; "
                "--take frames reads the pictures as one video, --take videos leaves them out"
            )

    def _leave(self, path: Path, reason: str) -> None:
        self.found.left_out.append(f"{path}: {reason}")


def _is_run(folder: Path) -> bool:
    return (folder / "config.json").is_file() and any((folder / name).is_file() for name in _RUN_FILES)
