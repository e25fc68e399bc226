"""setp, set, selp, slct."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from emulator.ptx.lanes import Array, Lanes
from emulator.ptx.machine import Machine
from emulator.ptx.numerics import flushed, unpack
from emulator.ptx.operands import Decoder, Read, Step, opcode, pure
from emulator.ptx.syntax import Sink
from emulator.ptx.types import TYPES, Type

_ORDERED: dict[str, Callable[[Array, Array], Array]] = {
    "eq": np.equal,
    "ne": np.not_equal,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
}
_UNSIGNED = {"lo": "lt", "ls": "le", "hi": "gt", "hs": "ge"}
_JOINED: dict[str, Callable[[Array, Array], Array]] = {
    "and": np.logical_and,
    "or": np.logical_or,
    "xor": np.logical_xor,
}


def comparison(decoder: Decoder, name: str, type_: Type, flush: bool) -> Callable[[Array, Array], Array]:
    if type_.kind != "f":
        if flush:
            raise decoder.unsupported(f".ftz of .{type_.name}")
        if name in _UNSIGNED and type_.kind != "s":
            return _ORDERED[_UNSIGNED[name]]
        if name not in _ORDERED or (type_.kind == "b" and name not in ("eq", "ne")):
            raise decoder.unsupported(f".{name} of .{type_.name}")
        return _ORDERED[name]
    values = unpack(type_.name)

    def unordered(a: Array, b: Array) -> Array:
        return np.isnan(a) | np.isnan(b)

    by_name: dict[str, Callable[[Array, Array], Array]] = {
        **_ORDERED,
        "ne": lambda a, b: (a != b) & ~unordered(a, b),
        "num": lambda a, b: ~unordered(a, b),
        "nan": unordered,
    }
    for ordered in ("eq", "ne", "lt", "le", "gt", "ge"):
        by_name[ordered + "u"] = _or_unordered(_ORDERED[ordered], unordered)
    if flush and type_.name != "f32":
        raise decoder.unsupported(f".ftz of .{type_.name}")
    if name not in by_name:
        raise decoder.unsupported(f".{name} of .{type_.name}")
    compare = by_name[name]

    def compute(a: Array, b: Array) -> Array:
        a, b = values(a), values(b)
        if flush:
            a, b = flushed(a), flushed(b)
        return compare(a, b)

    return compute if flush or type_.name not in ("f32", "f64") else compare


def _or_unordered(
    compare: Callable[[Array, Array], Array], unordered: Callable[[Array, Array], Array]
) -> Callable[[Array, Array], Array]:
    return lambda a, b: compare(a, b) | unordered(a, b)


_NAMES = (*_ORDERED, *(name + "u" for name in _ORDERED), *_UNSIGNED, "num", "nan")


@opcode("setp")
def set_predicate(decoder: Decoder) -> Step:
    """p|q = compare [join c]: q is the complement of p, or for pairs of halves the second half's result."""
    name = decoder.required(*_NAMES)
    joined, flush = decoder.one_of(*_JOINED), decoder.flag("ftz")
    type_ = decoder.type()
    decoder.finish(4 if joined else 3)
    left, right = decoder.read(1, type_), decoder.read(2, type_)
    third: Read | None = decoder.read(3, TYPES["pred"]) if joined else None
    first, second = decoder.pair(0)
    write, write_other = decoder.write(first, TYPES["pred"]), decoder.write(second, TYPES["pred"])
    has_other = not isinstance(second, Sink)
    compare = comparison(decoder, name, type_, flush)
    is_pair = type_.name.endswith("x2")

    def step(machine: Machine, lanes: Lanes) -> None:
        lanes = lanes.alu
        result = compare(left(machine, lanes), right(machine, lanes))
        other = result[:, 1] if is_pair else ~result
        result = result[:, 0] if is_pair else result
        if third is not None and joined is not None:
            with_ = third(machine, lanes)
            result, other = _JOINED[joined](result, with_), _JOINED[joined](other, with_)
        write(machine, lanes, result)
        if has_other:
            write_other(machine, lanes, other)

    return step


@opcode("set")
def set_value(decoder: Decoder) -> Step:
    name = decoder.required(*_NAMES)
    flush = decoder.flag("ftz")
    result, type_ = decoder.type(), decoder.type()
    decoder.finish(3)
    if result.name not in ("u32", "s32", "f32") or type_.name.endswith("x2"):
        raise decoder.unsupported("set of these types")
    yes = np.float32(1) if result.name == "f32" else np.array(-1).astype(result.dtype)
    compare = comparison(decoder, name, type_, flush)
    no = result.dtype.type(0)
    return pure(decoder, result, [(1, type_), (2, type_)], lambda a, b: np.where(compare(a, b), yes, no))


@opcode("selp")
def select(decoder: Decoder) -> Step:
    type_ = decoder.type()
    decoder.finish(4)

    def compute(a: Array, b: Array, p: Array) -> Array:
        return np.where(p, a, b)

    return pure(decoder, type_, [(1, type_), (2, type_), (3, TYPES["pred"])], compute)


@opcode("slct")
def select_by_sign(decoder: Decoder) -> Step:
    flush = decoder.flag("ftz")
    type_, by = decoder.type(), decoder.type()
    decoder.finish(4)
    if by.name not in ("s32", "f32"):
        raise decoder.unsupported("slct by this type")

    def compute(a: Array, b: Array, c: Array) -> Array:
        return np.where((flushed(c) if flush else c) >= 0, a, b)

    return pure(decoder, type_, [(1, type_), (2, type_), (3, by)], compute)
