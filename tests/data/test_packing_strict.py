"""Packing of which every video must be read: what it keeps when one cannot be, and what it accepts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from small_runs import frame_folder

from digan_fast.data import packing
from digan_fast.data.layouts import Layout
from digan_fast.data.packed import Pack
from digan_fast.data.packing import Preparation


def pack(root: Path, out: Path, **options: Any) -> Pack:
    chosen = Layout("folder")
    return packing.pack(root, chosen.find(root), Preparation(8), chosen.record(), out, progress=False, **options)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of the videos that are decoded."""
    found: list[int] = []
    decode = packing._decoded

    def noted(task: Any, **rest: Any) -> Any:
        found.append(task[0])
        return decode(task, **rest)

    monkeypatch.setattr(packing, "_decoded", noted)
    return found


def three(tmp_path: Path, broken: int) -> Path:
    """Three videos of five frames, one of which is broken."""
    for index in range(3):
        frame_folder(tmp_path / "v" / str(index), 5)
    (tmp_path / "v" / str(broken) / "00001.png").write_bytes(b"no picture")
    return tmp_path / "v"


def test_strict_removes_nothing_of_a_packing_that_was_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for index in range(3):
        frame_folder(tmp_path / "v" / str(index), 5)
    (tmp_path / "v" / "0" / "00001.png").write_bytes(b"no picture")
    monkeypatch.setattr(packing, "_JOURNAL", 0.0)
    decoded = packing._decoded

    def stopping(task: Any, **rest: Any) -> Any:
        if task[0] == 2:
            raise KeyboardInterrupt
        return decoded(task, **rest)

    monkeypatch.setattr(packing, "_decoded", stopping)
    with pytest.raises(KeyboardInterrupt):
        pack(tmp_path / "v", tmp_path / "v.pack")
    monkeypatch.setattr(packing, "_decoded", decoded)
    work = tmp_path / ".v.pack.packing"
    before = {name: (work / name).read_bytes() for name in ("frames", "journal")}
    with pytest.raises(ValueError, match=r"data: .*00001\.png"):
        pack(tmp_path / "v", tmp_path / "v.pack", strict=True)
    assert {name: (work / name).read_bytes() for name in before} == before
    assert pack(tmp_path / "v", tmp_path / "v.pack").frame_count == 10


def test_what_was_packed_before_a_broken_video_is_kept(tmp_path: Path, decoded: list[int]) -> None:
    """Once the video is repaired, the same command goes on with it."""
    root = three(tmp_path, broken=2)
    for _ in range(2):
        with pytest.raises(ValueError, match=r"data: .*00001\.png"):
            pack(root, tmp_path / "v.pack", strict=True)
    assert decoded == [0, 1, 2, 2]
    (root / "2" / "00000.png").rename(tmp_path / "sound.png")
    (root / "2" / "00001.png").unlink()
    (tmp_path / "sound.png").rename(root / "2" / "00000.png")
    assert pack(root, tmp_path / "v.pack", strict=True).frame_count == 14
    assert decoded == [0, 1, 2, 2, 2]
    assert not list(tmp_path.glob(".*"))
    assert pack(root, tmp_path / "other.pack").path.read_bytes() == (tmp_path / "v.pack").read_bytes()


def test_without_strict_it_goes_on_where_strict_stopped(tmp_path: Path, decoded: list[int]) -> None:
    root = three(tmp_path, broken=1)
    with pytest.raises(ValueError, match=r"data: .*00001\.png"):
        pack(root, tmp_path / "v.pack", strict=True)
    assert pack(root, tmp_path / "v.pack").frame_count == 10
    assert decoded == [0, 1, 1, 2]


def test_nothing_is_left_if_the_first_video_is_broken(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"data: .*00001\.png"):
        pack(three(tmp_path, broken=0), tmp_path / "v.pack", strict=True)
    assert not list(tmp_path.glob(".*"))


def test_strict_does_not_accept_what_was_packed_without_a_video(tmp_path: Path) -> None:
    root = three(tmp_path, broken=1)
    found = pack(root, tmp_path / "v.pack")
    assert len(found.broken) == 1
    with pytest.raises(ValueError, match=r"data: .*00001\.png.*; .*v\.pack was packed without it"):
        pack(root, tmp_path / "v.pack", strict=True)
    assert pack(root, tmp_path / "v.pack").frame_count == 10


def test_a_changed_video_is_packed_again_and_those_after_it(
    tmp_path: Path, decoded: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = three(tmp_path, broken=2)
    with pytest.raises(ValueError, match=r"data: .*00001\.png"):
        pack(root, tmp_path / "v.pack", strict=True)
    (root / "1" / "00004.png").unlink()
    assert pack(root, tmp_path / "v.pack").frame_count == 9
    assert decoded == [0, 1, 2, 1, 2]
