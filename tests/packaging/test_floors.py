"""The lowest versions allowed by pyproject.toml work together; torch's floor is tested by `make compatibility`."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from installs import ROOT, environment, install, new_python, run
from resolution import uv

pytestmark = pytest.mark.packaging

# Everything that reads, writes and parses: videos, pictures, YAML, snapshots, options, plots.
TESTS = (
    *("tests/cli/test_arguments.py", "tests/cli/test_generate.py", "tests/cli/test_train.py"),
    *("tests/benchmarks/test_bench.py", "tests/data/test_clips.py", "tests/snapshot/test_pickles.py"),
    *("tests/snapshot/test_snapshot.py", "tests/video/test_video.py", "tests/ops/test_bias_act.py"),
)


def test_the_lowest_versions_work(native_wheel: Path, tmp_path: Path) -> None:
    """With the running interpreter's torch, to avoid a download of gigabytes."""
    extras = ("video", "plot", "test", "bench")
    lowest = uv(
        *("pip", "compile", "pyproject.toml", "--resolution", "lowest-direct", "--no-header", "--no-annotate"),
        *("--python", sys.executable, "--no-emit-package", "torch"),
        *(word for extra in extras for word in ("--extra", extra)),
    )
    assert lowest.returncode == 0, lowest.stderr
    without = ("nvidia-c", "nvidia-n", "cuda-", "triton")  # dependencies of torch
    pins = [pin for pin in lowest.stdout.splitlines() if not pin.startswith(without)]
    pins += [pin for pin in lowest.stdout.splitlines() if pin.startswith("nvidia-ml-py")]
    python = new_python(tmp_path / "env")
    (tmp_path / "lowest.txt").write_text("\n".join(pins), encoding="utf-8")
    done = uv("pip", "install", "--python", str(python), "--no-deps", "--requirements", str(tmp_path / "lowest.txt"))
    assert done.returncode == 0, done.stderr
    install(python, native_wheel, env=environment())
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "bench").symlink_to(ROOT / "bench")
    path = f"pythonpath={tmp_path / 'path'} {ROOT / 'tests' / 'support'}"
    told = run(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", path, *TESTS,
               cwd=ROOT, env=environment(PYTHONSAFEPATH="1"))  # fmt: skip
    assert " passed" in told
