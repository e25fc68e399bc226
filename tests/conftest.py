"""Fixtures for every test."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import rows
import torch


def pytest_configure() -> None:
    """The processes of pytest-xdist share the cores: threads that wait for a core cost many times what they save."""
    processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if processes > 1:
        threads = max(1, torch.get_num_threads() // processes)
        torch.set_num_threads(threads)
        os.environ.setdefault("OMP_NUM_THREADS", str(threads))


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Uninitialised memory holds NaN, so that unwritten outputs show up."""

    def poison(make: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        def made(*args: Any, **kwargs: Any) -> torch.Tensor:
            tensor = make(*args, **kwargs)
            return tensor.fill_(float("nan")) if tensor.is_floating_point() else tensor

        return made

    for owner, name in (
        (torch, "empty"),
        (torch, "empty_like"),
        (torch, "empty_strided"),
        (torch.Tensor, "new_empty"),
    ):
        monkeypatch.setattr(owner, name, poison(getattr(owner, name)))


@pytest.fixture
def golden_error() -> Callable[[str, str, float, float], None]:
    """``golden_error(case, quantity, error, bound)`` records an error for the final table and checks the bound."""

    def record(case: str, quantity: str, error: float, bound: float) -> None:
        rows.note("golden", case, quantity, error, bound)
        assert error <= bound, f"{case}: error of {quantity} is {error:.2e}, bound {bound:.0e}"

    return record


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    rows.attach(item)
    yield


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """The largest error of each golden case, as a Markdown table."""
    largest: dict[tuple[str, str], tuple[float, float]] = {}
    for case, quantity, error, bound in rows.noted(terminalreporter, "golden"):
        largest[case, quantity] = max(largest.get((case, quantity), (0.0, bound)), (error, bound))
    found = [(*key, f"{error:.1e}", f"{bound:.0e}") for key, (error, bound) in sorted(largest.items())]
    rows.print_table(terminalreporter, "golden errors, relative in norm", ("case", "quantity", "error", "bound"), found)
