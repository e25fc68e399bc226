"""``pytest -m gpu``, in parallel if pytest-xdist is installed; each test's outcome, and the messages of failures."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from bench.gpu.record import opened

ROOT = Path(__file__).resolve().parents[2]
# Most likely to fail first: the native kernels, which torch's compilers have not seen.
FOLDERS = ("tests/cuda/test_cuda_gpu.py", "tests/kernels/test_gpu.py")
WORKERS = 12


def main() -> int:
    record = opened(__doc__)
    report = record.path.with_suffix(".xml")
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-q", "-rfE", "--tb=short", f"--junitxml={report}"]
    command += ["-p", "bench.gpu.isolation"]
    if importlib.util.find_spec("xdist"):
        command += ["-n", str(min(WORKERS, os.cpu_count() or 1)), "--dist", "load"]
    report.unlink(missing_ok=True)
    code = subprocess.run([*command, *FOLDERS], cwd=ROOT).returncode
    if report.exists():
        for test in ElementTree.parse(report).iter("testcase"):
            bad = test.find("failure") if test.find("failure") is not None else test.find("error")
            skipped = test.find("skipped")
            entry = {"state": "passed", "seconds": float(test.get("time", 0))}
            if bad is not None:
                entry |= {"state": "failed", "error": (bad.get("message") or "")[:1000]}
            elif skipped is not None:
                entry |= {"state": "skipped", "reason": (skipped.get("message") or "")[:200]}
            record.cases[f"{test.get('classname')}.{test.get('name')}"] = entry
    record.write()
    return code


if __name__ == "__main__":
    sys.exit(main())
