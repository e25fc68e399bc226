"""Ctrl-C in the middle of a long stream."""

import os
import signal
import subprocess
import sys
import time

import pytest
from waiting import LIMIT, until

# A shell without job control starts its background jobs with SIGINT ignored.
SCRIPT = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from digan_fast.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("name", ["a.mp4", "a.gif", "a"])
def test_an_interrupt_leaves_nothing(snapshots, tmp_path, name):
    words = ["generate", snapshots["plain"], "--frames", "100000", "--out", tmp_path / name]
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    until(lambda: os.listdir(tmp_path), process)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=LIMIT)
    assert (process.returncode, out, err) == (130, "", "digan-fast: interrupted\n")
    assert os.listdir(tmp_path) == []
