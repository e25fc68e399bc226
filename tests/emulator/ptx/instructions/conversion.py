"""cvt with all roundings, cvta, isspacep."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from emulator.ptx.lanes import Array
from emulator.ptx.machine import LOCAL_WINDOW, PARAMETER_WINDOW, SHARED_WINDOW
from emulator.ptx.numerics import directed, flushed, from_bf16, to_bf16, to_bf16_directed, to_f32_odd, to_tf32
from emulator.ptx.operands import Decoder, Step, opcode, pure
from emulator.ptx.types import TYPES, Type

_TO_INTEGER: dict[str, Callable[[Array], Array]] = {
    "rni": np.rint,
    "rzi": np.trunc,
    "rmi": np.floor,
    "rpi": np.ceil,
}
_WINDOWS = {"global": 0, "const": 0, "shared": SHARED_WINDOW, "local": LOCAL_WINDOW, "param": PARAMETER_WINDOW}


@opcode("cvt")
def convert(decoder: Decoder) -> Step:
    rounding = decoder.one_of("rn", "rz", "rm", "rp", "rna", "rni", "rzi", "rmi", "rpi")
    flush, saturates = decoder.flag("ftz"), decoder.flag("sat")
    relu, finite = decoder.flag("relu"), decoder.flag("satfinite")
    result, source = decoder.type(), decoder.type()
    if finite:
        raise decoder.unsupported(".satfinite")
    if result.name in ("f16x2", "bf16x2"):
        return _pair(decoder, result, source, rounding or "", relu)
    decoder.finish(2)
    compute = _conversion(decoder, result, source, rounding, saturates, flush)
    if relu:
        plain = compute

        def compute(a: Array) -> Array:
            return plain(np.where(np.isnan(a) | (a > 0), a, np.zeros_like(a)))

        if source.name != "f32":
            raise decoder.unsupported(".relu of this source")
    return pure(decoder, result, [(1, source)], compute)


def _conversion(
    decoder: Decoder, result: Type, source: Type, rounding: str | None, saturates: bool, flush: bool
) -> Callable[[Array], Array]:
    if "b" in (result.kind, source.kind) or "x2" in source.name:
        raise decoder.unsupported("conversion of these types")
    if source.kind in "us" and result.kind in "us":
        return _integer_to_integer(result, saturates)
    if source.kind in "us":
        return _integer_to_float(decoder, result, rounding or "", saturates)
    if result.kind in "us":
        return _float_to_integer(decoder, result, source, rounding or "", flush)
    return _float_to_float(decoder, result, source, rounding, saturates, flush)


def _limits(type_: Type) -> tuple[int, int]:
    info = np.iinfo(type_.dtype)
    return int(info.min), int(info.max)


def _integer_to_integer(result: Type, saturates: bool) -> Callable[[Array], Array]:
    low, high = _limits(result)

    def compute(a: Array) -> Array:
        if saturates:
            least, most = _limits_of(a)
            a = np.clip(a, max(low, least), min(high, most))
        return a.astype(result.dtype)

    return compute


def _limits_of(values: Array) -> tuple[int, int]:
    info = np.iinfo(values.dtype)
    return int(info.min), int(info.max)


def _integer_to_float(decoder: Decoder, result: Type, rounding: str, saturates: bool) -> Callable[[Array], Array]:
    if rounding not in ("rn", "rz", "rm", "rp"):
        raise decoder.unsupported("an integer to a float needs a rounding")

    def compute(a: Array) -> Array:
        exact = a.astype(np.longdouble)
        if result.name in ("f32", "f64"):
            value = directed(a.astype(result.dtype), exact, rounding)
        else:
            if rounding != "rn":
                raise decoder.unsupported("this rounding of this type")
            odd = to_f32_odd(a.astype(np.float64))
            value = to_bf16(odd) if result.name == "bf16" else odd.astype(np.float16)
        return np.clip(value, 0, 1) if saturates else value

    if saturates and result.name not in ("f32", "f64"):
        raise decoder.unsupported(".sat of this type")
    return compute


def _float_to_integer(
    decoder: Decoder, result: Type, source: Type, rounding: str, flush: bool
) -> Callable[[Array], Array]:
    """Clamped to the integer's range; NaN becomes 0, or the minimum of s64 in 64 bits."""
    if rounding not in _TO_INTEGER:
        raise decoder.unsupported("a float to an integer needs an integer rounding")
    low, high = _limits(result)
    of_nan = 0 if result.bytes < 8 else (1 << 63)

    def compute(a: Array) -> Array:
        values = _TO_INTEGER[rounding](_plain(a, source, flush).astype(np.float64))
        inside = (values > float(low)) & (values < float(high))
        whole = np.where(inside, values, 0.0)
        signed = whole.astype(np.int64)
        if result.name == "u64":
            upper = whole >= 2.0**63
            signed = np.where(upper, (whole - 2.0**63).astype(np.int64) ^ np.int64(-(1 << 63)), whole.astype(np.int64))
        bits = signed.view(np.uint64)
        mask = (1 << 64) - 1
        bits = np.where(values >= float(high), np.uint64(high & mask), bits)
        bits = np.where(values <= float(low), np.uint64(low & mask), bits)
        bits = np.where(np.isnan(values), np.uint64(of_nan), bits)
        return bits.astype(result.dtype) if result.bytes < 8 else bits.view(result.dtype)

    return compute


def _plain(a: Array, source: Type, flush: bool) -> Array:
    if source.name == "bf16":
        return from_bf16(a)
    if source.name == "f32" and flush:
        return flushed(a)
    return a


def _float_to_float(
    decoder: Decoder, result: Type, source: Type, rounding: str | None, saturates: bool, flush: bool
) -> Callable[[Array], Array]:
    to_whole = rounding in _TO_INTEGER
    if source.name == "tf32":
        raise decoder.unsupported("conversion from .tf32")
    if result.name == "tf32":
        if source.name != "f32" or rounding not in ("rna", "rn", "rz") or saturates:
            raise decoder.unsupported("this conversion to .tf32")
        kind = rounding
        return lambda a: to_tf32(a, kind)
    if result.bytes < source.bytes and rounding is None:
        raise decoder.unsupported("a narrowing conversion needs a rounding")
    direction = rounding if rounding in ("rz", "rm", "rp") else "rn"

    def compute(a: Array) -> Array:
        values = _plain(a, source, flush)
        if to_whole and rounding is not None:
            values = _TO_INTEGER[rounding](values)
        if saturates:
            values = np.where(np.isnan(values), 0, np.clip(values, 0, 1)).astype(values.dtype)
        converted = _rounded(values, result, direction)
        return flushed(converted) if flush and result.name == "f32" else converted

    if result.name == "bf16" and direction not in ("rn", "rz"):
        raise decoder.unsupported(f".{direction} to .bf16")
    return compute


def _rounded(values: Array, result: Type, direction: str) -> Array:
    if result.name == "bf16":
        if values.dtype == np.float64:
            values = to_f32_odd(values)
        return to_bf16_directed(values.astype(np.float32), direction)
    near = values.astype(result.dtype)
    if result.name == "f16":
        near = np.where(np.isnan(values), np.uint16(0x7FFF), near.view(np.uint16)).view(np.float16)
    if result.bytes >= values.itemsize or direction == "rn":
        return near
    return directed(near, values, direction)


def _pair(decoder: Decoder, result: Type, source: Type, rounding: str, relu: bool) -> Step:
    """Two floats into one register, the first in the upper half."""
    decoder.finish(3)
    if source.name != "f32" or rounding not in ("rn", "rz"):
        raise decoder.unsupported("conversion of these types")
    half = TYPES["bf16" if result.name == "bf16x2" else "f16"]

    def one(a: Array) -> Array:
        if relu:
            a = np.where(np.isnan(a) | (a > 0), a, np.float32(0))
        return _rounded(a, half, rounding).view(np.uint16).astype(np.uint32)

    return pure(decoder, result, [(1, source), (2, source)], lambda a, b: (one(a) << np.uint32(16)) | one(b))


@opcode("cvta")
def convert_address(decoder: Decoder) -> Step:
    """Generic addresses carry their space in the upper bits; those of global memory are unchanged."""
    leaves = decoder.flag("to")
    space = decoder.required("global", "shared", "local", "const", "param", "shared::cta").split(":")[0]
    window = np.uint64(_WINDOWS[space])
    type_ = decoder.type()
    decoder.finish(2)
    if type_.bytes != 8 and window:
        raise decoder.unsupported("32-bit generic addresses")
    return pure(decoder, type_, [(1, type_)], lambda a: a - window if leaves else a + window)


@opcode("isspacep")
def is_in_space(decoder: Decoder) -> Step:
    space = decoder.required("global", "shared", "local", "const", "param", "shared::cta").split(":")[0]
    decoder.finish(2)
    window = np.uint64(_WINDOWS[space] >> 48)
    return pure(decoder, TYPES["pred"], [(1, TYPES["u64"])], lambda a: a >> np.uint64(48) == window)
