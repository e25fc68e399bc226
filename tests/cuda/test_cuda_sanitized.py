"""Every kernel in the simulator under sanitizers: memory errors, undefined behaviour, races between threads."""

from __future__ import annotations

import os
import subprocess

import builds
import pytest

SANITIZERS = {
    "address and undefined behaviour": ("-fsanitize=address,undefined", "-fno-sanitize-recover=all"),
    "thread": ("-fsanitize=thread",),
}
FLAGS = (builds.optimisation(), "-g1", "-fno-omit-frame-pointer")


@pytest.mark.parametrize("name", SANITIZERS)
def test_finds_nothing(name: str) -> None:
    program = builds.simulated_program((*FLAGS, *SANITIZERS[name]))
    environment = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0", "TSAN_OPTIONS": "halt_on_error=1"}
    done = subprocess.run([str(program)], text=True, capture_output=True, env=environment)
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stdout == "every kernel ran\n"
