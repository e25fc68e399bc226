"""A reader of the output that ends early, such as ``head``."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from digan_fast.cli import main


def unread(streams: str, unbuffered: str, *words: str) -> tuple[int, str]:
    """The exit code of a command whose ``streams`` nobody reads, and what it wrote to stderr if somebody does."""
    reader, writer = os.pipe()
    os.close(reader)
    pipes = {name: writer if name in streams else subprocess.PIPE for name in ("stdout", "stderr")}
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    process = subprocess.Popen([sys.executable, "-m", "digan_fast", *words], **pipes, text=True, env=environment)  # type: ignore[call-overload]
    os.close(writer)
    _, errors = process.communicate()
    return process.returncode, errors or ""


# Unbuffered, the write fails; otherwise the flush at the end does.
@pytest.mark.skipif(not hasattr(signal, "SIGPIPE"), reason="no SIGPIPE")
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("words", [("--help",), ("curves", "--help"), ("info",)])
def test_output_that_nobody_reads_ends_the_command_silently(unbuffered: str, words: tuple[str, ...]) -> None:
    assert unread("stdout", unbuffered, *words) == (128 + signal.SIGPIPE, "")


@pytest.mark.skipif(not hasattr(signal, "SIGPIPE"), reason="no SIGPIPE")
def test_a_complaint_that_nobody_reads() -> None:
    assert unread("stdout stderr", "", "no-command")[0] == 128 + signal.SIGPIPE


def test_another_broken_pipe_is_an_error(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Such as that of a process that a command has started."""

    def broken(*_: object) -> None:
        raise BrokenPipeError("the decoder ended")

    monkeypatch.setattr("digan_fast.cli.curves.plot", broken)
    assert main(["curves", "."]) == 1
    assert "error: the decoder ended" in capsys.readouterr().err
