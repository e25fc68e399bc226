"""Floating-point formats and roundings that numpy lacks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from emulator.ptx.lanes import Array

F32_LEAST_NORMAL_TWICE = np.uint64(np.float64(2.0**-126).view(np.uint64)) << np.uint64(1)


def from_bf16(bits: Array) -> Array:
    """Float32 values of bfloat16 bits, which are stored as uint16."""
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)


def to_bf16(values: Array) -> Array:
    """Float32 to bfloat16 bits, to nearest even; NaN becomes 0x7fff."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
    return np.where(np.isnan(values), np.uint16(0x7FFF), rounded.astype(np.uint16))


def to_bf16_directed(values: Array, rounding: str) -> Array:
    """Float32 to bfloat16 bits; rz drops the low half."""
    if rounding == "rn":
        return to_bf16(values)
    assert rounding == "rz"
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32) >> np.uint32(16)
    return np.where(np.isnan(values), np.uint16(0x7FFF), bits.astype(np.uint16))


def to_tf32(values: Array, rounding: str) -> Array:
    """Float32 bits with a 10-bit mantissa: rna to nearest, ties away from zero; rn ties to even; rz."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    if rounding == "rna":
        bits = bits + np.uint32(0x1000)
    elif rounding == "rn":
        bits = bits + np.uint32(0xFFF) + ((bits >> np.uint32(13)) & np.uint32(1))
    return np.where(np.isnan(values), np.uint32(0x7FFFFFFF), bits & np.uint32(0xFFFFE000))


def truncated_tf32(bits: Array) -> Array:
    """The float32 value that tensor cores read as tf32."""
    return (bits & np.uint32(0xFFFFE000)).view(np.float32)


def flushed(values: Array) -> Array:
    """Subnormal float32 flushed to zero of the same sign."""
    bits = np.ascontiguousarray(values).view(np.uint32)
    return np.where(bits & np.uint32(0x7F800000), bits, bits & np.uint32(0x80000000)).view(np.float32)


def add_to_odd(a: Array, b: Array) -> Array:
    """a + b in float64, rounded to odd: rounding it again to fewer bits gives the correctly rounded sum."""
    total = a + b
    of_b = total - a
    error = (a - (total - of_b)) + (b - of_b)
    bits = total.view(np.int64)
    away = (error > 0) == (total > 0)
    inexact_and_even = (np.abs(error) > 0) & ((bits & 1) == 0)
    return (bits + np.where(inexact_and_even, np.where(away, 1, -1), 0)).view(np.float64)


def to_f32_odd(values: Array) -> Array:
    """Float64 to float32, rounded to odd."""
    near = values.astype(np.float32)
    wide = near.astype(np.float64)
    bits = near.view(np.int32)
    move = (wide != values) & ((bits & 1) == 0) & ~np.isnan(values)
    return (bits + np.where(move, np.where(np.abs(wide) < np.abs(values), 1, -1), 0).astype(np.int32)).view(np.float32)


_INTEGERS = {2: np.int16, 4: np.int32, 8: np.int64}


def directed(near: Array, exact: Array, rounding: str) -> Array:
    """Moves values rounded to nearest to the neighbour required by rz, rm or rp; `exact` compares exactly with them."""
    if rounding == "rn":
        return near
    wide = near.astype(exact.dtype)
    bits = near.view(_INTEGERS[near.itemsize])
    outward = np.where(np.signbit(near), -1, 1).astype(bits.dtype)
    if rounding == "rz":
        step = np.where(np.abs(wide) > np.abs(exact), -1, 0).astype(bits.dtype)
    elif rounding == "rm":
        step = np.where(wide > exact, -outward, 0).astype(bits.dtype)
    elif rounding == "rp":
        step = np.where(wide < exact, outward, 0).astype(bits.dtype)
    else:
        raise ValueError(rounding)
    return (bits + step).view(near.dtype)


def f32_in_f64(rounding: str, compute: Callable[..., Array], *arguments: Array) -> Array:
    """A float32 result of `compute`, which rounds to odd in float64."""
    exact = compute(*[a.astype(np.float64) for a in arguments])
    return directed(exact.astype(np.float32), exact, rounding)


def fma_f32(a: Array, b: Array, c: Array, rounding: str = "rn") -> Array:
    """a·b + c rounded once: the product is exact in float64; sums near a float32 tie are recomputed, rounded to odd."""
    product = a.astype(np.float64) * b.astype(np.float64)
    addend = c.astype(np.float64)
    if rounding != "rn":
        exact = add_to_odd(product, addend)
        return directed(exact.astype(np.float32), exact, rounding)
    total = product + addend
    result = total.astype(np.float32)
    bits = total.view(np.uint64)
    is_tie = (bits & np.uint64(0x1FFFFFFF)) == np.uint64(0x10000000)
    is_small = ((bits << np.uint64(1)) - np.uint64(1)) < F32_LEAST_NORMAL_TWICE
    risky = is_tie | is_small
    if risky.any():
        product, addend = np.broadcast_to(product, total.shape)[risky], np.broadcast_to(addend, total.shape)[risky]
        result[risky] = add_to_odd(product, addend).astype(np.float32)
    return result


def _split(a: Array) -> tuple[Array, Array]:
    scaled = a * 134217729.0
    high = scaled - (scaled - a)
    return high, a - high


def _exact_product(a: Array, b: Array) -> tuple[Array, Array]:
    product = a * b
    (ah, al), (bh, bl) = _split(a), _split(b)
    return product, ((ah * bh - product) + ah * bl + al * bh) + al * bl


def _exact_sum(a: Array, b: Array) -> tuple[Array, Array]:
    total = a + b
    of_b = total - a
    return total, (a - (total - of_b)) + (b - of_b)


def fma_f64(a: Array, b: Array, c: Array) -> Array:
    """a·b + c rounded once (Boldo and Melquiond), barring intermediate over- or underflow."""
    a, b, c = np.broadcast_arrays(a, b, c)
    high, low = _exact_product(a, b)
    sum_high, sum_low = _exact_sum(c, low)
    total, rest = _exact_sum(high, sum_high)
    result = total + add_to_odd(sum_low, rest)
    return np.where(np.isfinite(result), result, a * b + c)


def unpack(name: str) -> Callable[[Array], Array]:
    """Converts register bits of a float type to values: float64 for f64, else float32; pairs get an axis."""

    def halves(bits: Array) -> Array:
        return np.ascontiguousarray(bits).view(np.uint16).reshape(-1, 2)

    return {
        "f64": lambda bits: bits,
        "f32": lambda bits: bits,
        "f16": lambda bits: bits.astype(np.float32),
        "bf16": from_bf16,
        "f16x2": lambda bits: halves(bits).view(np.float16).astype(np.float32),
        "bf16x2": lambda bits: from_bf16(halves(bits)),
    }[name]


def pack(name: str) -> Callable[[Array], Array]:
    """The inverse of `unpack`; rounds to nearest even from float32, or once from float64 that was rounded to odd."""

    def bf16(values: Array) -> Array:
        return to_bf16(to_f32_odd(values) if values.dtype == np.float64 else values)

    def f16(values: Array) -> Array:
        half = values.astype(np.float16).view(np.uint16)
        return np.where(np.isnan(values), np.uint16(0x7FFF), half)

    def together(halves: Array) -> Array:
        return np.ascontiguousarray(halves).view(np.uint32).reshape(-1)

    return {
        "f64": lambda values: values,
        "f32": lambda values: values,
        "f16": lambda values: f16(values).view(np.float16),
        "bf16": bf16,
        "f16x2": lambda values: together(f16(values)),
        "bf16x2": lambda values: together(bf16(values)),
    }[name]
