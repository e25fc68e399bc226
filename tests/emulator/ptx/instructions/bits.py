"""Logic, shifts and bit fields."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from emulator.ptx.lanes import Array
from emulator.ptx.operands import Decoder, Step, opcode, pure
from emulator.ptx.types import TYPES, UNSIGNED


@opcode("and", "or", "xor")
def logic(decoder: Decoder) -> Step:
    type_ = decoder.type()
    decoder.finish(3)
    compute = {"and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor}[decoder.name]
    return pure(decoder, type_, [(1, type_), (2, type_)], compute)


@opcode("not", "cnot")
def invert(decoder: Decoder) -> Step:
    type_ = decoder.type()
    decoder.finish(2)
    if decoder.name == "cnot":
        return pure(decoder, type_, [(1, type_)], lambda a: (a == 0).astype(type_.dtype))
    return pure(decoder, type_, [(1, type_)], np.bitwise_not)


@opcode("shl", "shr")
def shift(decoder: Decoder) -> Step:
    """Shifts by the width or more shift out everything."""
    type_ = decoder.type()
    decoder.finish(3)
    width = type_.bytes * 8
    amounts = UNSIGNED[type_.bytes]
    is_left = decoder.name == "shl"

    def compute(a: Array, amount: Array) -> Array:
        if not is_left and type_.signed:
            return a >> np.minimum(amount, width - 1).astype(type_.dtype)
        kept = np.minimum(amount, width - 1).astype(amounts)
        shifted = a << kept if is_left else a >> kept
        return np.where(amount < width, shifted, type_.dtype.type(0))

    def by_constant(a: Array, amount: Array) -> Array:
        bits = int(amount[0]) if amount.size == 1 else -1
        if not 0 <= bits < width:
            return compute(a, amount)
        return a << type_.dtype.type(bits) if is_left else a >> type_.dtype.type(bits)

    return pure(decoder, type_, [(1, type_), (2, TYPES["u32"])], by_constant)


@opcode("shf")
def funnel_shift(decoder: Decoder) -> Step:
    is_left = decoder.required("l", "r") == "l"
    wraps = decoder.required("wrap", "clamp") == "wrap"
    type_ = decoder.type()
    decoder.finish(4)

    def compute(low: Array, high: Array, amount: Array) -> Array:
        bits = (amount & np.uint32(31) if wraps else np.minimum(amount, np.uint32(32))).astype(np.uint64)
        both = (high.astype(np.uint64) << np.uint64(32)) | low
        return ((both << bits) >> np.uint64(32) if is_left else both >> bits).astype(np.uint32)

    return pure(decoder, type_, [(n, TYPES["u32"]) for n in (1, 2, 3)], compute)


def _ones(count: Array, width: int) -> Array:
    """Words with this many low bits set."""
    plain = np.dtype(UNSIGNED[width // 8])
    every = np.array((1 << width) - 1, plain)
    return np.where(count > 0, every >> np.clip(width - count, 0, width - 1).astype(plain), np.array(0, plain))


@opcode("bfe")
def extract(decoder: Decoder) -> Step:
    """Bits beyond the top are the sign bit for signed types, else 0."""
    type_ = decoder.type()
    decoder.finish(4)
    width = type_.bytes * 8

    def compute(a: Array, position: Array, length: Array) -> Array:
        start, count = (position & 0xFF).astype(np.int64), (length & 0xFF).astype(np.int64)
        plain = np.dtype(UNSIGNED[type_.bytes]).type
        bits = a.view(plain)
        field = np.where(start < width, bits >> np.minimum(start, width - 1).astype(plain), plain(0))
        kept = _ones(count, width)
        if not type_.signed:
            return (field & kept).astype(plain).view(type_.dtype)
        top = np.minimum(start + count - 1, width - 1)
        negative = ((bits >> np.maximum(top, 0).astype(plain)) & plain(1)).astype(np.bool_) & (count > 0)
        available = np.clip(width - start, 0, width)
        used = kept & _ones(available, width)
        return np.where(negative, (field & used) | ~used, field & used).astype(plain).view(type_.dtype)

    return pure(decoder, type_, [(1, type_), (2, TYPES["u32"]), (3, TYPES["u32"])], compute)


@opcode("bfi")
def insert(decoder: Decoder) -> Step:
    type_ = decoder.type()
    decoder.finish(5)
    plain, width = np.dtype(UNSIGNED[type_.bytes]).type, type_.bytes * 8

    def compute(a: Array, b: Array, position: Array, length: Array) -> Array:
        start, count = (position & 0xFF).astype(np.int64), (length & 0xFF).astype(np.int64)
        ones = _ones(count, width)
        clipped = np.minimum(start, width - 1).astype(plain)
        mask = np.where(start < width, ones << clipped, plain(0))
        return ((b & ~mask) | ((a << clipped) & mask)).astype(plain)

    return pure(decoder, type_, [(1, type_), (2, type_), (3, TYPES["u32"]), (4, TYPES["u32"])], compute)


@opcode("prmt")
def permute(decoder: Decoder) -> Step:
    mode = decoder.one_of("f4e", "b4e", "rc8", "ecl", "ecr", "rc16")
    type_ = decoder.type()
    decoder.finish(4)
    if mode is not None:
        raise decoder.unsupported(f"prmt.{mode}")

    def compute(a: Array, b: Array, selector: Array) -> Array:
        both = (b.astype(np.uint64) << np.uint64(32)) | a
        result = np.zeros(np.broadcast(both, selector).shape, np.uint32)
        for n in range(4):
            choice = (selector >> np.uint32(4 * n)) & np.uint32(15)
            byte = ((both >> ((choice & np.uint32(7)) * np.uint32(8)).astype(np.uint64)) & np.uint64(0xFF)).astype(
                np.uint32
            )
            signs = np.where(byte & np.uint32(0x80), np.uint32(0xFF), np.uint32(0))
            result |= np.where(choice & np.uint32(8), signs, byte) << np.uint32(8 * n)
        return result

    return pure(decoder, type_, [(n, TYPES["u32"]) for n in (1, 2, 3)], compute)


@opcode("lop3")
def any_logic(decoder: Decoder) -> Step:
    type_ = decoder.type()
    decoder.finish(5)
    table = decoder.integer(4)

    def compute(a: Array, b: Array, c: Array) -> Array:
        result = np.zeros(np.broadcast(a, b, c).shape, np.uint32)
        for n in range(8):
            if table >> n & 1:
                result |= (a if n & 4 else ~a) & (b if n & 2 else ~b) & (c if n & 1 else ~c)
        return result

    return pure(decoder, type_, [(n, TYPES["u32"]) for n in (1, 2, 3)], compute)


def _leading_zeros(a: Array, width: int) -> Array:
    value = a.astype(np.uint64)
    count = np.full(a.shape, width, np.uint32)
    for step in (32, 16, 8, 4, 2, 1):
        if step >= width:
            continue
        upper = value >> np.uint64(step)
        count = np.where(upper != 0, count - np.uint32(step), count)
        value = np.where(upper != 0, upper, value)
    return np.where(value != 0, count - np.uint32(1), count).astype(np.uint32)


def _reversed(a: Array) -> Array:
    by_byte = np.ascontiguousarray(a).view(np.uint8).reshape(a.size, -1)
    bits = np.unpackbits(by_byte, axis=1, bitorder="little")[:, ::-1]
    return np.packbits(bits, axis=1, bitorder="little").view(a.dtype).reshape(a.shape)


def _counted(a: Array) -> Array:
    return np.bitwise_count(a).astype(np.uint32)


@opcode("popc", "clz", "brev")
def count(decoder: Decoder) -> Step:
    type_ = decoder.type()
    decoder.finish(2)
    width = type_.bytes * 8
    if decoder.name == "brev":
        return pure(decoder, type_, [(1, type_)], _reversed)
    compute: Callable[[Array], Array] = _counted if decoder.name == "popc" else lambda a: _leading_zeros(a, width)
    return pure(decoder, TYPES["u32"], [(1, type_)], compute)


@opcode("bfind")
def find_bit(decoder: Decoder) -> Step:
    """The highest bit that differs from the sign, or its distance from the top; 0xffffffff if there is none."""
    as_shift = decoder.flag("shiftamt")
    type_ = decoder.type()
    decoder.finish(2)
    width, plain = type_.bytes * 8, UNSIGNED[type_.bytes]

    def compute(a: Array) -> Array:
        bits = (np.where(a < 0, ~a, a) if type_.signed else a).view(plain)
        zeros = _leading_zeros(bits, width)
        found = zeros if as_shift else np.uint32(width - 1) - zeros
        return np.where(bits == 0, np.uint32(0xFFFFFFFF), found).astype(np.uint32)

    return pure(decoder, TYPES["u32"], [(1, type_)], compute)
