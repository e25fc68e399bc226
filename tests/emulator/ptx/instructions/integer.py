"""Integer arithmetic. Division by zero gives all ones; PTX leaves the result undefined."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from emulator.ptx.instructions import floating
from emulator.ptx.lanes import Array, Lanes
from emulator.ptx.machine import Machine
from emulator.ptx.operands import Decoder, Step, opcode, pure
from emulator.ptx.types import TYPES, Type


def double(type_: Type) -> Type:
    return TYPES[f"{'s' if type_.signed else 'u'}{type_.bytes * 16}"]


def unsigned(type_: Type) -> Type:
    return TYPES[f"u{type_.bytes * 8}"]


def high_product(a: Array, b: Array, type_: Type) -> Array:
    """The upper half of the double-width product."""
    if type_.bytes < 8:
        wide = double(type_).dtype
        return ((a.astype(wide) * b.astype(wide)) >> (type_.bytes * 8)).astype(type_.dtype)
    mask, shift = np.uint64(0xFFFFFFFF), np.uint64(32)
    x, y = a.view(np.uint64), b.view(np.uint64)
    x_low, x_high, y_low, y_high = x & mask, x >> shift, y & mask, y >> shift
    middle = x_high * y_low + (x_low * y_low >> shift)
    other = (middle & mask) + x_low * y_high
    high = x_high * y_high + (middle >> shift) + (other >> shift)
    if type_.signed:
        zero = np.uint64(0)
        high = high - np.where(a < 0, y, zero) - np.where(b < 0, x, zero)
    return high.view(type_.dtype)


def quotient(a: Array, b: Array, type_: Type) -> Array:
    """Rounded towards zero, as in C."""
    plain = unsigned(type_).dtype
    size = np.abs(a).view(plain) // np.maximum(np.abs(b).view(plain), plain.type(1))
    result = size.view(type_.dtype)
    if type_.signed:
        result = np.where((a < 0) != (b < 0), -result, result)
    return np.where(b == 0, np.array(-1).astype(type_.dtype), result).astype(type_.dtype)


def remainder(a: Array, b: Array, type_: Type) -> Array:
    return np.where(b == 0, a, a - quotient(a, b, type_) * b).astype(type_.dtype)


def in_halves(compute: Callable[[Array, Array], Array]) -> Callable[[Array, Array], Array]:
    """Applied to the two 16-bit halves of 32-bit words."""

    def both(a: Array, b: Array) -> Array:
        count = max(a.size, b.size)
        x, y = (np.ascontiguousarray(np.broadcast_to(each, count)).view(np.uint16) for each in (a, b))
        return compute(x, y).view(np.uint32)

    return both


@opcode("add", "sub")
def add(decoder: Decoder) -> Step:
    if decoder.name == "add" and decoder.one_of("s16x2", "u16x2"):
        decoder.finish(3)
        pair = TYPES["b32"]
        return pure(decoder, pair, [(1, pair), (2, pair)], in_halves(np.add))
    type_ = decoder.type()
    if type_.kind == "f":
        return floating.arithmetic(decoder, type_)
    if decoder.flag("cc"):
        return with_carry(decoder, type_, takes=False, gives=True)
    saturates = decoder.flag("sat")
    decoder.finish(3)
    compute: Callable[..., Array] = np.add if decoder.name == "add" else np.subtract
    if saturates:
        if type_.name != "s32":
            raise decoder.unsupported("saturation of this type")
        plain = compute

        def compute(a: Array, b: Array) -> Array:
            wide = plain(a.astype(np.int64), b.astype(np.int64))
            return np.clip(wide, -(1 << 31), (1 << 31) - 1).astype(np.int32)

    return pure(decoder, type_, [(1, type_), (2, type_)], compute)


@opcode("addc", "subc")
def add_with_carry(decoder: Decoder) -> Step:
    type_ = decoder.type()
    return with_carry(decoder, type_, takes=True, gives=decoder.flag("cc"))


def with_carry(decoder: Decoder, type_: Type, *, takes: bool, gives: bool) -> Step:
    """Sums and differences that set or use the carry flag; after a difference, a set flag means no borrow."""
    decoder.finish(3)
    plain, is_sum = unsigned(type_), decoder.name.startswith("add")
    left, right = decoder.read(1, plain), decoder.read(2, plain)
    carry = decoder.read(decoder.carry, TYPES["pred"])
    write, write_carry = decoder.write(0, plain), decoder.write(decoder.carry, TYPES["pred"])
    one, zero = plain.dtype.type(1), plain.dtype.type(0)

    def step(machine: Machine, lanes: Lanes) -> None:
        lanes = lanes.alu
        a, b = left(machine, lanes), right(machine, lanes)
        if not is_sum:
            b = ~b
        incoming = np.where(carry(machine, lanes), one, zero) if takes else (zero if is_sum else one)
        partial = a + b
        total = partial + incoming
        if gives:
            write_carry(machine, lanes, np.atleast_1d((partial < a) | (total < partial)))
        write(machine, lanes, total)

    return step


@opcode("mul", "mul24")
def multiply(decoder: Decoder) -> Step:
    type_ = decoder.type()
    if type_.kind == "f":
        return floating.arithmetic(decoder, type_)
    if decoder.name == "mul24":
        raise decoder.unsupported("mul24")
    part = decoder.required("lo", "hi", "wide")
    decoder.finish(3)
    arguments = [(1, type_), (2, type_)]
    if part == "wide":
        wide = double(type_)
        return pure(decoder, wide, arguments, lambda a, b: a.astype(wide.dtype) * b.astype(wide.dtype))
    if part == "hi":
        return pure(decoder, type_, arguments, lambda a, b: high_product(a, b, type_))
    return pure(decoder, type_, arguments, np.multiply)


@opcode("mad", "madc")
def multiply_add(decoder: Decoder) -> Step:
    type_ = decoder.type()
    if type_.kind == "f":
        return floating.arithmetic(decoder, type_)
    part = decoder.required("lo", "hi", "wide")
    takes, gives = decoder.name == "madc", decoder.flag("cc")
    saturates = decoder.flag("sat")
    decoder.finish(4)
    if saturates:
        raise decoder.unsupported("saturation")
    if takes or gives:
        return multiply_with_carry(decoder, type_, part, takes=takes, gives=gives)
    result = double(type_) if part == "wide" else type_
    arguments = [(1, type_), (2, type_), (3, result)]
    if part == "wide":
        wide = result.dtype
        return pure(decoder, result, arguments, lambda a, b, c: a.astype(wide) * b.astype(wide) + c)
    if part == "hi":
        return pure(decoder, result, arguments, lambda a, b, c: high_product(a, b, type_) + c)
    return pure(decoder, result, arguments, lambda a, b, c: a * b + c)


def multiply_with_carry(decoder: Decoder, type_: Type, part: str, *, takes: bool, gives: bool) -> Step:
    if part == "wide":
        raise decoder.unsupported("mad.wide with a carry")
    plain = unsigned(type_)
    reads = [decoder.read(n, type_) for n in (1, 2, 3)]
    carry = decoder.read(decoder.carry, TYPES["pred"])
    write, write_carry = decoder.write(0, plain), decoder.write(decoder.carry, TYPES["pred"])
    one, zero = plain.dtype.type(1), plain.dtype.type(0)

    def step(machine: Machine, lanes: Lanes) -> None:
        lanes = lanes.alu
        a, b, c = (read(machine, lanes) for read in reads)
        product = (high_product(a, b, type_) if part == "hi" else a * b).view(plain.dtype)
        partial = product + c.view(plain.dtype)
        total = partial + (np.where(carry(machine, lanes), one, zero) if takes else zero)
        if gives:
            write_carry(machine, lanes, np.atleast_1d((partial < product) | (total < partial)))
        write(machine, lanes, total)

    return step


@opcode("div", "rem")
def divide(decoder: Decoder) -> Step:
    type_ = decoder.type()
    if type_.kind == "f":
        return floating.divide(decoder, type_)
    decoder.finish(3)
    compute = quotient if decoder.name == "div" else remainder
    return pure(decoder, type_, [(1, type_), (2, type_)], lambda a, b: compute(a, b, type_))


@opcode("min", "max")
def extreme(decoder: Decoder) -> Step:
    type_ = decoder.type()
    if type_.kind == "f":
        return floating.extreme(decoder, type_)
    relu = decoder.flag("relu")
    decoder.finish(3)
    compute: Callable[..., Array] = np.minimum if decoder.name == "min" else np.maximum
    if relu:
        if not type_.signed:
            raise decoder.unsupported("relu of an unsigned type")
        return pure(
            decoder, type_, [(1, type_), (2, type_)], lambda a, b: np.maximum(compute(a, b), type_.dtype.type(0))
        )
    return pure(decoder, type_, [(1, type_), (2, type_)], compute)


@opcode("abs", "neg")
def sign(decoder: Decoder) -> Step:
    type_ = decoder.type()
    if type_.kind == "f":
        return floating.sign(decoder, type_)
    decoder.finish(2)
    return pure(decoder, type_, [(1, type_)], np.abs if decoder.name == "abs" else np.negative)


@opcode("sad")
def sum_of_difference(decoder: Decoder) -> Step:
    type_ = decoder.type()
    decoder.finish(4)
    arguments = [(n, type_) for n in (1, 2, 3)]
    return pure(decoder, type_, arguments, lambda a, b, c: np.where(a < b, b - a, a - b) + c)


@opcode("dp4a")
def dot_of_bytes(decoder: Decoder) -> Step:
    left, right = decoder.type(), decoder.type()
    decoder.finish(4)
    result = TYPES["s32" if left.signed or right.signed else "u32"]

    def bytes_of(value: Array, type_: Type) -> Array:
        narrow = np.int8 if type_.signed else np.uint8
        return np.ascontiguousarray(value).view(narrow).reshape(-1, 4).astype(np.int64)

    def compute(a: Array, b: Array, c: Array) -> Array:
        return ((bytes_of(a, left) * bytes_of(b, right)).sum(axis=1) + c).astype(np.int64).astype(result.dtype)

    return pure(decoder, result, [(1, left), (2, right), (3, result)], compute)
