"""Rows of the tables printed at the end, noted by tests in whichever process of pytest-xdist they run."""

from __future__ import annotations

from typing import Any

_noted: list[tuple[str, tuple[Any, ...]]] = []


def note(table: str, *row: str | float) -> None:
    """Adds a row to the report of the test that runs."""
    _noted.append((table, row))


def attach(item: Any) -> None:
    """Moves what was noted into the report of a test, which travels between processes."""
    item.user_properties.extend(_noted)
    _noted.clear()


def noted(terminalreporter: Any, table: str) -> list[tuple[Any, ...]]:
    """A table's rows from the reports of all tests."""
    reports = [report for found in terminalreporter.stats.values() for report in found]
    calls = [report for report in reports if getattr(report, "when", None) == "call"]
    return [tuple(row) for report in calls for name, row in report.user_properties if name == table]


def print_table(terminalreporter: Any, title: str, columns: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
    """As Markdown; nothing without rows."""
    if not rows:
        return
    terminalreporter.section(title)
    for row in (columns, ("---",) * len(columns), *rows):
        terminalreporter.write_line(f"| {' | '.join(map(str, row))} |")
