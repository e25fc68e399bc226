"""Clips on a grid and as INRs, over frames and sides; what discriminators judge of a clip, and how long they take."""

from __future__ import annotations

from typing import Any

import pytest

from bench import memory
from bench.discriminators import KINDS, judged, judges, reductions
from bench.harness import Effort, Form, Row, race, report


@pytest.mark.skipif(memory.why_not() is not None, reason=memory.why_not() or "")
def test_generators(benchmark: Any, quick: bool) -> None:
    found: list[dict[str, Any]] = []

    def measure() -> None:
        for kind in KINDS:
            found.extend(memory.in_child(kind, quick, "bench.discriminators"))

    benchmark.pedantic(measure, rounds=1)
    benchmark.extra_info["generators"] = found


def test_discriminators(benchmark: Any, quick: bool, effort: Effort) -> None:
    frames, side = (4, 16) if quick else (16, 128)
    kinds = judges(frames, side, quick)
    times = race(benchmark, [Form(name, judge.run) for name, judge in kinds.items()], Effort(effort.rounds, 0.0))
    work = f"a clip of {frames} frames at {side}², a quarter of the channels"
    rows = []
    for name, judge in kinds.items():
        rows.append(Row(work, f"{name}, of the clip's pixels", judge.pixels / (frames * side**2), "%"))
        if name != "3-D":
            rows.append(Row(work, f"{name}, of the 3-D discriminator's time", times.ratio(name, "3-D"), "%"))
    for count, shown in ((48, 8), (16, 8), (16, 2)):
        part = judged(count, 128, shown) / (count * 128**2)
        rows.append(Row(f"a clip of {count} frames at 128²", f"pixels that D_S + D_T save, k = {shown}", 1 - part, "%"))
    report(benchmark, rows)


def test_reductions(benchmark: Any, quick: bool, effort: Effort) -> None:
    frames, side = (4, 16) if quick else (16, 128)
    forms = [Form(name, run) for name, run in reductions(frames, side, quick).items()]
    times = race(benchmark, forms, effort)
    work = f"D_T's clip of {frames} frames, half of {side}², forward and backward, a quarter of the channels"
    report(
        benchmark,
        [Row(work, "rendered at that side, of the time at full side and pooled", times.ratio("render", "pool2"), "%")],
    )
