"""ldmatrix, stmatrix, mma.sync.

A product is summed exactly enough in float64, the accumulator is added, and the sum is rounded once to its type. Tensor
cores align and truncate intermediate sums and differ in the last bits of float32.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

from emulator.ptx.lanes import Array, Lanes
from emulator.ptx.machine import SHARED_WINDOW, Machine
from emulator.ptx.numerics import from_bf16, truncated_tf32
from emulator.ptx.operands import Decoder, Read, Step, Write, opcode, spread
from emulator.ptx.types import TYPES

_KEPT = 64
_WORD = TYPES["b32"]


def _rows(machine: Machine, lanes: Lanes, matrices: int) -> Lanes:
    """The threads whose addresses are used: eight for each matrix."""
    if matrices == 4:
        return lanes
    mask = lanes.marked & (machine.thread % 32 < 8 * matrices)
    found = Lanes.of(mask)
    assert found is not None
    return found


def _shape(decoder: Decoder) -> tuple[int, bool]:
    decoder.required("sync")
    decoder.required("aligned")
    decoder.required("m8n8")
    count = int(decoder.required("x1", "x2", "x4")[1:])
    transposed = decoder.flag("trans")
    decoder.flag("shared", "shared::cta")
    decoder.required("b16")
    decoder.finish(2)
    return count, transposed


@opcode("ldmatrix")
def load_matrices(decoder: Decoder) -> Step:
    count, transposed = _shape(decoder)
    writes = [decoder.write(element, _WORD) for element in decoder.elements(0)]
    if len(writes) != count:
        raise decoder.unsupported(f"{len(writes)} registers for {count} matrices")
    address, instruction = decoder.address(1), decoder.instruction

    def step(machine: Machine, lanes: Lanes) -> None:
        machine.full_warps(instruction, lanes)
        rows = _rows(machine, lanes, count)
        where = spread(address(machine, rows), rows) & (SHARED_WINDOW - 1)
        raw = machine.shared.load(machine, instruction, rows, where, 16)
        halves = raw.view(np.uint16).reshape(-1, count, 8, 8)
        if transposed:
            halves = halves.swapaxes(2, 3)
        words = np.ascontiguousarray(halves.swapaxes(0, 1)).view(np.uint32).reshape(count, -1)
        for n, write in enumerate(writes):
            write(machine, lanes, words[n])

    return step


@opcode("stmatrix")
def store_matrices(decoder: Decoder) -> Step:
    count, transposed = _shape(decoder)
    reads = [decoder.read(element, _WORD) for element in decoder.elements(1)]
    if len(reads) != count:
        raise decoder.unsupported(f"{len(reads)} registers for {count} matrices")
    address, instruction = decoder.address(0), decoder.instruction

    def step(machine: Machine, lanes: Lanes) -> None:
        machine.full_warps(instruction, lanes)
        rows = _rows(machine, lanes, count)
        where = spread(address(machine, rows), rows) & (SHARED_WINDOW - 1)
        words = np.stack([spread(read(machine, lanes), lanes) for read in reads])
        halves = words.view(np.uint16).reshape(count, -1, 8, 8)
        if transposed:
            halves = halves.swapaxes(2, 3)
        values = np.ascontiguousarray(halves.swapaxes(0, 1)).view(np.complex128).reshape(-1)
        machine.shared.store(machine, instruction, rows, where, 16, values)

    return step


# For each element type: elements per register, and the conversion of their bits (uint8, uint16 or uint32) to values.
ELEMENTS: dict[str, tuple[int, Callable[[Array], Array]]] = {
    "tf32": (1, truncated_tf32),
    "f16": (2, lambda bits: bits.view(np.float16)),
    "bf16": (2, from_bf16),
    "s8": (4, lambda bits: bits.view(np.int8)),
    "u8": (4, lambda bits: bits),
}
_BITS = {1: np.uint32, 2: np.uint16, 4: np.uint8}


class Fragments:
    """Registers to matrices, cached while the registers stay bound: an operand serves several products."""

    def __init__(self) -> None:
        self._known: dict[tuple[object, ...], tuple[list[Array], Array]] = {}

    def matrix(self, name: str, is_left: bool, registers: list[Array], lanes: Lanes) -> Array:
        key = (name, is_left, lanes.count, *(id(register) for register in registers))
        known = self._known.get(key)
        if known is not None:
            return known[1]
        per_register, values = ELEMENTS[name]
        words = np.stack([spread(register, lanes) for register in registers])
        parts = words.view(_BITS[per_register])
        warps = lanes.count // 32
        if is_left:
            # Registers run down the two halves of the rows first, then along k.
            shaped = parts.reshape(-1, 2, warps, 8, 4, per_register).transpose(2, 1, 3, 0, 4, 5)
            bits = np.ascontiguousarray(shaped).reshape(warps, 16, -1)
        else:
            shaped = parts.reshape(-1, warps, 8, 4, per_register).transpose(1, 0, 3, 4, 2)
            bits = np.ascontiguousarray(shaped).reshape(warps, -1, 8)
        found = values(bits).astype(np.float64)
        if len(self._known) >= _KEPT:
            self._known.pop(next(iter(self._known)))
        self._known[key] = registers, found
        return found


def fragments(machine: Machine) -> Fragments:
    found = machine.scratch.get("fragments")
    if found is None:
        found = machine.scratch["fragments"] = Fragments()
    assert isinstance(found, Fragments)
    return found


# Shapes by element type, as m16n8k…
_DEPTHS = {"tf32": (4, 8), "f16": (8, 16), "bf16": (8, 16), "s8": (16, 32), "u8": (16, 32)}


@opcode("mma")
def multiply(decoder: Decoder) -> Step:
    decoder.required("sync")
    decoder.required("aligned")
    shape = next((re.fullmatch(r"m16n8k(\d+)", p) for p in decoder.instruction.parts if p.startswith("m16n8k")), None)
    if shape is None:
        raise decoder.unsupported("this shape")
    decoder.required(shape[0])
    decoder.required("row")
    decoder.required("col")
    finite = decoder.flag("satfinite")
    result, left, right, sum_ = (decoder.type() for _ in range(4))
    decoder.finish(4)
    depth = int(shape[1])
    is_integer = left.kind in "us"
    accumulators = ("s32",) if is_integer else ("f32", "f16") if left.name == "f16" else ("f32",)
    if left.name not in _DEPTHS or depth not in _DEPTHS[left.name] or result != sum_ or result.name not in accumulators:
        raise decoder.unsupported("this combination of types and shape")
    if (right != left and not is_integer) or finite:
        raise decoder.unsupported("this combination of types")
    per_register = ELEMENTS[left.name][0]
    counts = (2 if result.name == "f16" else 4, 2 * depth // (4 * per_register), depth // (4 * per_register))
    operands = [decoder.elements(n) for n in range(4)]
    if tuple(len(o) for o in operands) != (counts[0], counts[1], counts[2], counts[0]):
        raise decoder.unsupported("this number of registers")
    writes: list[Write] = [decoder.write(o, _WORD) for o in operands[0]]
    reads: list[list[Read]] = [[decoder.read(o, _WORD) for o in group] for group in operands[1:]]
    instruction, flops = decoder.instruction, 2 * 16 * 8 * depth

    def step(machine: Machine, lanes: Lanes) -> None:
        machine.full_warps(instruction, lanes)
        a, b, c = ([read(machine, lanes) for read in group] for group in reads)
        known = fragments(machine)
        product = np.matmul(known.matrix(left.name, True, a, lanes), known.matrix(right.name, False, b, lanes))
        warps = lanes.count // 32
        machine.counters.tensor_flops[instruction.index] += flops * warps
        ordered = product.reshape(warps, 2, 8, 4, 2).transpose(1, 4, 0, 2, 3).reshape(4, -1)
        if result.name == "f16":
            before = np.stack([spread(r, lanes) for r in c]).view(np.float16).reshape(2, -1, 2)
            total = (ordered.reshape(2, 2, -1).swapaxes(1, 2) + before).astype(np.float16)
            for n, write in enumerate(writes):
                write(machine, lanes, np.ascontiguousarray(total[n]).view(np.uint32).reshape(-1))
            return
        for n, write in enumerate(writes):
            before = c[n].view(result.dtype)
            total = ordered[n] + before
            if is_integer:
                total = total.astype(np.int64).astype(np.int32)
            write(machine, lanes, total.astype(result.dtype))

    return step
