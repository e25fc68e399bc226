"""Plants mutants in copies of the tree, one at a time, and runs their tests until the first failure."""

from __future__ import annotations

import os
import queue
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from mutants.mutant import Mutant, Rig

ROOT = Path(__file__).resolve().parents[2]
# Processor time, ten times that of the slowest selection: a mutant that loops forever is caught.
SECONDS = 300
COPIED = ("digan_fast", "kernels", "csrc", "tests", "bench", "CMakeLists.txt", "pyproject.toml")
_FAILED, _PASSED = 1, 0


class RigBroken(RuntimeError):
    """The tests give no verdict: they fail without a mutant, select nothing, or do not start."""


@dataclass(frozen=True)
class Verdict:
    mutant: Mutant
    caught_by: str | None

    @property
    def is_expected(self) -> bool:
        return (self.caught_by is None) == (self.mutant.equivalent is not None)

    def __str__(self) -> str:
        if self.caught_by is not None:
            wrong = "" if self.is_expected else ", though the table calls it equivalent"
            return f"caught      {self.mutant}: {self.caught_by}{wrong}"
        if self.mutant.equivalent is not None:
            return f"equivalent  {self.mutant}: {self.mutant.equivalent}"
        return f"SURVIVED    {self.mutant}"


def copy_tree(target: Path) -> None:
    """Copies everything the tests need; they run in the copy, not on an installation, so that they import the copy."""
    ignored = shutil.ignore_patterns("__pycache__", ".*cache", "*.mp4")
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=ignored)
        else:
            shutil.copy2(source, target / name)
    (target / "digan_fast" / "kernels").symlink_to(target / "kernels")


def first_failure(tree: Path, rig: Rig, tests: str) -> str | None:
    """The name of the first test that fails, or None."""
    if rig.builds:
        build(tree)
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--tb=no", "-rfE"]
    command += [*rig.arguments, *(["-k", tests] if tests else [])]
    own = {
        "PYTHONPATH": os.pathsep.join((str(tree), os.environ.get("PYTHONPATH", ""))).rstrip(os.pathsep),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
        "TRITON_CACHE_DIR": str(tree / ".triton"),
    }
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    limited = ["sh", "-c", f'ulimit -t {SECONDS}; exec "$@"', "sh", *command]
    variables = {**environment, **own, **rig.environment}
    run = subprocess.run(limited, cwd=tree, env=variables, capture_output=True, text=True, check=False)
    if run.returncode == _PASSED:
        return None
    lines = run.stdout.splitlines()
    failed = [line.split()[1].rpartition("::")[2] for line in lines if line.startswith("FAILED ")]
    if run.returncode < 0:
        return f"the process ended by {signal.Signals(-run.returncode).name}"
    if run.returncode != _FAILED or not failed:
        raise RigBroken(
            f"{rig.name} tests -k {tests!r} ended with {run.returncode}:\n{run.stdout[-2000:]}{run.stderr[-2000:]}"
        )
    return failed[0]


def build(tree: Path) -> None:
    """The native module of a tree, optimised little: its tests run only briefly."""
    folder = tree / "build"
    if not (folder / "build.ninja").exists():
        pybind11 = subprocess.run(
            [sys.executable, "-m", "pybind11", "--cmakedir"], capture_output=True, text=True, check=True
        )
        options = {
            "CMAKE_BUILD_TYPE": "None",
            "CMAKE_CXX_FLAGS": "-O1",
            "CMAKE_LIBRARY_OUTPUT_DIRECTORY": tree / "digan_fast",
            "DIGAN_FAST_PORTABLE_AMX": "ON",
            "Python_EXECUTABLE": sys.executable,
            "pybind11_DIR": pybind11.stdout.strip(),
        }
        _compile(["cmake", "-S", tree, "-B", folder, "-G", "Ninja", *(f"-D{k}={v}" for k, v in options.items())])
    _compile(["cmake", "--build", folder])


def _compile(command: Sequence[str | Path]) -> None:
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode:
        raise RigBroken(f"{' '.join(map(str, command))} ended with {run.returncode}:\n{run.stdout[-2000:]}")


def judge(tree: Path, mutant: Mutant) -> Verdict:
    path = tree / mutant.file
    source = path.read_text()
    path.write_text(mutant.planted(source))
    try:
        return Verdict(mutant, first_failure(tree, mutant.rig, mutant.tests))
    finally:
        path.write_text(source)


def check_unchanged(tree: Path, rig: Rig, tests: str) -> None:
    """A test that fails without a mutant catches nothing."""
    if failed := first_failure(tree, rig, tests):
        raise RigBroken(f"{rig.name} tests -k {tests!r} fail without a mutant: {failed}")


def run_all(mutants: Sequence[Mutant], folder: Path, jobs: int) -> Iterator[Verdict | None]:
    """Verdicts as they arrive; None for each selection that passed on the unchanged tree."""
    for mutant in mutants:
        mutant.planted((ROOT / mutant.file).read_text())
    trees: queue.SimpleQueue[Path] = queue.SimpleQueue()
    for number in range(jobs):
        copy_tree(folder / str(number))
        trees.put(folder / str(number))

    def in_a_tree(work: Callable[[Path], Verdict | None]) -> Verdict | None:
        tree = trees.get()
        try:
            return work(tree)
        finally:
            trees.put(tree)

    works: Iterable[Callable[[Path], Verdict | None]] = [
        *(lambda tree, s=s: check_unchanged(tree, *s) for s in selections(mutants)),
        *(lambda tree, m=m: judge(tree, m) for m in mutants),
    ]
    pool = ThreadPoolExecutor(jobs)
    try:
        for future in as_completed([pool.submit(in_a_tree, work) for work in works]):
            yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def selections(mutants: Iterable[Mutant]) -> list[tuple[Rig, str]]:
    """The distinct test selections."""
    found: list[tuple[Rig, str]] = []
    for mutant in mutants:
        if (mutant.rig, mutant.tests) not in found:
            found.append((mutant.rig, mutant.tests))
    return found
