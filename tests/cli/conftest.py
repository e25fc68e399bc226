"""Tiny generators on disk, and the command line in this process."""

import subprocess
import sys

import pytest
import torch

from digan_fast import snapshot
from digan_fast.cli import main
from digan_fast.networks import Generator
from digan_fast.networks.config import coordinate_config


def tiny(**changes):
    """The smallest generator of 16×16 pictures."""
    torch.manual_seed(0)
    arguments = {
        "z_dim": 16,
        "w_dim": 16,
        "img_resolution": 16,
        "mapping_kwargs": {"num_layers": 1},
        "synthesis_kwargs": {"channel_base": 128, "channel_max": 8},
        "cfg": coordinate_config(8, sinusoids=4, rank=2, max_side=16),
        **changes,
    }
    generator = Generator(**arguments).eval()
    if generator.mapping.w_avg_beta is not None:
        generator.mapping.w_avg.normal_()
    return generator


@pytest.fixture(scope="session")
def generator():
    return tiny()


@pytest.fixture(scope="session")
def snapshots(tmp_path_factory, generator):
    """Paths: plain, with classes, without an INR, without a mean of w, without averaged weights, with w of size 512."""
    folder = tmp_path_factory.mktemp("snapshots")
    networks = {
        "plain": {"G_ema": generator},
        "classes": {"G_ema": tiny(c_dim=3)},
        "no_inr": {"G_ema": tiny(synthesis_kwargs={"channel_base": 128, "channel_max": 8, "architecture": "orig"})},
        "no_mean": {"G_ema": tiny(mapping_kwargs={"num_layers": 1, "w_avg_beta": None})},
        "raw": {"G": generator},
        "wide": {"G_ema": tiny(w_dim=512)},
    }
    for name, parts in networks.items():
        snapshot.save(folder / f"{name}.safetensors", parts)
    return {name: folder / f"{name}.safetensors" for name in networks}


@pytest.fixture
def run(capsys):
    """A function that runs a command line and returns (exit code, stdout, stderr)."""

    def call(*words):
        capsys.readouterr()
        code = main([str(word) for word in words])
        return (code, *capsys.readouterr())

    return call


@pytest.fixture
def failing(run):
    """A function that runs a command line, checks its exit code, and returns its single line of stderr."""

    def call(expected, *words):
        code, out, err = run(*words)
        assert (code, out) == (expected, "")
        assert err.count("\n") == 1
        assert "Traceback" not in err
        return err

    return call


MEMORY = """
import resource, sys
from digan_fast.cli import main
assert main(sys.argv[1:]) == 0
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.fixture
def peak_memory():
    """A function that runs a command line in its own process and returns its peak memory in MiB."""

    def call(*words):
        command = [sys.executable, "-c", MEMORY, *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return int(done.stdout.split()[-1])

    return call
