"""Forked processes compute without waiting for OpenMP's threads, which a fork does not copy."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SCRIPT = """
import multiprocessing, os, signal, sys
import torch
torch.set_num_threads(2)
from digan_fast import functional, load
from digan_fast.snapshot import shipped

G = load(shipped()).G_ema
z, x, weight = torch.randn(2, G.z_dim), torch.randn(4, 5000, 256), torch.randn(4, 256, 256)
inr = G.inr(z, None, torch.zeros(2, G.w_dim))

def compute():
    made = G.mapping(z, None)
    return inr.render([0.0, 0.5]), functional.linear_act(x, weight), made

wanted = compute()

class Data(torch.utils.data.Dataset):
    def __len__(self): return 4
    def __getitem__(self, index): return inr.render([0.0, 0.5])[0]

def child():
    signal.alarm(60)
    for found, expected in zip(compute(), wanted):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    print("the child is fine", flush=True)

if sys.argv[1] == "fork":
    pid = os.fork()
    if pid == 0:
        child()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
elif sys.argv[1] == "multiprocessing":
    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join()
    assert process.exitcode == 0
elif sys.argv[1] == "threads":
    pid = os.fork()
    if pid == 0:
        signal.alarm(60)
        torch.set_num_threads(2)
        try:
            inr.render([0.0, 0.5])
        except RuntimeError as error:
            assert "2 threads in a forked process" in str(error)
            os._exit(0)
        os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0
else:
    for found in torch.utils.data.DataLoader(Data(), num_workers=2, multiprocessing_context="fork"):
        torch.testing.assert_close(found[0], wanted[0][0], rtol=1e-4, atol=1e-4)
for found, expected in zip(compute(), wanted):
    assert torch.equal(found, expected)
assert torch.get_num_threads() == 2
print("the parent is fine")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.parametrize("how", ["fork", "multiprocessing", "loader", "threads"])
def test_a_forked_process_computes(how: str) -> None:
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT, how]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("the parent is fine\n")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_process_forked_before_any_threads_started_uses_threads() -> None:
    script = """
import os, signal, torch
from digan_fast import functional
pid = os.fork()
if pid == 0:
    signal.alarm(60)
    torch.set_num_threads(2)
    functional.linear_act(torch.randn(4, 5000, 256), torch.randn(4, 256, 256))
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},  # NumPy's threads start when it is imported
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
