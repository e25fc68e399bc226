"""A function of many items in worker processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from waiting import has_text, until

from digan_fast.data.workers import CrashedError, in_order
from digan_fast.heartbeat import Heartbeat


def risky(number: int) -> int:
    """Kills its process for 3, as a decoder that crashes."""
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.02 * (number % 2))
    return number * number


def test_results_are_in_order_and_a_crash_costs_one_item() -> None:
    found = list(in_order(risky, range(8), workers=1))
    assert [item for item, _ in found] == list(range(8))
    assert [item for item, result in found if isinstance(result, CrashedError)] == [3]
    assert all(result == item**2 for item, result in found if item != 3)


def test_a_crash_while_results_are_used_costs_one_item() -> None:
    """The pool is broken when the next item is handed out."""
    found = []
    for item, result in in_order(risky, range(12), workers=1):
        found.append((item, result))
        time.sleep(0.5 if item < 3 else 0)
    assert [item for item, _ in found] == list(range(12))
    assert [item for item, result in found if isinstance(result, CrashedError)] == [3]


def nap(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def test_a_heart_beats_while_workers_are_waited_for() -> None:
    """Of the process that waits, which does nothing else."""
    beats: list[float] = []
    results = in_order(nap, [0.0, 5.0], workers=1)
    next(results)  # The worker has started.
    with Heartbeat(lambda: beats.append(time.monotonic()), 0.1):
        next(results)
    assert len(beats) >= 4


def test_without_workers_nothing_is_spawned() -> None:
    own = os.getpid()
    assert [result == own for _, result in in_order(lambda _: os.getpid(), range(3), workers=0)] == [True] * 3


def test_an_exception_passes() -> None:
    with pytest.raises(TypeError):
        list(in_order(risky, ["x"], workers=1))  # type: ignore[list-item]


@pytest.mark.skipif(not Path("/proc").exists(), reason="no /proc")
def test_workers_end_with_a_killed_parent(tmp_path: Path) -> None:
    code = (
        "import os, time\nfrom digan_fast.data.workers import in_order\nfrom digan_fast_sleeper import nap\n"
        "if __name__ == '__main__':\n    list(in_order(nap, range(9), 1))\n"
    )
    (tmp_path / "digan_fast_sleeper.py").write_text(
        "import os, time\ndef nap(n):\n"
        f"    open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\n    time.sleep(600)\n"
    )
    (tmp_path / "main.py").write_text(code)
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    parent = subprocess.Popen([sys.executable, str(tmp_path / "main.py")], env={**os.environ, "PYTHONPATH": path})
    until(lambda: has_text(tmp_path / "pid"), parent)
    worker = Path("/proc") / (tmp_path / "pid").read_text()
    assert worker.exists()
    parent.kill()
    parent.wait()
    until(lambda: _is_gone(worker))


def _is_gone(process: Path) -> bool:
    """Of /proc: ended, whether or not anybody has waited for it."""
    try:
        return "Z" in (process / "stat").read_text().split(")")[1][:3]
    except (FileNotFoundError, ProcessLookupError):
        return True
