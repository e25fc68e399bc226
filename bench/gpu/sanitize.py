"""compute-sanitizer on small cases of every kernel; ncu on the most expensive kernels of a video and of a step."""

from __future__ import annotations

import csv
import io
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from bench.gpu.record import Record, opened

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ("memcheck", "racecheck")
LONGEST = 5
METRICS = {
    "gpu__time_duration.sum": "us",
    "sm__pipe_tensor_cycles_active.avg.pct_of_peak_sustained_active": "tensor pipe %",
    "smsp__issue_active.avg.pct_of_peak_sustained_active": "issue %",
    "sm__warps_active.avg.pct_of_peak_sustained_active": "warps %",
    "lts__t_bytes.sum": "L2 MB",
    "dram__bytes.sum": "DRAM MB",
    "smsp__average_warps_issue_stalled_long_scoreboard_per_issue_active.ratio": "stalled, long scoreboard",
    "smsp__average_warps_issue_stalled_short_scoreboard_per_issue_active.ratio": "stalled, short scoreboard",
    "smsp__average_warps_issue_stalled_math_pipe_throttle_per_issue_active.ratio": "stalled, math pipe",
    "smsp__average_warps_issue_stalled_mio_throttle_per_issue_active.ratio": "stalled, shared memory queue",
    "smsp__average_warps_issue_stalled_barrier_per_issue_active.ratio": "stalled, barrier",
    "smsp__average_warps_issue_stalled_wait_per_issue_active.ratio": "stalled, fixed latency",
    "l1tex__data_bank_conflicts_pipe_lsu.sum": "bank conflicts",
    "launch__registers_per_thread": "registers",
    "launch__occupancy_limit_shared_mem": "blocks by shared memory",
}
UNITS = {"nsecond": 1e-3, "ns": 1e-3, "usecond": 1.0, "us": 1.0, "msecond": 1e3, "ms": 1e3, "s": 1e6, "second": 1e6}
BYTES = {"byte": 1e-6, "Kbyte": 1e-3, "Mbyte": 1.0, "Gbyte": 1e3}


def once(*words: str) -> list[str]:
    return [sys.executable, "-m", "bench.gpu.once", *words]


def output(command: list[str], seconds: float) -> str:
    """The output of a command.  Raises RuntimeError with the end of the output if the command fails."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=seconds)
    if done.returncode:
        raise RuntimeError(f"exit code {done.returncode}: {(done.stdout + done.stderr)[-1500:]}")
    return done.stdout


def sanitize(record: Record, tool: str, backend: str, precision: str) -> None:
    with record.case(f"{tool}, {backend}, {precision}") as found:
        command = ["compute-sanitizer", "--tool", tool, "--error-exitcode", "9"]
        done = output([*command, *once("small", backend, precision)], 60)
        found["summary"] = re.findall(r"=+ (.*SUMMARY.*)", done)


def measured(text: str) -> dict[str, dict[str, Any]]:
    """Each kernel in ncu's CSV, with its metrics summed (times, bytes, conflicts) or averaged over its launches."""
    lines = text[text.index('"ID"') :]
    launches: dict[str, dict[str, dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    for row in csv.DictReader(io.StringIO(lines)):
        name = METRICS.get(row["Metric Name"])
        if name is not None:
            value = float(row["Metric Value"].replace(",", ""))
            value *= UNITS.get(row["Metric Unit"], 1.0) if name == "us" else BYTES.get(row["Metric Unit"], 1.0)
            launches[row["Kernel Name"]][row["ID"]][name] = value
    found = {}
    for kernel, each in launches.items():
        values = {name: [launch[name] for launch in each.values() if name in launch] for name in METRICS.values()}
        whole = {"us", "L2 MB", "DRAM MB", "bank conflicts"}
        found[kernel[:160]] = {"launches": len(each)} | {
            name: round(sum(numbers) / (1 if name in whole else len(numbers)), 3)
            for name, numbers in values.items()
            if numbers
        }
    return dict(sorted(found.items(), key=lambda entry: -entry[1].get("us", 0.0)))


def profile(record: Record, work: str, backend: str, precision: str) -> None:
    with record.case(f"ncu, {work}, {backend}, {precision}") as found:
        command = ["ncu", "--clock-control", "none", "--profile-from-start", "off", "--csv", "--print-units", "base"]
        command += ["--metrics", ",".join(METRICS), "--launch-count", "120"]
        kernels = measured(output([*command, *once(work, backend, precision)], 120))
        found["us of all"] = sum(each.get("us", 0.0) for each in kernels.values())
        found["kernels"] = dict(list(kernels.items())[:LONGEST])


def main() -> int:
    record = opened(__doc__)
    for tool in ("compute-sanitizer", "ncu"):
        if not record.dry and shutil.which(tool) is None:
            print(f"{tool} is not on PATH")
    if record.dry:
        with record.case("dry") as found:
            found["parsed"] = measured(
                '"ID","Kernel Name","Metric Name","Metric Unit","Metric Value"\n'
                '"0","k","gpu__time_duration.sum","ns","1,500"\n'
            )
        return int(record.failed)
    profile(record, "video", "cuda", "bfloat16")
    profile(record, "video", "triton", "bfloat16")
    for backend, precision in (("cuda", "bfloat16"), ("cuda", "float32"), ("triton", "bfloat16")):
        for tool in TOOLS:
            sanitize(record, tool, backend, precision)
    profile(record, "step", "cuda", "tf32")
    return int(record.failed)


if __name__ == "__main__":
    sys.exit(main())
