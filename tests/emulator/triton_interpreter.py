"""Triton's interpreter, patched: import it, with TRITON_INTERPRET=1, before any module that contains kernels.

Unmodified, the interpreter multiplies the bit patterns of bfloat16, truncates where a GPU rounds, ignores
`input_precision`, and reads and writes wherever a pointer leads. Here

- `tl.dot` widens bfloat16 and rounds to tf32 if asked to;
- float32 is converted to bfloat16 by rounding to nearest, ties to even;
- an fma of float32 rounds once, unlike before Triton 3.9;
- a scalar can bound a loop with every version of NumPy, unlike in Triton 3.6;
- a comparison gives truth values, even if a scalar one is broadcast over a mask;
- arithmetic on bfloat16, which numpy cannot do as a GPU does, is an error: widen first;
- a load, store or atomic outside the tensors passed to the launch is an error;
- `counters` counts programs, operations of `tl.dot`, and bytes loaded and stored;
- `last_programs` skips all but the last programs of a launch, for tensors too large to be computed.

It replaces private names of triton: `test_triton_interpreter.py` has known answers that fail when they change.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

assert os.environ.get("TRITON_INTERPRET") == "1", "TRITON_INTERPRET=1 must be set before triton is imported"

import triton.language as tl  # noqa: E402
from triton.runtime import interpreter  # noqa: E402

from emulator.ptx.numerics import fma_f32  # noqa: E402

_Builder = interpreter.InterpreterBuilder
_Handle = interpreter.TensorHandle


class OutOfBounds(IndexError):
    """An access outside every tensor that the launch was given."""


@dataclass
class Counters:
    """Work since the last `reset()`; masked lanes are not counted."""

    programs: int = 0
    dot_flops: int = 0
    loaded_bytes: int = 0
    stored_bytes: int = 0

    def reset(self) -> None:
        for field in fields(self):
            setattr(self, field.name, 0)


counters = Counters()


def from_bfloat16(bits: np.ndarray) -> np.ndarray:
    return (bits.astype(np.uint32) << 16).view(np.float32)


def to_bfloat16(values: np.ndarray) -> np.ndarray:
    """To nearest, ties to even; NaN stays NaN."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> 16) & np.uint32(1))) >> 16
    return np.where(np.isnan(values), np.uint16(0x7FFF), rounded.astype(np.uint16)).reshape(np.shape(values))


def to_tf32(values: np.ndarray) -> np.ndarray:
    """Ten bits of mantissa, ties away from zero, as in cvt.rna.tf32."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    finite = np.isfinite(values)
    return np.where(finite, ((bits + np.uint32(0x1000)) & np.uint32(0xFFFFE000)).view(np.float32), values)


def _is_bfloat16(handle: Any) -> bool:
    return handle.dtype.scalar == tl.bfloat16


def _operand(handle: Any, precision: str) -> np.ndarray:
    if _is_bfloat16(handle):
        return from_bfloat16(handle.data)
    if handle.dtype.scalar == tl.float16:
        return handle.data.astype(np.float32)
    if handle.dtype.scalar != tl.float32:
        raise NotImplementedError(f"tl.dot of {handle.dtype.scalar}")
    return to_tf32(handle.data) if precision == "TF32" else handle.data


def _dot(self: Any, a: Any, b: Any, accumulator: Any, input_precision: Any, _: Any) -> Any:
    precision = str(input_precision).rpartition(".")[2]
    if precision not in ("IEEE", "TF32", "TF32x3"):
        raise NotImplementedError(f"tl.dot with input_precision {precision}")
    x, y = _operand(a, precision), _operand(b, precision)
    counters.dot_flops += 2 * accumulator.data.size * x.shape[-1]
    product = np.matmul(x, y).astype(accumulator.data.dtype)
    return _Handle(product + accumulator.data, accumulator.dtype.scalar)


_stock_cast, _stock_binary, _stock_unary = _Builder.cast_impl, _Builder.binary_op, _Builder.unary_op
_stock_convert, _stock_fma = _Builder.create_fp_to_fp, _Builder.create_fma


def _cast(self: Any, source: Any, target: Any) -> Any:
    if _is_bfloat16(source) and target.scalar != tl.bfloat16:
        wide = _Handle(from_bfloat16(source.data), tl.float32)
        return wide if target.scalar == tl.float32 else _stock_cast(self, wide, target)
    if target.scalar == tl.bfloat16 and not _is_bfloat16(source):
        return _Handle(to_bfloat16(source.data.astype(np.float32)), tl.bfloat16)
    return _stock_cast(self, source, target)


def _convert(self: Any, source: Any, target: Any, rounding: Any) -> Any:
    if tl.bfloat16 in (source.dtype.scalar, target.scalar):
        return _cast(self, source, target)
    return _stock_convert(self, source, target, rounding)


def _refuse(*handles: Any) -> None:
    if any(map(_is_bfloat16, handles)):
        raise TypeError("arithmetic on bfloat16: widen to float32 first")


def _binary(self: Any, left: Any, right: Any, function: Any) -> Any:
    _refuse(left, right)
    result = _stock_binary(self, left, right, function)
    # The result type of a comparison; otherwise a scalar one becomes integers when it is broadcast against a mask.
    return _Handle(result.data, tl.int1) if result.data.dtype == np.bool_ else result


def _unary(self: Any, argument: Any, function: Any) -> Any:
    _refuse(argument)
    return _stock_unary(self, argument, function)


def _fma(self: Any, x: Any, y: Any, z: Any) -> Any:
    _refuse(x, y, z)
    if z.dtype.scalar != tl.float32:
        return _stock_fma(self, x, y, z)
    operands = np.broadcast_arrays(x.data, y.data, z.data)
    with np.errstate(all="ignore"):
        return _Handle(fma_f32(*operands), tl.float32)


_stock_reduction = interpreter.ReduceOps.sum


def _sum(self: Any, argument: Any) -> Any:
    _refuse(argument.handle)
    return _stock_reduction(self, argument)


# Sorted start and end addresses of the current launch's tensors.
_ranges: list[tuple[int, int]] = []


def _checked(pointers: Any, mask: Any, what: str) -> int:
    """The bytes moved by the lanes inside the mask."""
    size = max(1, pointers.get_element_ty().primitive_bitwidth // 8)
    addresses = pointers.data if mask is None else np.broadcast_to(pointers.data, mask.data.shape)[mask.data]
    addresses = np.asarray(addresses).ravel()
    inside = np.zeros(addresses.shape, np.bool_)
    for first, end in _ranges:
        inside |= (addresses >= first) & (addresses + np.uint64(size) <= end)
    if not inside.all():
        outside = addresses[~inside]
        where = interpreter.interpreter_builder.grid_idx
        raise OutOfBounds(f"{what}: {outside.size} of {addresses.size} lanes, {hex(outside[0])}, program {where}")
    return addresses.size * size


_stock_load, _stock_store = _Builder.create_masked_load, _Builder.create_masked_store
_stock_rmw, _stock_cas = _Builder.create_atomic_rmw, _Builder.create_atomic_cas


def _load(self: Any, pointers: Any, mask: Any, *rest: Any, **named: Any) -> Any:
    counters.loaded_bytes += _checked(pointers, mask, "load")
    return _stock_load(self, pointers, mask, *rest, **named)


def _store(self: Any, pointers: Any, value: Any, mask: Any, *rest: Any, **named: Any) -> Any:
    counters.stored_bytes += _checked(pointers, mask, "store")
    return _stock_store(self, pointers, value, mask, *rest, **named)


def _atomic_rmw(self: Any, operation: Any, pointers: Any, value: Any, mask: Any, *rest: Any) -> Any:
    _refuse(value)
    _checked(pointers, mask, "atomic")
    return _stock_rmw(self, operation, pointers, value, mask, *rest)


def _atomic_cas(self: Any, pointers: Any, *rest: Any) -> Any:
    _checked(pointers, None, "atomic")
    return _stock_cas(self, pointers, *rest)


_stock_arguments = interpreter.GridExecutor._init_args_hst
_stock_program = _Builder.set_grid_idx


def _arguments(self: Any, args: Any, named: Any) -> Any:
    on_host = _stock_arguments(self, args, named)
    _ranges.clear()
    for value in (*on_host[0], *on_host[1].values()):
        tensor = getattr(value, "base", value)
        if hasattr(tensor, "data_ptr") and tensor.numel():
            extent = 1 + sum((n - 1) * step for n, step in zip(tensor.shape, tensor.stride(), strict=True))
            _ranges.append((tensor.data_ptr(), tensor.data_ptr() + extent * tensor.element_size()))
    return on_host


_stock_call = interpreter.GridExecutor.__call__
_last: int | None = None
_current: list[tuple[Any, Any]] = []


@contextlib.contextmanager
def last_programs(count: int) -> Iterator[None]:
    """Within this block, only the last programs of each launch run."""
    global _last
    before, _last = _last, count
    try:
        yield
    finally:
        _last = before


def _call(self: Any, *args: Any, **named: Any) -> None:
    _current.append((self, self.fn))
    try:
        _stock_call(self, *args, **named)
    finally:
        self.fn = _current.pop()[1]


def _program(self: Any, *index: int) -> None:
    """Called before each program; skips all but the last ones."""
    _stock_program(self, *index)
    (x, y, z), (width, height, depth) = index, self.grid_dim
    runs = _last is None or width * height * depth - ((x * height + y) * depth + z) <= _last
    counters.programs += runs
    executor, function = _current[-1]
    executor.fn = function if runs else lambda **_: None


_stock_patch = interpreter._patch_lang_tensor


def _patch(tensor: Any, scope: Any) -> None:
    _stock_patch(tensor, scope)
    scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.item()))


_Builder.create_dot = _dot
_Builder.cast_impl, _Builder.create_fp_to_fp = _cast, _convert
_Builder.binary_op, _Builder.unary_op, _Builder.create_fma = _binary, _unary, _fma
_Builder.create_masked_load, _Builder.create_masked_store = _load, _store
_Builder.create_atomic_rmw, _Builder.create_atomic_cas = _atomic_rmw, _atomic_cas
_Builder.set_grid_idx = _program
interpreter.ReduceOps.sum = _sum
interpreter._patch_lang_tensor = _patch
interpreter.GridExecutor._init_args_hst = _arguments
interpreter.GridExecutor.__call__ = _call
