"""``python -m bench.gpu``: builds for the device, runs the parts, prints a table, writes results.json and log.txt."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from bench.gpu import PARTS

ROOT = Path(__file__).resolve().parents[2]
# Where the parts write their records; --out receives the results.
WORK = ROOT / "build" / "gpu"
BUILD_SECONDS = 300


@dataclass
class Outcome:
    """How a part ended; ``state`` is passed, failed, or stopped (at its time limit)."""

    part: str
    state: str
    seconds: float
    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def line(self) -> str:
        counts = f"{self.passed:6} passed{self.failed:6} failed{self.skipped:6} skipped"
        return f"{self.part:10}{self.state:10}{self.seconds:7.1f} s{counts}"


def run(
    command: Sequence[str],
    log: IO[str],
    seconds: float,
    tick: Callable[[], None] | None = None,
    variables: Mapping[str, str] | None = None,
) -> int | None:
    """Runs a command; its exit code, or None if it was stopped at its time limit.

    Its output is echoed and logged line by line; ``tick`` is called after each line.
    """
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", **(variables or {})}
    process = subprocess.Popen(
        ["timeout", "--kill-after=5", str(seconds), *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        cwd=ROOT,
        env=environment,
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        for line in process.stdout:
            sys.stdout.write(line)
            sys.stdout.flush()
            log.write(line)
            log.flush()
            if tick is not None:
                tick()
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    code = process.wait()
    return None if code in (124, 137) else code


def build(log: IO[str], arch: str | None) -> int | None:
    """Builds the package in place with the installed tools, offline; for ``arch``, or for the CPU only."""
    pip = ("-m", "pip", "install", "--no-deps", "--no-build-isolation", "--no-index", "-e", ".", "-v")
    variables = {"DIGAN_FAST_NATIVE": "1", "PIP_BREAK_SYSTEM_PACKAGES": "1", "DIGAN_FAST_CUDA": "1" if arch else "0"}
    if arch:
        variables["DIGAN_FAST_CUDA_ARCHS"] = arch
    return run((sys.executable, *pip), log, BUILD_SECONDS, variables=variables)


def device_arch() -> str | None:
    """The device's architecture in CMake's notation, or None without a device."""
    import torch

    if not torch.cuda.is_available():
        return None
    major, minor = torch.cuda.get_device_capability()
    return f"{major}{minor}-real"


def cases(part: str) -> dict[str, Any]:
    path = WORK / f"{part}.json"
    return json.loads(path.read_text()) if path.exists() else {}


def collect(out: Path, outcomes: Sequence[Outcome], parts: Sequence[str]) -> None:
    """Writes all results so far into one file."""
    found = {"outcomes": [asdict(outcome) for outcome in outcomes], "parts": {part: cases(part) for part in parts}}
    beside = out / "results.tmp"
    beside.write_text(json.dumps(found, indent=1))
    beside.replace(out / "results.json")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.gpu", description=__doc__)
    parser.add_argument("--parts", default=",".join(PARTS), help="comma-separated; default: all, %(default)s")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "gpu", help="default: results/gpu")
    parser.add_argument("--dry", action="store_true", help="on the CPU, without a device: shows breakage only")
    parser.add_argument("--no-build", action="store_true", help="use the installed digan_fast")
    options = parser.parse_args()
    parts = [part for part in options.parts.replace(" ", ",").split(",") if part]
    if unknown := [part for part in parts if part not in PARTS]:
        parser.error(f"--parts: {', '.join(unknown)}, expected some of {', '.join(PARTS)}")
    arch = device_arch()
    if arch is None and not options.dry:
        parser.error("torch sees no CUDA device; --dry runs on the CPU")
    options.out.mkdir(parents=True, exist_ok=True)
    WORK.mkdir(parents=True, exist_ok=True)
    for part in parts:
        (WORK / f"{part}.json").unlink(missing_ok=True)
    outcomes: list[Outcome] = []
    flags = ["--dry"] if options.dry else []
    with open(options.out / "log.txt", "w", encoding="utf-8") as log:
        if not options.no_build:
            begin = time.perf_counter()
            code = build(log, None if options.dry else arch)
            outcomes.append(Outcome("build", "passed" if code == 0 else "failed", time.perf_counter() - begin))
        for part in parts:
            print(f"\n{part}", flush=True)
            command = [sys.executable, "-m", f"bench.gpu.{part}", str(WORK / f"{part}.json"), *flags]
            begin = time.perf_counter()
            code = run(command, log, PARTS[part], lambda: collect(options.out, outcomes, parts))
            found = cases(part)
            passed, skipped = (
                sum(case["state"] == state for case in found.values()) for state in ("passed", "skipped")
            )
            failed = len(found) - passed - skipped
            state = "stopped" if code is None else "failed" if code or failed else "passed"
            outcomes.append(Outcome(part, state, time.perf_counter() - begin, passed, failed, skipped))
            collect(options.out, outcomes, parts)
        table = "\n".join(outcome.line() for outcome in outcomes)
        log.write(f"\n{table}\n")
    print(f"\n{table}\n{options.out / 'results.json'}")
    return int(any(outcome.state != "passed" for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
