"""Atomic file replacement on file systems that differ in links, permissions and names."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from digan_fast.files import replacing


def test_writing_through_a_link_replaces_its_target(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    (tmp_path / "link").symlink_to("a")
    with replacing(tmp_path / "link") as part:
        part.write_text("new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "a").read_text() == "new"
    (tmp_path / "dangling").symlink_to("b")
    with replacing(tmp_path / "dangling") as part:
        part.write_text("new")
    assert (tmp_path / "b").read_text() == "new"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_a_pipe_is_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.gif")
    with pytest.raises(OSError, match=r"a\.gif: a pipe or a device"), replacing(tmp_path / "a.gif"):
        raise AssertionError("the file must not be opened")
    assert (tmp_path / "a.gif").is_fifo()
    assert len(list(tmp_path.iterdir())) == 1


def test_mounts_without_permissions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "chmod", refused)
    monkeypatch.setattr(Path, "chmod", refused)
    with replacing(tmp_path / "a") as part:
        part.write_text("new")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("length", [1, 240, 241, 250, 255])
@pytest.mark.parametrize("character", ["x", "é", "夜"])
def test_names_of_maximal_length(tmp_path: Path, length: int, character: str) -> None:
    target = tmp_path / (character * (length // len(character.encode())) or "x")
    with replacing(target) as part:
        part.write_text("new")
    assert target.read_text() == "new"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_an_error_that_names_the_file(tmp_path: Path, code: int) -> None:
    (tmp_path / "a").write_text("old")
    with (
        pytest.raises(OSError, match=r"a: not written, .*; what was there before remains") as caught,
        replacing(tmp_path / "a"),
    ):
        raise OSError(code, os.strerror(code))
    assert caught.value.errno == code
    assert (tmp_path / "a").read_text() == "old"
    with pytest.raises(ValueError, match="other"), replacing(tmp_path / "a"):
        raise ValueError("other")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
