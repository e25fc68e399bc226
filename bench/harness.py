"""Forms of the same work against each other: checked, then timed by turns within one process.

A machine's clock and its neighbours drift over minutes, so round k times every form once, A B C A B C …, and a ratio is
the median of the ratios within the rounds.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

import torch
from torch import Tensor

from bench.work import peak_rate


@dataclass(frozen=True)
class Form:
    """One way to do a piece of work.

    ``check`` takes what ``run`` returned and gives its error, which may be ``bound`` at most; ``flops`` and
    ``precision`` give the work's floor.
    """

    name: str
    run: Callable[[], Any]
    check: Callable[[Any], float] | None = None
    bound: float = 0.0
    flops: float = 0.0
    precision: str = "float32"


@dataclass(frozen=True)
class Effort:
    """How long to measure: ``seconds`` that a form runs in a round at least, repeated where one call is shorter."""

    rounds: int
    seconds: float


@dataclass(frozen=True)
class Row:
    """A line of the report: what was measured, in ``unit`` (% of a ratio, ×, MB, GFLOP/s, W or none), and what is wanted of it."""

    work: str
    quantity: str
    value: float | None
    unit: str
    target: float | None = None
    at_least: bool = True

    @property
    def met(self) -> bool | None:
        if self.target is None or self.value is None:
            return None
        return self.value >= self.target if self.at_least else self.value <= self.target


@dataclass
class Times:
    """Seconds of a call by form and round; operations a second by precision and round; errors by form."""

    forms: Sequence[Form]
    errors: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, list[float]] = field(default_factory=dict)
    peaks: dict[str, list[float]] = field(default_factory=dict)

    def median(self, name: str) -> float:
        return median(self.seconds[name])

    def ratio(self, name: str, other: str) -> float:
        """How many times as long ``name`` takes as ``other``."""
        return median(a / b for a, b in zip(self.seconds[name], self.seconds[other], strict=True))

    def share(self, name: str) -> float | None:
        """The time that its operations take at the least, over the time it took; None without a peak."""
        form = next(form for form in self.forms if form.name == name)
        peaks = self.peaks.get(form.precision)
        if not form.flops or not peaks:
            return None
        return median(form.flops / peak / t for peak, t in zip(peaks, self.seconds[name], strict=True))

    def as_data(self) -> dict[str, Any]:
        forms = {
            form.name: {
                "seconds": self.seconds[form.name],
                "median": self.median(form.name),
                "error": self.errors.get(form.name),
                "bound": form.bound,
                "flops": form.flops or None,
                "flops_per_second": form.flops / self.median(form.name) if form.flops else None,
                "share_of_floor": self.share(form.name),
            }
            for form in self.forms
        }
        peaks = {name: {"rounds": rates, "median": median(rates)} for name, rates in self.peaks.items()}
        ratios = {form.name: self.ratio(form.name, self.forms[0].name) for form in self.forms}
        return {"forms": forms, "peaks": peaks, f"ratio_to_{self.forms[0].name}": ratios}


def race(benchmark: Any, forms: Sequence[Form], effort: Effort) -> Times:
    """Check every form, warm up, then time them by turns; pytest-benchmark keeps the first one's rounds."""
    times = Times(forms)
    repeats = {}
    for form in forms:
        if form.check is not None:
            error = times.errors[form.name] = form.check(form.run())
            assert error <= form.bound, f"{form.name}: its error is {error:.2e}, bound {form.bound:.0e}"
        repeats[form.name] = max(1, min(10_000, math.ceil(effort.seconds / _seconds(form, 1))))
    threads = torch.get_num_threads()
    precisions = {form.precision for form in forms if form.flops}
    available = [precision for precision in sorted(precisions) if peak_rate(precision, threads) is not None]

    def turn(form: Form) -> None:
        times.seconds.setdefault(form.name, []).append(_seconds(form, repeats[form.name]))

    def others() -> None:
        for form in forms[1:]:
            turn(form)
        for precision in available:
            rate = peak_rate(precision, threads)
            assert rate is not None
            times.peaks.setdefault(precision, []).append(rate)

    benchmark.pedantic(lambda: turn(forms[0]), setup=others, rounds=effort.rounds, warmup_rounds=1)
    for series in (*times.seconds.values(), *times.peaks.values()):
        del series[: -effort.rounds]  # the warm-up
    benchmark.extra_info.update(times.as_data(), repeats=repeats, threads=threads)
    return times


def _seconds(form: Form, repeats: int) -> float:
    begin = time.perf_counter()
    for _ in range(repeats):
        form.run()
    return (time.perf_counter() - begin) / repeats


def report(benchmark: Any, rows: Iterable[Row]) -> None:
    """Keep rows with the case's result."""
    benchmark.extra_info["rows"] = [{**asdict(row), "met": row.met} for row in rows]


def error_against(expected: Tensor) -> Callable[[Tensor], float]:
    """The error relative in norm."""
    return lambda found: float((found - expected).norm() / expected.norm())
