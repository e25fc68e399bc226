"""`python tests/cuda/mutants.py`: a line for each bug of mutants.txt, and as the last one `caught N of M`.

Bugs are planted in copies of the tree. A mutant's tests run until the first failure; before it they must pass.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("digan_fast", "kernels", "csrc", "tests", "pyproject.toml")
SECONDS = 900
TESTS = {
    "simulated": "tests/cuda/test_cuda_simulated.py",
    "sanitized": "tests/cuda/test_cuda_sanitized.py",
    "executed": "tests/cuda/test_cuda_executed.py",
}


@dataclass(frozen=True)
class Mutant:
    """In ``file`` the text ``old``, which is there once, becomes ``new``; ``equivalent``: why nothing can tell."""

    file: str
    rig: str
    bug: str
    tests: str
    old: str
    new: str
    equivalent: str

    def planted(self, source: str) -> str:
        if source.count(self.old) != 1:
            raise ValueError(f"{self.file}: {self.bug}: its place is there {source.count(self.old)} times")
        return source.replace(self.old, self.new)


def read(table: Path) -> Iterator[Mutant]:
    _, *sections = re.split(r"^\[(.+), (\w+)\]\n", table.read_text(), flags=re.MULTILINE)
    for file, rig, text in zip(sections[::3], sections[1::3], sections[2::3], strict=True):
        for entry in re.split(r"\n{2,}", text.strip("\n")):
            head, *lines = entry.split("\n")
            bug, _, tests = head.rpartition(" @ ")
            old, new, reason = (
                "\n".join(line[2:] for line in lines if line.startswith(mark)) for mark in ("- ", "+ ", "= ")
            )
            own_rig = "sanitized" if tests in ("thread", "address") else rig
            yield Mutant(file, own_rig, bug, tests, old, new, reason)


def first_failure(tree: Path, rig: str, tests: str) -> str | None:
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--tb=no", "-rfE"]
    command += [TESTS[rig], "-k", tests]
    own = {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    own["SIMULATOR_OPTIMISATION"] = "-O0"
    try:
        done = subprocess.run(
            command, cwd=tree, env={**os.environ, **own}, capture_output=True, text=True, timeout=SECONDS
        )
    except subprocess.TimeoutExpired:
        return f"no end after {SECONDS} s"
    if done.returncode == 0:
        return None
    failed = [line.split()[1].rpartition("::")[2] for line in done.stdout.splitlines() if line.startswith("FAILED ")]
    if done.returncode < 0 or done.returncode > 128:
        return "the simulator stopped it"
    if done.returncode != 1 or not failed:
        raise RuntimeError(f"{rig} -k {tests!r} ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr}")
    return failed[0]


def judged(mutant: Mutant) -> tuple[Mutant, str | None]:
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        tree = Path(folder)
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, tree / name, ignore=shutil.ignore_patterns("__pycache__", "data"))
            else:
                shutil.copy2(source, tree / name)
        path = tree / mutant.file
        path.write_text(mutant.planted(path.read_text()))
        return mutant, first_failure(tree, mutant.rig, mutant.tests)


def main(only: str = "", jobs: int = os.cpu_count() or 1) -> int:
    mutants = [m for m in read(Path(__file__).with_suffix(".txt")) if re.search(only, f"{m.file}: {m.bug}")]
    for mutant in mutants:
        mutant.planted((ROOT / mutant.file).read_text())
    for rig, tests in sorted({(mutant.rig, mutant.tests) for mutant in mutants}):
        if failed := first_failure(ROOT, rig, tests):
            raise RuntimeError(f"{rig} -k {tests!r} fails without a mutant: {failed}")
    caught = unexpected = 0
    with ThreadPoolExecutor(jobs) as pool:
        for mutant, failure in pool.map(judged, mutants):
            caught += failure is not None
            unexpected += (failure is None) != bool(mutant.equivalent)
            word = "caught" if failure else "equivalent" if mutant.equivalent else "SURVIVED"
            print(f"{word:10}  {mutant.file}: {mutant.bug}: {failure or mutant.equivalent}", flush=True)
    print(f"caught {caught} of {len(mutants)}")
    return min(1, unexpected)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2], *map(int, sys.argv[2:3])))
