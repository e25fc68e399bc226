"""Files written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Final

_LONGEST_NAME: Final = 255
_LONGEST_SUFFIX: Final = 16
_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_UNWRITABLE: Final = (*_FULL, errno.EROFS)
# Bytes that a probe for a full disk writes: more than may be left in partly filled blocks.
_PROBE: Final = bytes(1 << 16)


def beside(target: Path) -> Path:
    """A hidden name beside a target, with the same suffix, within the length that file systems allow."""
    suffix = target.suffix if len(os.fsencode(target.suffix)) <= _LONGEST_SUFFIX else ""
    mark = f".{secrets.token_hex(4)}.part{suffix}"
    stem = os.fsencode(target.stem)[: _LONGEST_NAME - len(os.fsencode(mark)) - 1]
    # Drops a character that was cut, or that the encoding of names lacks.
    return target.with_name(f".{stem.decode(sys.getfilesystemencoding(), 'ignore')}{mark}")


def why_not_writable(folder: Path) -> str | None:
    """Why files cannot be put into a folder, which need not exist yet, in the system's words; writes nothing."""
    place = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    if not place.is_dir():
        return os.strerror(errno.ENOTDIR)
    if os.access(place, os.W_OK):
        return None
    return os.strerror(errno.EROFS if _is_read_only(place) else errno.EACCES)


def _is_read_only(place: Path) -> bool:
    """Whether a path lies on a file system that is mounted for reading only."""
    return hasattr(os, "statvfs") and bool(os.statvfs(place).f_flag & os.ST_RDONLY)


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Gives an OSError of the block that names no file, as those of writing to an open one, the path."""
    try:
        yield
    except OSError as error:
        if error.filename is not None or error.errno is None:
            raise
        named = OSError(f"{path}: not written, {os.strerror(error.errno).lower()}")
        named.errno = error.errno
        raise named from error


def remove_leftovers(folder: Path, names: Iterable[str]) -> None:
    """Remove files left in a folder (not below it) by killed writers of these names, given as regular expressions.

    Only files with names made by :func:`replacing` count; one that cannot be removed stays.
    """
    stems = [name.rpartition(r"\.") for name in names]
    patterns = [re.compile(rf"\.{stem}\.[0-9a-f]{{8}}\.part\.{suffix}") for stem, _, suffix in stems]
    with contextlib.suppress(OSError):
        for entry in list(os.scandir(folder)):
            if entry.is_file(follow_symlinks=False) and any(pattern.fullmatch(entry.name) for pattern in patterns):
                with contextlib.suppress(OSError):
                    os.unlink(entry.path)


def take_lock(lock: IO[str]) -> None:
    """Locks an open file for this process; without file locking, does nothing.

    Raises BlockingIOError if another process holds the lock.
    """
    try:
        import fcntl
    except ImportError:
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        return


def flush(path: Path) -> None:
    """Waits until the file's contents are on the disk."""
    with open(path, "r+b") as written:  # Windows flushes only files open for writing
        os.fsync(written.fileno())


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A path beside ``path`` (the same suffix) to write to; renamed over it at the end, removed on an error.

    If ``path`` is a symbolic link, its target is replaced.  Raises OSError, naming the path, if the disk is full, or
    the path is a pipe or a device.
    """
    target = Path(os.path.realpath(path)) if os.path.islink(path) else Path(path)
    if target.exists() and not (target.is_file() or target.is_dir()):
        raise OSError(f"{target}: a pipe or a device, which is not replaced by a file")
    target.parent.mkdir(parents=True, exist_ok=True)
    part = beside(target)
    try:
        # Created here with the umask's permissions, since some writers choose their own.
        part.touch()
        mode = part.stat().st_mode & 0o777
        yield part
        # Object stores and CIFS do not support permissions.
        with contextlib.suppress(OSError):
            part.chmod(mode)
        flush(part)
        os.replace(part, target)
    except Exception as error:
        raise_if_full(target, part, error)
        raise
    finally:
        part.unlink(missing_ok=True)


def raise_if_full(target: Path, part: Path, error: Exception) -> None:
    """If a full or read-only disk caused ``error``, raise an OSError that says so, since libraries hide the cause."""
    code = error.errno if isinstance(error, OSError) and error.errno in _UNWRITABLE else _full(part)
    if code is None:
        return
    kept = "; what was there before remains" if target.exists() else ""
    full = OSError(f"{target}: not written, {os.strerror(code).lower()}{kept}")
    full.errno = code
    raise full from error


def _full(part: Path) -> int | None:
    """The errno of failing to write a few more bytes, if the disk or the quota is full."""
    probe = part / "probe" if part.is_dir() else part
    try:
        with open(probe, "ab") as file:
            file.write(_PROBE)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return error.errno if error.errno in _FULL else None
    return None
