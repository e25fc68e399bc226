"""Native calls from several threads at once, after a fork, and interrupted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import random_inrs
import torch
from random_inrs import SMALL, native, random_inr
from torch import Tensor

from digan_fast import backends, functional, use_backend

pytestmark = pytest.mark.skipif(backends()["native"] is not None, reason="the compiled module was not built")

PATH = [str(Path(__file__).resolve().parent), str(Path(random_inrs.__file__).resolve().parent)]
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
# Processes that hang are killed after this many seconds; one takes a few, ten times as long under a sanitizer.
LIMIT = 120.0


def rendering(seed: int, precision: str = "float32") -> Callable[[], list[Tensor]]:
    levels = random_inr(2, 3, SMALL, seed=seed)
    return lambda: [native(levels, 64, (-3, 2, 40, 50), precision)]


def step(seed: int) -> Callable[[], list[Tensor]]:
    """Forward and backward of every op used in training."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator).requires_grad_()

    grid = (16, 1, 2, 11, 9)
    base, frequency, phase = normal(2, 2, 6, 5, 12), normal(2, 7, 2), normal(2, 2, 7)
    weight, left, right = normal(12, 14), normal(2, 12, 3), normal(2, 3, 14)
    second, bias = normal(2, 20, 12), normal(20)
    taps = torch.outer(*[torch.tensor([1.0, 3.0, 3.0, 1.0])] * 2)
    probe = torch.randn(4, 20, 5, 4, generator=generator)
    leaves = [base, frequency, phase, weight, left, right, second, bias]

    def run() -> list[Tensor]:
        own = functional.fmm_weights(weight, left, right)
        x = functional.coord_linear(base, frequency, phase, own, None, grid, "lrelu")
        x = functional.linear_act(x, second, bias, "sine")
        x = x.flatten(0, 1).movedim(-1, 1).contiguous(memory_format=torch.channels_last)
        x = functional.upfirdn2d(functional.bias_act(x, bias, 1, "swish"), taps, down=2, padding=[1, 1, 1, 1])
        return [x.detach(), *torch.autograd.grad((x * probe).sum(), leaves)]

    return run


def same(found: list[Tensor], expected: list[Tensor]) -> bool:
    """Compared with NumPy: in a forked child torch's loops over large tensors wait for the parent's threads."""
    return all(np.array_equal(a.numpy(), b.numpy()) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("inner", [1, 3])
def test_calls_from_several_threads_are_bit_identical(inner: int) -> None:
    before = torch.get_num_threads()
    works = [rendering(0), rendering(1, "bfloat16"), step(2), rendering(0), step(3), step(2)]
    try:
        torch.set_num_threads(inner)
        with use_backend("native"):
            expected = [work() for work in works]
            ready = threading.Barrier(len(works))

            def repeated(index: int) -> bool:
                torch.set_num_threads(inner)
                ready.wait()
                return all(same(works[index](), expected[index]) for _ in range(5))

            with ThreadPoolExecutor(len(works)) as pool:
                assert all(pool.map(repeated, range(len(works))))
    finally:
        torch.set_num_threads(before)


def test_threads_share_one_inr() -> None:
    """Several threads read the same weights and the same coordinate network."""
    levels = random_inr(1, 4, SMALL)
    weights = [torch.randn(2, 30, 2), torch.randn(2, 3, 30)]
    points = torch.rand(300, 2)

    def work(_: int = 0) -> list[Tensor]:
        return [native(levels, 32), functional.coord_mlp(points, functional.mlp_layers(weights, omega=3.0))]

    with use_backend("native"), ThreadPoolExecutor(4) as pool:
        expected = work()
        assert all(same(found, expected) for found in pool.map(work, range(16)))


def run_script(text: str) -> tuple[int, str]:
    """Runs a program, with the names of this file, in its own process; its exit status and output."""
    program = f"import sys\nsys.path[:0] = {PATH!r}\nfrom test_concurrency import *\n{textwrap.dedent(text)}"
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=LIMIT)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        pytest.fail(f"it hangs: {process.communicate()[0]}")
    return process.returncode, output


@needs_fork
def test_a_forked_child_renders_and_trains() -> None:
    """A child does not inherit its parent's threads; OpenMP, and so torch's operations, would wait for them forever."""
    status, output = run_script(
        """
        torch.set_num_threads(3)
        works = [rendering(0), rendering(1, "bfloat16"), step(2)]
        with use_backend("native"):
            expected = [work() for work in works]
            child = os.fork()
            if child == 0:
                found = [work() for work in works]
                os._exit(0 if all(map(same, found, expected)) and torch.get_num_threads() == 1 else 1)
            status = os.waitpid(child, 0)[1]
            assert os.waitstatus_to_exitcode(status) == 0, status
            assert all(same(work(), before) for work, before in zip(works, expected))
            assert torch.get_num_threads() == 3
        print("fine")
        """
    )
    assert (status, output[-5:]) == (0, "fine\n"), output


@needs_fork
def test_a_fork_while_other_threads_compute() -> None:
    status, output = run_script(
        """
        torch.set_num_threads(2)
        work, stop = rendering(0), threading.Event()
        expected = work()

        def busy():
            while not stop.is_set():
                work()

        threads = [threading.Thread(target=busy) for _ in range(2)]
        for thread in threads:
            thread.start()
        for _ in range(5):
            child = os.fork()
            if child == 0:
                os._exit(0 if same(work(), expected) else 1)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        stop.set()
        for thread in threads:
            thread.join()
        print("fine")
        """
    )
    assert (status, output[-5:]) == (0, "fine\n"), output


FORKED_POOL = """
import multiprocessing

def child(seed):
    with use_backend("native"):
        return [t.numpy() for t in (*rendering(seed)(), *step(seed)())]

torch.set_num_threads(2)
with use_backend("native"):
    expected = [[t.numpy() for t in (*rendering(seed)(), *step(seed)())] for seed in range(3)]
with multiprocessing.get_context("fork").Pool(2) as pool:
    found = pool.map(child, range(3))
assert all((a == b).all() for mine, theirs in zip(expected, found) for a, b in zip(mine, theirs))
print("fine")
"""


@needs_fork
def test_workers_of_multiprocessing() -> None:
    status, output = run_script(FORKED_POOL)
    assert (status, output[-5:]) == (0, "fine\n"), output


LONG_RENDERING = """
from dataclasses import replace

levels = random_inr(1, 1, ((2, (8,)), (2, (8,))), 64)
large = [replace(level, side=level.side * 512) for level in levels]

def call():
    # Two thousand chunks, each a poll for signals: about a minute.
    native(large, 65536, (0, 0, 8192, 4096))
"""
LONG_STREAM = """
from dataclasses import replace

from digan_fast.inr import Coordinates, Motion, VideoINR

levels = random_inr(1, 1, ((2, (8,)), (2, (8,))), 64)
vector, square = torch.ones(1, 2), torch.ones(2, 2)
motion = Motion(vector, vector, square, vector[0], square, vector[0])
inr = VideoINR(tuple(replace(level, coordinates=Coordinates(level.frequency, motion)) for level in levels))

def call():
    for frame in inr.frames(torch.linspace(0, 1, 1_000_000)):
        pass
"""

LONG_NETWORK = """
from digan_fast import CoordMLP

network, points = CoordMLP(2, 1, 256, 200), torch.rand(1 << 24, 2)

@torch.no_grad()
def call():
    # One sample: minutes.
    network(points)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="there are no timers that send signals")
@pytest.mark.parametrize("setting", [LONG_RENDERING, LONG_STREAM, LONG_NETWORK], ids=["render", "stream", "coord_mlp"])
@pytest.mark.parametrize("threads", [1, 2])
def test_ctrl_c_interrupts(setting: str, threads: int) -> None:
    """SIGINT half a second into a long call; subsequent renderings are correct."""
    status, output = run_script(
        f"torch.set_num_threads({threads})\n{setting}"
        """
small = rendering(0)
expected = small()
# A shell without job control starts its background jobs with SIGINT ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
timer.start()
try:
    call()
except KeyboardInterrupt:
    print("interrupted")
else:
    raise SystemExit("the call ran to its end")
timer.join()
assert same(small(), expected)
print("fine")
"""
    )
    assert (status, output[-5:]) == (0, "fine\n"), output
    assert "interrupted\n" in output
