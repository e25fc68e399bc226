"""Options and fixtures of ``pytest bench``, and the description of the machine in its JSON."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from bench.cases import Video, generator, video
from bench.harness import Effort
from bench.work import copy_rate
from digan_fast import Generator
from digan_fast.cli.info import collect

ROUNDS = 7


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--quick", action="store_true", help="tiny cases: shows breakage only, its numbers mean nothing")
    parser.addoption("--rounds", type=int, default=ROUNDS, help=f"rounds of a comparison (default: {ROUNDS})")


@pytest.fixture(scope="session")
def quick(pytestconfig: pytest.Config) -> bool:
    return bool(pytestconfig.getoption("quick"))


@pytest.fixture(scope="session")
def effort(pytestconfig: pytest.Config, quick: bool) -> Effort:
    return Effort(rounds=2, seconds=0.0) if quick else Effort(int(pytestconfig.getoption("rounds")), seconds=0.1)


@pytest.fixture(scope="session")
def digan(quick: bool) -> Generator:
    return generator(quick)


@pytest.fixture(scope="session")
def case(digan: Generator) -> Video:
    """A video of 16 frames."""
    return video(digan)


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    machine_info.pop("node", None)  # the host's name is private
    facts = collect()
    machine_info["quick"] = bool(config.getoption("quick"))
    machine_info["rounds"] = config.getoption("rounds")
    machine_info["threads"] = torch.get_num_threads()
    machine_info["copy_bytes_per_second"] = copy_rate(1 << 24 if machine_info["quick"] else 1 << 28)
    machine_info["digan_fast"] = {name: facts[name] for name in ("versions", "machine", "native", "backends")}


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Prints the measured rows with their targets."""
    from bench.report import text

    session = getattr(config, "_benchmarksession", None)
    rows = [row for entry in getattr(session, "benchmarks", ()) for row in entry.extra_info.get("rows", ())]
    if not rows:
        return
    quick = config.getoption("quick")
    terminalreporter.section("measured with --quick: the numbers mean nothing" if quick else "measured, with targets")
    for row in rows:
        measured, target = text({**row, "met": None, "target": None} if quick else row)
        terminalreporter.write_line(f"{row['work']}: {row['quantity']}: {measured}" + (target and f" ({target})"))
