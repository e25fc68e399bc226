"""The GPU suite's machinery, without a GPU: parts, records, time limits, and the pages that it fills in."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.gpu import PARTS, __main__, report
from bench.gpu.record import Record

ROOT = Path(__file__).resolve().parents[2]


def test_pages_match_the_recorded_results() -> None:
    for path, text in report.filled(report.RESULTS / "nvidia-h200.json").items():
        assert path.read_text(encoding="utf-8") == text, f"python -m bench.gpu.report rewrites {path}"


def test_unknown_sections_are_rejected() -> None:
    with pytest.raises(ValueError, match="measured: other -->: expected one of machine, checks"):
        report.fill("<!-- measured: other -->\n<!-- measured: end -->", {})


def test_a_failing_case_is_recorded_and_does_not_stop_the_part(tmp_path: Path) -> None:
    record = Record(tmp_path / "part.json", dry=True)
    with record.case("bad") as found:
        found["before"] = 1
        raise RuntimeError("no such luck")
    with record.case("good") as found:
        found["value"] = 2
    written = json.loads(record.path.read_text())
    assert written["bad"]["state"] == "failed"
    assert written["bad"]["before"] == 1
    assert written["bad"]["error"] == "RuntimeError: no such luck"
    assert written["good"]["state"] == "passed"
    assert record.failed


def test_a_killed_part_leaves_a_record_of_its_last_case(tmp_path: Path) -> None:
    record = Record(tmp_path / "part.json", dry=True)
    with record.case("long"):
        assert json.loads(record.path.read_text())["long"]["state"] == "running"


def test_a_part_is_stopped_at_its_limit_and_its_log_kept() -> None:
    log, ticks = io.StringIO(), []
    command = [sys.executable, "-c", "import time; print('begun', flush=True); time.sleep(60)"]
    assert __main__.run(command, log, 2, lambda: ticks.append(1)) is None
    assert log.getvalue() == "begun\n"
    assert ticks == [1]


def test_smoke_runs_without_a_gpu_and_unknown_parts_are_rejected(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bench.gpu", "--dry", "--no-build", "--out", str(tmp_path)]
    done = subprocess.run([*command, "--parts", "smoke"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    cases = json.loads((tmp_path / "results.json").read_text())["parts"]["smoke"]
    assert {case["state"] for case in cases.values()} == {"passed"}
    assert "smoke     passed" in (tmp_path / "log.txt").read_text()
    done = subprocess.run([*command, "--parts", "smoke,everything"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert f"--parts: everything, expected some of {', '.join(PARTS)}" in done.stderr
