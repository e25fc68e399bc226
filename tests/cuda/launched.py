"""Calls that launch every kernel there is at least once; what they compute is not looked at."""

from __future__ import annotations

from cases import DTYPES, calls
from ops import OP_CASES, kernel
from renders import PRECISIONS, RENDERINGS, arguments, op


def launch_everything() -> None:
    for case in RENDERINGS.values():
        for precision in PRECISIONS:
            op._cuda(*arguments(case.levels(), case.size, case.window, precision))
    for case in OP_CASES:
        for dtype in DTYPES.values():
            for name, args in calls(case, dtype):
                kernel(name)(*args)
