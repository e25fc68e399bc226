"""Kernels of a few lines of PTX, for the interpreter's own tests."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
from emulator import ptx

Array = npt.NDArray[Any]

_HEADER = ".version 8.0\n.target {target}\n.address_size 64\n"
_REGISTERS = """
    .reg .pred %p<16>;
    .reg .b16 %h<32>;
    .reg .b32 %r<64>;
    .reg .f32 %f<32>;
    .reg .b64 %d<32>;
    .reg .f64 %e<16>;
"""


def kernel(body: str, parameters: Sequence[str] = (), *, target: str = "sm_80", outside: str = "") -> str:
    """A module with one kernel `test`; `parameters` are types, `u64` for pointers, read as [p0], [p1], …"""
    header = ", ".join(f".param .{type_} p{n}" for n, type_ in enumerate(parameters))
    return f"{_HEADER.format(target=target)}{outside}\n.visible .entry test({header})\n{{{_REGISTERS}{body}\nret;\n}}\n"


def run(
    body: str,
    arrays: Sequence[Any] = (),
    *,
    grid: int | Sequence[int] = 1,
    block: int | Sequence[int] = 32,
    outside: str = "",
    target: str = "sm_80",
    memory: ptx.Memory | None = None,
    **options: Any,
) -> tuple[ptx.Counters, list[Array]]:
    """Launches a body on arrays (pointers in %d0, %d1, …) or numbers (u32 parameters); returns the arrays' contents."""
    memory = memory or ptx.Memory()
    allocations = [a if isinstance(a, ptx.Allocation | int) else memory.array(a) for a in arrays]
    types = ["u32" if isinstance(a, int) else "u64" for a in allocations]
    loads = "".join(f"ld.param.u64 %d{n}, [p{n}];\n" for n, type_ in enumerate(types) if type_ == "u64")
    text = kernel(loads + body, types, outside=outside, target=target)
    counters = ptx.load(text).launch("test", grid, block, allocations, memory=memory, **options)
    return counters, [a.array for a in allocations if isinstance(a, ptx.Allocation)]


_LOADS = {1: "u8", 2: "b16", 4: "b32", 8: "b64"}
_PREFIX = {1: "%r", 2: "%h", 4: "%r", 8: "%d"}
_FIRST = {"%r": 20, "%h": 10, "%d": 20}


def apply(code: str, inputs: Sequence[Array], result: Any, **options: Any) -> Array:
    """Runs `code` once per element: {0}, {1}, … stand for the inputs' registers, {out} for the result's.

    Registers are untyped bits, as in Triton's PTX; %r0 holds the element's number, %r1 to %r9 are free.
    """
    inputs = [np.atleast_1d(np.asarray(a)) for a in inputs]
    result = np.dtype(result)
    count = max(a.size for a in inputs)
    names, lines = [], ["mov.u32 %r0, %ctaid.x;", "mov.u32 %r1, %ntid.x;", "mov.u32 %r2, %tid.x;"]
    lines += ["mad.lo.s32 %r0, %r0, %r1, %r2;", f"setp.ge.u32 %p15, %r0, {count};", "@%p15 bra END;"]
    for n, values in enumerate(inputs):
        prefix = _PREFIX[values.itemsize]
        name = f"{prefix}{_FIRST[prefix] + n}"
        names.append(name)
        lines.append(f"mad.wide.u32 %d15, %r0, {values.itemsize}, %d{n};")
        lines.append(f"ld.global.{_LOADS[values.itemsize]} {name}, [%d15];")
    prefix = _PREFIX[result.itemsize]
    out = f"{prefix}{_FIRST[prefix] + 8}"
    lines.append(code.format(*names, out=out))
    lines.append(f"mad.wide.u32 %d15, %r0, {result.itemsize}, %d{len(inputs)};")
    lines.append(f"st.global.{_LOADS[result.itemsize]} [%d15], {out};")
    lines.append("END:")
    memory = ptx.Memory()
    arrays = [memory.array(np.broadcast_to(a, count), read_only=True) for a in inputs]
    target_array = memory.empty(count, result)
    run("\n".join(lines), [*arrays, target_array], grid=-(-count // 128), block=128, memory=memory, **options)
    return target_array.array


def bits(values: Array) -> Array:
    """The bits of floats, with one pattern for all NaN."""
    values = np.ascontiguousarray(values)
    plain = values.view(f"u{values.itemsize}")
    return np.where(np.isnan(values), np.array(-1).astype(plain.dtype), plain) if values.dtype.kind == "f" else plain


def pairs(values: Array) -> tuple[Array, Array]:
    """Every value paired with every other."""
    left, right = np.meshgrid(values, values)
    return left.ravel(), right.ravel()


FLOATS = np.array(
    [0.0, -0.0, 1.0, -1.0, 0.5, 1.5, 2.5, 3.0, -2.5, 1e-45, -1e-45, 1.1754942e-38, 1.17549435e-38, 2e-38, 1e-30,
     3.4028235e38, -3.4028235e38, 1e38, np.inf, -np.inf, np.nan, 0.1, -0.3, 16777216.0, 16777217.0, 1 / 3, np.pi,
     65504.0, 65520.0, 65519.99, 6e-8, 2.9802322e-08, 2147483648.0, -2147483648.0, 4294967296.0, 255.5, -128.5],
    np.float32,
)  # fmt: skip
WORDS = np.array(
    [0, 1, 2, 3, 7, 8, 31, 32, 33, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x12345678, 0x7FFFFFFF,
     0x80000000, 0x80000001, 0xFFFFFFFE, 0xFFFFFFFF, 0xDEADBEEF],
    np.uint32,
)  # fmt: skip


def rounded(value, mode="rn", digits=24, least=-149):
    """A fraction rounded to the nearest float32 (or another format of ``digits`` bits), by definition."""
    if value == 0:
        return 0.0
    size = abs(value)
    exponent = max(math.floor(math.log2(size)) + 1 - digits, least)
    while size >= Fraction(2) ** (exponent + digits):
        exponent += 1
    while exponent > least and size < Fraction(2) ** (exponent + digits - 1):
        exponent -= 1
    unit = Fraction(2) ** exponent
    floor = value // unit
    rest = value - floor * unit
    if mode == "rn":
        up = rest > unit / 2 or (rest == unit / 2 and floor % 2)
    else:
        up = rest > 0 and {"rm": False, "rp": True, "rz": value < 0}[mode]
    return float((floor + bool(up)) * unit)
