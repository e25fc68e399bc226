"""Calls that launch every kernel there is at least once; what they compute is not looked at."""

from __future__ import annotations

from renders import PRECISIONS, RENDERINGS, arguments, op


def launch_everything() -> None:
    for case in RENDERINGS.values():
        for precision in PRECISIONS:
            op._cuda(*arguments(case.levels(), case.size, case.window, precision))
