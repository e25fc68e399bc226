"""Floating-point arithmetic, each result rounded once. NaN payloads are numpy's.

The approximate functions (.approx, .full) compute in float64 and round once: more exact than any GPU.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from emulator.ptx.lanes import Array
from emulator.ptx.numerics import (
    add_to_odd,
    directed,
    f32_in_f64,
    fma_f32,
    fma_f64,
    pack,
    unpack,
)
from emulator.ptx.operands import Decoder, Step, opcode, pure
from emulator.ptx.types import TYPES, Type

ROUNDINGS = ("rn", "rz", "rm", "rp")
_WIDTHS = {"f16x2": 2, "bf16x2": 2}


def finished(
    decoder: Decoder, type_: Type, operands: int, compute: Callable[..., Array], *, flush: bool = False
) -> Step:
    """The step of a float operation: .sat, .relu and flushing around `compute`, which works on unpacked values."""
    saturates, relu = decoder.flag("sat"), decoder.flag("relu")
    decoder.finish(operands + 1)
    unpacked, packed = unpack(type_.name), pack(type_.name)
    is_plain = type_.name in ("f32", "f64")
    if flush and type_.name == "f64":
        raise decoder.unsupported(".ftz of .f64")
    least = 2.0**-14 if type_.name.startswith("f16") else 2.0**-126

    def flushed(values: Array) -> Array:
        return np.where(np.abs(values) < least, np.copysign(values.dtype.type(0), values), values)

    def values(*arguments: Array) -> Array:
        if not is_plain:
            arguments = tuple(unpacked(a) for a in arguments)
        if flush:
            arguments = tuple(flushed(a) for a in arguments)
        result = compute(*arguments)
        if saturates:
            result = np.where(np.isnan(result), 0, np.clip(result, 0, 1)).astype(result.dtype)
        if relu:
            result = np.where(result > 0, result, np.where(np.isnan(result), result, 0)).astype(result.dtype)
        if flush:
            result = flushed(result)
        return result if is_plain else packed(result)

    is_bare = is_plain and not (saturates or relu or flush)
    return pure(decoder, type_, [(n + 1, type_) for n in range(operands)], compute if is_bare else values)


def arithmetic(decoder: Decoder, type_: Type) -> Step:
    """add, sub, mul, mad."""
    if decoder.name == "mad":
        return fused(decoder, type_)
    rounding = decoder.one_of(*ROUNDINGS) or "rn"
    flush = decoder.flag("ftz")
    decoder.flag("noftz")
    decoder.flops = _WIDTHS.get(type_.name, 1)
    name = decoder.name
    plain: Callable[..., Array] = {"add": np.add, "sub": np.subtract, "mul": np.multiply}[name]
    if rounding == "rn":
        return finished(decoder, type_, 2, plain, flush=flush)
    if type_.name != "f32":
        raise decoder.unsupported(f".{rounding} of .{type_.name}")

    def exactly(a: Array, b: Array) -> Array:
        return a * b if name == "mul" else add_to_odd(a, b if name == "add" else -b)

    return finished(decoder, type_, 2, lambda a, b: f32_in_f64(rounding, exactly, a, b), flush=flush)


@opcode("fma")
def fused_multiply_add(decoder: Decoder) -> Step:
    return fused(decoder, decoder.type())


def fused(decoder: Decoder, type_: Type) -> Step:
    rounding = decoder.required(*ROUNDINGS)
    flush = decoder.flag("ftz")
    decoder.flops = 2 * _WIDTHS.get(type_.name, 1)
    if type_.name == "f32":
        return finished(decoder, type_, 3, lambda a, b, c: fma_f32(a, b, c, rounding), flush=flush)
    if rounding != "rn":
        raise decoder.unsupported(f".{rounding} of .{type_.name}")
    if type_.name == "f64":
        return finished(decoder, type_, 3, fma_f64)

    def to_odd(a: Array, b: Array, c: Array) -> Array:
        return add_to_odd(a.astype(np.float64) * b.astype(np.float64), c.astype(np.float64))

    return finished(decoder, type_, 3, to_odd, flush=flush)


def divide(decoder: Decoder, type_: Type) -> Step:
    if decoder.name == "rem":
        raise decoder.unsupported("rem of floats")
    rounding = decoder.required("approx", "full", *ROUNDINGS)
    flush = decoder.flag("ftz")
    decoder.flops = 1
    if rounding in ("approx", "full"):
        rounding = "rn"
    if type_.name not in ("f32", "f64") or (type_.name == "f64" and rounding != "rn"):
        raise decoder.unsupported(f"division .{rounding} of .{type_.name}")
    return finished(decoder, type_, 2, _rounded(rounding, np.divide), flush=flush)


def _rounded(rounding: str, plain: Callable[..., Array]) -> Callable[..., Array]:
    """Division and square root: float64 distinguishes results from their float32 neighbours."""
    if rounding == "rn":
        return plain

    def compute(*arguments: Array) -> Array:
        exact = plain(*[a.astype(np.longdouble) for a in arguments])
        return directed(plain(*arguments), exact, rounding)

    return compute


def extreme(decoder: Decoder, type_: Type) -> Step:
    """min and max: NaN loses to a number, except with .NaN; −0 is less than +0."""
    flush, propagates = decoder.flag("ftz"), decoder.flag("NaN")
    if decoder.flag("xorsign", "abs"):
        raise decoder.unsupported(".xorsign.abs")
    is_min = decoder.name == "min"
    if len(decoder.operands) == 4:
        raise decoder.unsupported("three inputs")

    def compute(a: Array, b: Array) -> Array:
        a, b = np.broadcast_arrays(a, b)
        result = np.fmin(a, b) if is_min else np.fmax(a, b)
        negative = np.signbit(a) | np.signbit(b) if is_min else np.signbit(a) & np.signbit(b)
        nought = np.where(negative, result.dtype.type(-0.0), result.dtype.type(0.0))
        result = np.where((a == 0) & (b == 0), nought, result)
        if propagates:
            result = np.where(np.isnan(a) | np.isnan(b), result.dtype.type(np.nan), result)
        return result

    return finished(decoder, type_, 2, compute, flush=flush)


def sign(decoder: Decoder, type_: Type) -> Step:
    flush = decoder.flag("ftz")
    return finished(decoder, type_, 1, np.abs if decoder.name == "abs" else np.negative, flush=flush)


@opcode("copysign")
def copy_sign(decoder: Decoder) -> Step:
    return finished(decoder, decoder.type(), 2, lambda a, b: np.copysign(b, a))


@opcode("testp")
def test_property(decoder: Decoder) -> Step:
    name = decoder.required("finite", "infinite", "number", "notanumber", "normal", "subnormal")
    type_ = decoder.type()
    decoder.finish(2)
    least = np.finfo(type_.dtype).tiny
    properties: dict[str, Callable[[Array], Array]] = {
        "finite": np.isfinite,
        "infinite": np.isinf,
        "number": lambda a: ~np.isnan(a),
        "notanumber": np.isnan,
        "normal": lambda a: np.isfinite(a) & (np.abs(a) >= least),
        "subnormal": lambda a: (a != 0) & (np.abs(a) < least),
    }
    return pure(decoder, TYPES["pred"], [(1, type_)], properties[name])


_FUNCTIONS: dict[str, Callable[[Array], Array]] = {
    "sqrt": np.sqrt,
    "rsqrt": lambda a: 1 / np.sqrt(a),
    "rcp": lambda a: 1 / a,
    "sin": np.sin,
    "cos": np.cos,
    "ex2": np.exp2,
    "lg2": np.log2,
    "tanh": np.tanh,
}


@opcode("sqrt", "rsqrt", "rcp", "sin", "cos", "ex2", "lg2", "tanh")
def function(decoder: Decoder) -> Step:
    rounding = decoder.required("approx", *(ROUNDINGS if decoder.name in ("sqrt", "rcp") else ()))
    flush = decoder.flag("ftz")
    type_ = decoder.type()
    decoder.flops = _WIDTHS.get(type_.name, 1)
    compute = _FUNCTIONS[decoder.name]
    if type_.name == "f64":
        if rounding not in ("approx", "rn"):
            raise decoder.unsupported(f".{rounding} of .f64")
        decoder.finish(2)
        return pure(decoder, type_, [(1, type_)], compute)
    if rounding == "approx":
        is_f32 = type_.name == "f32"

        def approximate(a: Array) -> Array:
            exact = compute(a.astype(np.float64))
            return exact.astype(np.float32) if is_f32 else exact

        return finished(decoder, type_, 1, approximate, flush=flush)
    if type_.name != "f32":
        raise decoder.unsupported(f".{rounding} of .{type_.name}")
    return finished(
        decoder, type_, 1, _rounded(rounding, np.sqrt if decoder.name == "sqrt" else _reciprocal), flush=flush
    )


def _reciprocal(a: Array) -> Array:
    return a.dtype.type(1) / a
