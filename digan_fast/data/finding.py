"""What a file or a tree of folders contains: its videos, what was left out, and why."""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from digan_fast import video
from digan_fast.data.packed import Pack, is_pack
from digan_fast.data.sources import Source
from digan_fast.video.pictures import is_image_name

__all__ = ["CACHE", "SPLITS", "TAKES", "Findings", "Source", "find_videos", "survey"]

TAKES: Final = ("videos", "frames")
SPLITS: Final = ("train", "training", "val", "valid", "validation", "dev", "test", "testing")
# What a run's folder contains besides its config.json.
_RUN_FILES: Final = ("state.pt", "log.jsonl", "snapshot.safetensors")
# The folder of features that an evaluation keeps beside the data.
CACHE: Final = ".digan_fast"
# What file systems and archives leave behind, and folders for thumbnails beside videos.
_JUNK: Final = ("__MACOSX", "$RECYCLE.BIN", "System Volume Information", "lost+found", "@eaDir", "#recycle")
_THUMBNAILS: Final = ("thumbs", "thumbnails", "posters")


@dataclass
class Findings:
    """The videos below a root, and a line for each thing left out."""

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
    """The videos at or below ``root``: files, animations and folders of frames, in sorted order; or of a packed file.

    Hidden files and folders, folders of training runs, files and folders already seen (through symbolic links) and
    those in ``but`` are left out.  A folder with videos is not a folder of frames: pictures beside them are left out.

    conditional: the first folder below ``root`` is a video's class.
    split: which of the folders train, val, test, … below ``root`` is the data; ``all`` treats them like other folders.
    take: whether a folder with both pictures and folders of videos gives ``videos`` or ``frames``.

    Raises FileNotFoundError if ``root`` does not exist, ValueError if there is no video, or one outside a class, or if
    the tree is ambiguous; the message names the option that decides.
    """
    root = Path(root)
    if not root.exists():
        raise FileNotFoundError(f"data: {root} does not exist")
    if is_pack(root):
        return _packed(root, conditional, split)
    if take not in (None, *TAKES):
        raise ValueError(f"take: {take!r}, expected one of {', '.join(TAKES)}")
    found = Findings()
    base = _split(root, split, found)
    search = _Search(take, {path.resolve() for path in but}, base if split is None else None, found)
    search.visit(base)
    search.summarise()
    if not search.paths:
        reasons = f" ({'; '.join(found.left_out[:3])})" if found.left_out else ""
        raise ValueError(f"data: no video file and no folder of frames at or below {base}{reasons}")
    for path in search.paths:
        parents = path.relative_to(base).parts[:-1]
        if conditional and not parents:
            raise ValueError(f"data: {path} lies in no class folder, which conditional training needs")
        found.sources.append(Source(path, parents[0] if conditional else None))
    return found


def _packed(path: Path, conditional: bool, split: str | None) -> Findings:
    """The videos of a packed file, by the parts and classes that were found when it was packed."""
    sources = [source for source in Pack(path).sources() if split in (None, "all", source.part)]
    if not sources:
        raise ValueError(f"split: {split!r}, but {path} holds no video of that part")
    unnamed = next((source.path for source in sources if source.label is None), None)
    if conditional and unnamed is not None:
        raise ValueError(f"data: {unnamed} has no class, which conditional training needs; data pack --conditional")
    return Findings([source if conditional else dataclasses.replace(source, label=None) for source in sources])


def _split(root: Path, split: str | None, found: Findings) -> Path:
    """The folder below ``root`` that holds the data."""
    entries = [entry for entry in _listed(root, found) if not _passed_over(entry.name)] if root.is_dir() else []
    inside = [entry.name for entry in entries if _is_folder(entry)]
    splits = _parts(inside)
    if split == "all" or (split is None and not splits):
        return root
    if split is not None:
        if split not in inside:
            raise ValueError(f"split: {split!r}, but {root} holds {', '.join(inside[:10]) or 'no folder'}")
    elif splits == inside and len(splits) == 1 and not any(_may_be_data(entry) for entry in entries):
        (split,) = splits
    else:
        names = ", ".join(splits)
        beside = "" if len(splits) > 1 else " and more beside it"
        raise ValueError(
            f"split: {root} holds {names}{beside}, as the parts of a published set; name the one to use "
            f"(--split {splits[0]}), or take them all as they are (--split all)"
        )
    others = [name for name in splits if name != split]
    if others:
        found.left_out.append(f"{', '.join(others)}: other parts of the set")
    return root / split


def _parts(names: Iterable[str]) -> list[str]:
    """Those of the names that are parts of published data sets."""
    return [name for name in names if name.lower() in SPLITS]


def _may_be_data(entry: os.DirEntry[str]) -> bool:
    return not _is_folder(entry) and (video.is_video(entry.path) or is_image_name(entry.name))


def _passed_over(name: str) -> bool:
    """Whether a file or folder of this name is hidden or junk."""
    return name.startswith(".") or name in _JUNK


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """False for a link to nothing or to itself."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def _listed(folder: Path, found: Findings) -> list[os.DirEntry[str]]:
    """A folder's entries, sorted; empty if it cannot be read, which is recorded."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        found.left_out.append(f"{folder}: it cannot be read: {error.strerror}")
        return []


class _Search:
    """``base``: below it, a folder with several parts of a data set is ambiguous; None if a split was named."""

    def __init__(self, take: str | None, but: set[Path], base: Path | None, found: Findings) -> None:
        self.take = take
        self.but = but
        self.base = base
        self.found = found
        self.paths: list[Path] = []
        self.seen: set[tuple[int, int]] = set()
        self.hidden = 0
        self.others: Counter[str] = Counter()

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

    def summarise(self) -> None:
        """Add lines for what was left out without a line of its own."""
        if self.hidden:
            self.found.left_out.append(f"{self.hidden} hidden or system files and folders")
        if self.others:
            kinds = ", ".join(f"{kind} ({count})" for kind, count in sorted(self.others.items())[:10])
            self.found.left_out.append(f"{self.others.total()} files that are no videos or pictures: {kinds}")

    def _folder(self, path: Path) -> None:
        start = len(self.paths)
        videos: list[Path] = []
        pictures = 0
        entries = _listed(path, self.found)
        shown = [entry for entry in entries if not _passed_over(entry.name)]
        self.hidden += sum(_passed_over(entry.name) and entry.name != CACHE for entry in entries)
        folders = [entry.name for entry in shown if _is_folder(entry)]
        self._check_parts(path, _parts(folders))
        has_videos = any(entry.name not in folders and video.is_video(entry.path) for entry in shown)
        for entry in shown:
            each = Path(entry.path)
            if entry.name in folders:
                if has_videos and entry.name.lower() in _THUMBNAILS:
                    self._leave(each, "thumbnails beside videos")
                else:
                    self.visit(each)
            elif not each.is_file():
                kind = "a link that leads nowhere" if entry.is_symlink() else "a pipe or a device"
                self._leave(each, f"{kind}, expected a file")
            elif video.is_video(each):
                if self._is_new(each):
                    videos.append(each)
                    self.paths.append(each)
            elif is_image_name(each.name):
                pictures += 1
            else:
                self.others[each.suffix.lower() or "no suffix"] += 1
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

    def _check_parts(self, path: Path, parts: list[str]) -> None:
        if self.base is not None and path != self.base and len(parts) > 1:
            raise ValueError(
                f"split: {path} holds {', '.join(parts)}, as the parts of a published set; name {path} as the data and "
                f"the part to use (--split {parts[0]}), or take them all as they are (--split all)"
            )

    def _is_new(self, path: Path) -> bool:
        """Whether this file was not already seen through a symbolic link; hard links count as separate files."""
        status = path.stat()
        number = (status.st_dev, status.st_ino)
        if status.st_nlink == 1 and number in self.seen:
            self._leave(path, "the same file as another, through a symbolic link")
            return False
        self.seen.add(number)
        return True

    def _leave(self, path: Path, reason: str) -> None:
        self.found.left_out.append(f"{path}: {reason}")


def _is_run(folder: Path) -> bool:
    return (folder / "config.json").is_file() and any((folder / name).is_file() for name in _RUN_FILES)
