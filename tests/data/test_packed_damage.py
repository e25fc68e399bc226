"""Damage of a packed file, found as its frames are read: what is named, and that old files without checksums open."""

from __future__ import annotations

import os
import re
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from small_runs import frame_folder

from digan_fast.data import packed, packing
from digan_fast.data.clips import Clips
from digan_fast.data.finding import survey
from digan_fast.data.packed import FIRST_FRAME, Pack
from digan_fast.data.packing import Preparation

SIDE = 8
ENCODINGS = ["raw", "jpeg"]


def pack_of(tmp_path: Path, encoding: str, frames: int = 20) -> Pack:
    """Two videos, ``a`` and ``b``."""
    for name in ("a", "b"):
        if not (tmp_path / "v" / name).exists():
            frame_folder(tmp_path / "v" / name, frames)
    how = Preparation(SIDE, encoding=encoding)
    out = tmp_path / f"{encoding}.pack"
    return packing.pack(tmp_path / "v", survey(tmp_path / "v"), how, {}, out, progress=False)


def flip(path: Path, at: int) -> None:
    """Inverts a byte, in place."""
    with open(path, "r+b") as file:
        file.seek(at)
        (byte,) = file.read(1)
        file.seek(at)
        file.write(bytes([byte ^ 0xFF]))


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_byte_of_a_frame_counts(tmp_path: Path, encoding: str) -> None:
    """One byte of frame 3 of the second video; the other frames are read as before."""
    found = pack_of(tmp_path, encoding)
    before = found.frames(1, [2, 4])
    begin, end = found._span(23, 24)
    for at in (begin, (begin + end) // 2, end - 1):
        flip(found.path, at)
        with pytest.raises(ValueError, match=rf"{encoding}\.pack/b: frame 3 is damaged: it has another checksum"):
            Pack(found.path).frames(1, [2, 3])
        flip(found.path, at)
    assert torch.equal(Pack(found.path).frames(1, [2, 4]), before)


@pytest.mark.parametrize("whole", [False, True])
def test_training_does_not_see_damaged_frames(tmp_path: Path, whole: bool) -> None:
    found = pack_of(tmp_path, "raw")
    for frame in range(40):
        flip(found.path, FIRST_FRAME + 3 * SIDE**2 * frame + 77)
    with pytest.raises(ValueError, match=r"raw\.pack/[ab]: frame \d+ is damaged"):
        Clips(Pack(found.path), whole=whole).batch(0, 2)


@pytest.mark.parametrize("position", [0, FIRST_FRAME - 1, 2**40, 2**64 - 1])
def test_a_damaged_position_asks_for_no_memory(tmp_path: Path, position: int) -> None:
    found = pack_of(tmp_path, "jpeg")
    with open(found.path, "r+b") as file:
        file.seek(found._positions + 8 * 24)
        file.write(struct.pack("<Q", position))
    with pytest.raises(ValueError, match=r"jpeg\.pack/b: frame 3 is damaged: bytes \d+ to \d+ are no part of the file"):
        Pack(found.path).frames(1, [3])


def _overwritten(path: Path) -> None:
    path.write_bytes(os.urandom(path.stat().st_size))


def _shortened(path: Path) -> None:
    os.truncate(path, 200)


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("change", [_overwritten, _shortened])
def test_a_file_that_is_written_to_while_it_is_open_is_named(
    tmp_path: Path, encoding: str, change: Callable[[Path], None]
) -> None:
    found = pack_of(tmp_path, encoding)
    os.utime(found.path, (1, 1))
    found = Pack(found.path)
    change(found.path)
    why = f"; {encoding}.pack was written to or cut off after it was opened"
    with pytest.raises((ValueError, OSError), match=rf"{encoding}\.pack/b: frame 19 .*{re.escape(why)}"):
        found.frames(1, [19])


@pytest.mark.parametrize("checksums", [True, False])
def test_another_packed_file_of_the_same_size_written_over_it_is_not_read(tmp_path: Path, checksums: bool) -> None:
    """As cp and rsync --inplace do; the frames of the other have checksums that fit them."""
    first, other = pack_of(tmp_path, "raw").path.rename(tmp_path / "first.pack"), tmp_path / "other.pack"
    for frame in sorted((tmp_path / "v").rglob("*.png")):
        picture = Image.open(frame).transpose(Image.Transpose.ROTATE_180)
        picture.save(frame)
    pack_of(tmp_path, "raw").path.rename(other)
    os.utime(first, (1, 1))
    found = Pack(first)
    if not checksums:
        found._checksums = None
    before = found.frames(1, [3])
    assert not torch.equal(Pack(other).frames(1, [3]), before)
    os.utime(first, (2, 2))
    assert torch.equal(found.frames(1, [3]), before)
    shutil.copyfile(other, first)
    for _ in range(2):
        with pytest.raises(
            ValueError, match=r"first\.pack: another packed file was written over it after it was opened"
        ):
            found.frames(1, [3])


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_files_without_checksums_of_frames(tmp_path: Path, encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As earlier versions wrote them: the index does not say where they are."""
    new = pack_of(tmp_path, encoding)
    dumps = packed.json.dumps

    def without(plain: object) -> str:
        if isinstance(plain, dict):
            plain = {key: value for key, value in plain.items() if key not in ("checksums_at", "broken")}
        return dumps(plain)

    monkeypatch.setattr(packed.json, "dumps", without)
    new.path.rename(tmp_path / "new.pack")
    old = pack_of(tmp_path, encoding)
    assert old._checksums is None
    assert old.broken == []
    assert torch.equal(old.frames(1, range(20)), Pack(tmp_path / "new.pack").frames(1, range(20)))
    assert old.frames_sha256 == new.frames_sha256
    flip(old.path, (FIRST_FRAME + old._span(0, 1)[1]) // 2)
    with pytest.raises(ValueError, match=r"\.pack/a: (damaged, its frames have another checksum|frame 0 is damaged)"):
        list(old.sources()[0].frames())
