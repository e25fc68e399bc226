"""Differences of Windows and macOS, faked: flushing, encodings, spawned processes."""

from __future__ import annotations

import errno
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from digan_fast import Generator, VideoINR
from digan_fast.files import replacing
from digan_fast.networks.config import coordinate_config

fcntl = pytest.importorskip("fcntl", reason="fakes Windows on other systems")


def test_files_are_flushed_where_that_needs_write_access(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed = []

    def commit(descriptor: int) -> None:
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, "Bad file descriptor")
        flushed.append(os.fstat(descriptor).st_size)

    monkeypatch.setattr(os, "fsync", commit)
    with replacing(tmp_path / "a.txt") as beside:
        beside.write_bytes(b"hello")
    assert (tmp_path / "a.txt").read_bytes() == b"hello"
    assert flushed == [5]
    assert list(tmp_path.iterdir()) == [tmp_path / "a.txt"]


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "cp932"])
def test_consoles_of_any_encoding(encoding: str, tmp_path: Path) -> None:
    script = f"""
from digan_fast.cli import main
for words in (["--help"], ["generate", "--help"], ["train", "--help"], ["info"]):
    try:
        code = main(words)
    except SystemExit as done:
        code = done.code
    assert not code, words
assert main(["convert", {str(tmp_path / "夜景é.pkl")!r}, "out.safetensors"]) == 1
"""
    env = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr.decode(encoding, "replace")
    assert ".pkl" in done.stderr.decode(encoding).splitlines()[-1]


def _rendered(inr: VideoINR) -> torch.Tensor:
    return inr.render([0.0, 0.5])


def test_rendering_in_a_spawned_process() -> None:
    cfg = coordinate_config(4, 4, 2)
    generator = Generator(8, 0, 8, 8, synthesis_kwargs={"channel_base": 64, "channel_max": 8}, cfg=cfg)
    inr = generator.inr(torch.randn(1, 8)).detach()
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found = pool.apply(_rendered, (inr,))
    assert torch.equal(found, _rendered(inr))
