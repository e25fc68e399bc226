"""Compares forms of the same work: checks them, then times them interleaved within one process.

A machine's clock and load drift over minutes, so round k times every form once, A B C A B C …, and a ratio is the
median of the ratios within rounds.  Another process can still stall a round for seconds: a target counts as met or
missed only if both quartiles of the rounds agree, and each run's processor time is recorded beside its duration.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

import torch
from torch import Tensor

from bench.work import UNITS, peak_rate


@dataclass(frozen=True)
class Form:
    """One way to do a piece of work.

    ``check`` takes the result of ``run`` and returns its error, which may be at most ``bound``; ``flops`` and
    ``precision`` determine the lower bound on its time.
    """

    name: str
    run: Callable[[], Any]
    check: Callable[[Any], float] | None = None
    bound: float = 0.0
    flops: float = 0.0
    precision: str = "float32"


@dataclass(frozen=True)
class Effort:
    """How long to measure: each form runs at least ``seconds`` per round, repeated if one call is shorter."""

    rounds: int
    seconds: float


@dataclass(frozen=True)
class Measure:
    """The median of the rounds, with their quartiles.

    Quartiles are rounds, not interpolated: minimum and maximum of four rounds or fewer, second and sixth of seven.
    """

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, rounds: Iterable[float]) -> Measure:
        found = sorted(rounds)
        outside = (len(found) - 1) // 4
        return cls(median(found), found[outside], found[-1 - outside])


@dataclass(frozen=True)
class Row:
    """A line of the report: the measured value in ``unit`` (%, ×, MB, GFLOP/s, W or none), and its target."""

    work: str
    quantity: str
    value: float | Measure | None
    unit: str
    target: float | None = None
    at_least: bool = True

    @property
    def met(self) -> bool | None:
        """None without a target or a value, or if the quartiles of the rounds disagree."""
        if self.target is None or self.value is None:
            return None
        value = self.value
        ends = {value.low, value.high} if isinstance(value, Measure) else {value}
        verdicts = {end >= self.target if self.at_least else end <= self.target for end in ends}
        return verdicts.pop() if len(verdicts) == 1 else None

    def as_data(self) -> dict[str, Any]:
        value = self.value
        spread = [value.low, value.high] if isinstance(value, Measure) else None
        middle = value.value if isinstance(value, Measure) else value
        return {**asdict(self), "value": middle, "quartiles": spread, "met": self.met}


@dataclass
class Times:
    """Wall-clock and processor seconds of a call by form and round; rates by unit and round; errors by form."""

    forms: Sequence[Form]
    errors: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, list[float]] = field(default_factory=dict)
    processor: dict[str, list[float]] = field(default_factory=dict)
    rates: dict[str, list[float]] = field(default_factory=dict)

    def median(self, name: str) -> float:
        return median(self.seconds[name])

    def ratio(self, name: str, other: str) -> Measure:
        """The ratio of the time of ``name`` to that of ``other``, per round."""
        return Measure.of(a / b for a, b in zip(self.seconds[name], self.seconds[other], strict=True))

    def total(self, parts: Mapping[str, float]) -> list[float]:
        """Weighted sum of the forms' seconds in each round."""
        rounds = zip(*(self.seconds[name] for name in parts), strict=True)
        return [sum(w * s for w, s in zip(parts.values(), seconds, strict=True)) for seconds in rounds]

    def unit(self, precision: str) -> str | None:
        """The fastest unit for products in this precision; None if none was measured."""
        measured = [unit for unit in UNITS[precision] if self.rates.get(unit)]
        return max(measured, key=lambda unit: median(self.rates[unit]), default=None)

    def share(self, name: str) -> Measure | None:
        """The fraction of the roofline: operations over peak rate over time; None without a peak."""
        form = next(form for form in self.forms if form.name == name)
        unit = self.unit(form.precision)
        if not form.flops or unit is None:
            return None
        return Measure.of(form.flops / rate / t for rate, t in zip(self.rates[unit], self.seconds[name], strict=True))

    def as_data(self) -> dict[str, Any]:
        shares = {form.name: self.share(form.name) for form in self.forms}
        forms = {
            form.name: {
                "processor_seconds": self.processor.get(form.name),
                "seconds": self.seconds[form.name],
                "median": self.median(form.name),
                "error": self.errors.get(form.name),
                "bound": form.bound,
                "flops": form.flops or None,
                "flops_per_second": form.flops / self.median(form.name) if form.flops else None,
                "share_of_roofline": None if (share := shares[form.name]) is None else share.value,
                "unit": self.unit(form.precision) if form.flops else None,
            }
            for form in self.forms
        }
        units = {form.precision: self.unit(form.precision) for form in self.forms if form.flops}
        peaks = {
            precision: {"unit": unit, "rounds": self.rates[unit], "median": median(self.rates[unit])}
            for precision, unit in units.items()
            if unit is not None
        }
        ratios = {form.name: self.ratio(form.name, self.forms[0].name).value for form in self.forms}
        return {"forms": forms, "peaks": peaks, f"ratio_to_{self.forms[0].name}": ratios}


def race(benchmark: Any, forms: Sequence[Form], effort: Effort) -> Times:
    """Check every form, warm up, then time them interleaved; pytest-benchmark records the first form's rounds."""
    times = Times(forms)
    repeats = {}
    for form in forms:
        if form.check is not None:
            error = times.errors[form.name] = form.check(form.run())
            assert error <= form.bound, f"{form.name}: its error is {error:.2e}, bound {form.bound:.0e}"
        repeats[form.name] = max(1, min(10_000, math.ceil(effort.seconds / _seconds(form, 1))))
    threads = torch.get_num_threads()
    wanted = {unit for form in forms if form.flops for unit in UNITS[form.precision]}
    units = [unit for unit in sorted(wanted) if peak_rate(unit, threads) is not None]

    def turn(form: Form) -> None:
        before = time.process_time()
        times.seconds.setdefault(form.name, []).append(_seconds(form, repeats[form.name]))
        busy = (time.process_time() - before) / repeats[form.name]
        times.processor.setdefault(form.name, []).append(busy)

    def others() -> None:
        for form in forms[1:]:
            turn(form)
        for unit in units:
            rate = peak_rate(unit, threads)
            assert rate is not None
            times.rates.setdefault(unit, []).append(rate)

    benchmark.pedantic(lambda: turn(forms[0]), setup=others, rounds=effort.rounds, warmup_rounds=1)
    for series in (*times.seconds.values(), *times.processor.values(), *times.rates.values()):
        del series[: -effort.rounds]  # drop the warm-up
    benchmark.extra_info.update(times.as_data(), repeats=repeats, threads=threads)
    return times


def _seconds(form: Form, repeats: int) -> float:
    begin = time.perf_counter()
    for _ in range(repeats):
        form.run()
    return (time.perf_counter() - begin) / repeats


def report(benchmark: Any, rows: Iterable[Row]) -> None:
    """Store the rows with the benchmark's result."""
    benchmark.extra_info["rows"] = [row.as_data() for row in rows]


def error_against(expected: Tensor) -> Callable[[Tensor], float]:
    """A check that gives the error relative to ``expected``, in norm."""
    return lambda found: float((found - expected).norm() / expected.norm())
