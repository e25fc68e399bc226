"""The tests of ops, networks, dispatch and torch.compile with other versions of torch from the public index.

    python tests/packaging/compatibility.py [PYTHON:TORCH ...]

PYTHON is a version on PATH. TORCH is a version, `floor` (every requirement at its floor) or `newest`. Environments take
gigabytes, so each is removed after its tests and before the next is created. Prints a table; exits 1 if a test failed.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from resolution import ROOT, uv

ROWS = ("3.11:floor", "3.12:2.11.0", "3.13:newest")
TESTS = (
    *("tests/ops", "tests/dispatch", "tests/networks/test_networks.py", "tests/pytorch/test_torch_compile.py"),
    *("tests/snapshot/test_pickles.py", "tests/video/test_video.py"),
)
HEAD = "| Python | torch | triton | numpy | passed | failed | skipped |\n| --- | --- | --- | --- | --- | --- | --- |"
VERSIONS = """
import torch, numpy, importlib.util, platform
triton = importlib.import_module("triton").__version__ if importlib.util.find_spec("triton") else "–"
print(platform.python_version(), torch.__version__, triton, numpy.__version__, sep=" | ")
"""


def checked(done: subprocess.CompletedProcess[str]) -> str:
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    return done.stdout.strip()


def environment(folder: Path, python: str, torch: str) -> Path:
    """An interpreter with the project, its native module and the given versions."""
    checked(uv("venv", "--seed", "--python", python, str(folder)))  # with setuptools if venv provides it
    made = folder / "bin" / "python"
    how = ["--resolution", "lowest-direct"] if torch == "floor" else []
    wanted = [] if torch in ("floor", "newest") else [f"torch=={torch}"]
    project = f"digan_fast[video,plot,test] @ {ROOT.as_uri()}"
    options = ("--python", str(made), "--cache-dir", str(folder / "cache"), *how)
    checked(uv("pip", "install", *options, *wanted, project, DIGAN_FAST_NATIVE="1", DIGAN_FAST_CUDA="0"))
    return made


def tested(python: Path, folder: Path) -> dict[str, int]:
    """Runs the tests on the installed package; their counts."""
    report = folder / "report.xml"
    subprocess.run(
        [
            *(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "pythonpath=tests/support"),
            *(f"--junitxml={report}", *TESTS),
        ],
        cwd=ROOT,
        env={**os.environ, "PYTHONSAFEPATH": "1", "CUDA_VISIBLE_DEVICES": ""},
    )
    suite = ElementTree.parse(report).getroot()[0]
    counts = {name: int(suite.attrib[name]) for name in ("tests", "failures", "errors", "skipped")}
    failed = counts["failures"] + counts["errors"]
    return {"passed": counts["tests"] - failed - counts["skipped"], "failed": failed, "skipped": counts["skipped"]}


def row(python: str, torch: str) -> tuple[str, bool]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = environment(folder / "environment", python, torch)
        versions = subprocess.run([made, "-c", VERSIONS], text=True, capture_output=True, check=True).stdout.strip()
        counts = tested(made, folder)
    return f"| {versions} | {' | '.join(map(str, counts.values()))} |", counts["failed"] == 0


def main(rows: list[str]) -> int:
    for asked in rows:
        if not re.fullmatch(r"3\.\d+:(floor|newest|[\d.]+)", asked):
            raise SystemExit(f"{asked!r}: expected PYTHON:TORCH, such as {', '.join(ROWS)}")
    found = [row(*asked.split(":")) for asked in rows]
    print("\n".join([HEAD, *(line for line, _ in found)]))
    return 0 if all(passed for _, passed in found) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or list(ROWS)))
