"""Fixtures for every test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch


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


_golden_errors: list[tuple[str, str, float, float]] = []


@pytest.fixture
def golden_error() -> Callable[[str, str, float, float], None]:
    """``golden_error(case, quantity, error, bound)`` records an error for the final table and checks the bound."""

    def record(case: str, quantity: str, error: float, bound: float) -> None:
        _golden_errors.append((case, quantity, error, bound))
        assert error <= bound, f"{case}: error of {quantity} is {error:.2e}, bound {bound:.0e}"

    return record


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """The largest error of each golden case, as a Markdown table."""
    if not _golden_errors:
        return
    terminalreporter.section("golden errors, relative in norm")
    columns: dict[tuple[str, str], tuple[float, float]] = {}
    for case, quantity, error, bound in _golden_errors:
        seen = columns.get((case, quantity), (0.0, bound))
        columns[case, quantity] = (max(seen[0], error), bound)
    terminalreporter.write_line("| case | quantity | error | bound |")
    terminalreporter.write_line("| --- | --- | --- | --- |")
    for (case, quantity), (error, bound) in sorted(columns.items()):
        terminalreporter.write_line(f"| {case} | {quantity} | {error:.1e} | {bound:.0e} |")
