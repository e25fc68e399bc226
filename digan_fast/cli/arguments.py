"""Command-line arguments that are more than a number or a word."""

from __future__ import annotations

import re
from collections.abc import Callable
from types import NoneType
from typing import Annotated, Any, Final

import tyro

SEED_LIMIT: Final = 2**32
SEED_COUNT: Final = 100_000
PIXEL_LIMIT: Final = 2**31
FLOAT32: Final = 3.4028234663852886e38


def parse_seeds(text: str) -> tuple[int, ...]:
    """``0,1,5-8``: numbers and inclusive ranges, in the given order.  Raises ValueError."""
    seeds: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*([0-9]+)\s*(?:-\s*([0-9]+)\s*)?", part)
        if match is None:
            raise ValueError(f"{part!r} in {text!r}, expected seeds such as 0,1,5-8")
        first = int(match[1])
        last = first if match[2] is None else int(match[2])
        if last >= SEED_LIMIT:
            raise ValueError(f"{last}, expected seeds below 2**32")
        if last < first:
            raise ValueError(f"{part!r}, expected a range that ascends")
        if len(seeds) + last - first >= SEED_COUNT:
            raise ValueError(f"{text!r}, expected at most {SEED_COUNT} seeds")
        seeds.extend(range(first, last + 1))
    return tuple(seeds)


def parse_seed(text: str) -> int:
    """One seed.  Raises ValueError."""
    seeds = parse_seeds(text)
    if len(seeds) != 1:
        raise ValueError(f"{text!r}, expected one seed")
    return seeds[0]


def format_seeds(seeds: tuple[int, ...]) -> str:
    """The shortest text that :func:`parse_seeds` parses to these seeds."""
    runs: list[tuple[int, int]] = []
    for seed in seeds:
        if runs and seed == runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], seed)
        else:
            runs.append((seed, seed))
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def parse_times(text: str) -> tuple[float, float]:
    """``0:1``: the first and the last time.  Raises ValueError."""
    try:
        first, last = map(float, text.split(":"))
    except ValueError:
        raise ValueError(f"{text!r}, expected FIRST:LAST such as 0:1") from None
    if not (abs(first) <= FLOAT32 and abs(last) <= FLOAT32):
        raise ValueError(f"{text!r}, expected finite times within float32, such as 0:1")
    return first, last


def parse_window(text: str) -> tuple[int, int, int, int]:
    """``TOP,LEFT,HEIGHT,WIDTH`` in pixels; the first two may be negative.  Raises ValueError."""
    match = re.fullmatch(r"\s*(-?\d+)\s*,\s*(-?\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*", text)
    if match is None or int(match[3]) < 1 or int(match[4]) < 1:
        raise ValueError(f"{text!r}, expected TOP,LEFT,HEIGHT,WIDTH such as -16,0,64,128")
    top, left, height, width = map(int, match.groups())
    if max(abs(top), abs(left), height, width) >= PIXEL_LIMIT:
        raise ValueError(f"{text!r}, expected numbers below 2**31, such as -16,0,64,128")
    return top, left, height, width


def parse_range(text: str) -> slice:
    """``START:STOP`` or ``START:STOP:STEP``; the first two may be empty.  Raises ValueError."""
    match = re.fullmatch(r"\s*([0-9]*)\s*:\s*([0-9]*)\s*(?::\s*([0-9]+)\s*)?", text)
    start, stop, step = (int(part) if part else None for part in (match.groups() if match else (None,) * 3))
    if match is None or step == 0 or (stop is not None and stop <= (start or 0)):
        raise ValueError(f"{text!r}, expected START:STOP or START:STOP:STEP with START < STOP, such as 0:64 or 0:64:2")
    if max(start or 0, stop or 0, step or 0) >= PIXEL_LIMIT:
        raise ValueError(f"{text!r}, expected numbers below 2**31")
    return slice(start, stop, step)


def format_range(part: slice) -> str:
    """The text that :func:`parse_range` parses to this slice."""
    shown = ["" if each is None else str(each) for each in (part.start, part.stop, part.step)]
    return ":".join(shown[: 2 if part.step is None else 3])


def parse_grid(text: str) -> tuple[int, int]:
    """``4x2``: columns and rows.  Raises ValueError."""
    match = re.fullmatch(r"([0-9]+)[x×]([0-9]+)", text.strip())
    if match is None or not int(match[1]) or not int(match[2]):
        raise ValueError(f"{text!r}, expected COLUMNSxROWS such as 4x2")
    return int(match[1]), int(match[2])


def _joined(separator: str) -> Callable[[tuple[Any, ...]], str]:
    return lambda values: separator.join(f"{value:g}" for value in values)


def _spec(metavar: str, parse: Callable[[str], Any], show: Callable[[Any], str], kind: Any = tuple) -> Any:
    return tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar=metavar,
        instance_from_str=lambda words: parse(words[0]),
        is_instance=lambda value: isinstance(value, kind),
        str_from_instance=lambda value: ["" if value is None else show(value)],
    )


Seed = Annotated[int, _spec("SEED", parse_seed, str, int)]
Seeds = Annotated[tuple[int, ...], _spec("SEEDS", parse_seeds, format_seeds)]
Times = Annotated[tuple[float, float], _spec("FIRST:LAST", parse_times, _joined(":"))]
# Not a union with None, for which tyro does not report what is wrong with a text.
MaybeSeeds = Annotated[tuple[int, ...] | None, _spec("SEEDS", parse_seeds, format_seeds, tuple | NoneType)]
MaybeWindow = Annotated[
    tuple[int, int, int, int] | None,
    _spec("TOP,LEFT,HEIGHT,WIDTH", parse_window, _joined(","), tuple | NoneType),
]
MaybeGrid = Annotated[tuple[int, int] | None, _spec("COLUMNSxROWS", parse_grid, _joined("x"), tuple | NoneType)]
MaybeRange = Annotated[slice | None, _spec("START:STOP[:STEP]", parse_range, format_range, slice | NoneType)]
