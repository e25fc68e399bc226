"""wgmma: products of a warp group from shared memory, described by 64-bit matrix descriptors.

A product is computed when it is issued. Until it is waited for, its shared memory must not be written and its
accumulators must not be touched; what the generic proxy wrote must have been fenced.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from emulator.ptx.errors import DivergentCollective, MatrixInFlight, SharedOutOfBounds, UnsupportedInstruction
from emulator.ptx.flow import left_operand
from emulator.ptx.flow import writes as writes_of
from emulator.ptx.instructions.matrices import ELEMENTS, fragments
from emulator.ptx.lanes import Array, Lanes
from emulator.ptx.machine import Machine
from emulator.ptx.operands import Decoder, Read, Step, opcode, spread
from emulator.ptx.syntax import Instruction, Register, Vector
from emulator.ptx.types import TYPES

# By swizzle mode: bytes per row, and the address bits that are XORed with bits 7 to 9.
_SWIZZLES = {0: (16, 0), 1: (128, 0x70), 2: (64, 0x30), 3: (32, 0x10)}


@dataclass
class Pending:
    granules: list[Array]
    accumulators: set[int]
    left: set[int]
    committed: bool = False


def pending(machine: Machine) -> list[Pending]:
    found: list[Pending] = machine.scratch.setdefault("products", [])
    return found


@opcode("wgmma")
def warp_group(decoder: Decoder) -> Step:
    what = decoder.required("mma_async", "fence", "commit_group", "wait_group")
    decoder.required("sync")
    decoder.required("aligned")
    if what == "mma_async":
        return _product(decoder)
    if what == "wait_group":
        decoder.finish(1)
        allowed = decoder.integer(0)
        return lambda machine, lanes: _wait(machine, allowed)
    decoder.finish(0)
    instruction = decoder.instruction
    if what == "fence":
        return lambda machine, lanes: check_group(machine, instruction, lanes)
    return lambda machine, lanes: _commit(machine)


def check_group(machine: Machine, instruction: Instruction, lanes: Lanes) -> None:
    """All 128 threads of each group, in all groups of the batch: diverging groups are not modelled."""
    if lanes.count == machine.total:
        return
    machine.full_warps(instruction, lanes)
    groups = lanes.marked.reshape(-1, 128) if machine.lanes_per_block % 128 == 0 else None
    if groups is None or (groups.any(axis=1) & ~groups.all(axis=1)).any():
        raise machine.error(DivergentCollective, instruction, "wgmma without all four warps of the group", lanes, 0)


def _commit(machine: Machine) -> None:
    fresh = [p for p in pending(machine) if not p.committed]
    others = [p for p in pending(machine) if p.committed]
    group = Pending(
        [g for p in fresh for g in p.granules],
        {r for p in fresh for r in p.accumulators},
        {r for p in fresh for r in p.left},
        committed=True,
    )
    machine.scratch["products"] = [*others, group]


def _wait(machine: Machine, allowed: int) -> None:
    groups = [p for p in pending(machine) if p.committed]
    done = groups[: max(0, len(groups) - allowed)]
    for group in done:
        for granules in group.granules:
            assert machine.shared.matrix_reads is not None
            np.subtract.at(machine.shared.matrix_reads, granules, 1)
    finished = {id(group) for group in done}
    machine.scratch["products"] = [p for p in pending(machine) if id(p) not in finished]


def check_registers_in_use(
    machine: Machine, instruction: Instruction, lanes: Lanes, read: set[int], written: set[int]
) -> None:
    """Accumulators must not be touched, nor left operands written, before the wgmma has been waited for."""
    for product in pending(machine):
        touched = product.accumulators & (read | written) | product.left & written
        if touched:
            name = machine.kernel.registers[min(touched)].name
            message = f"{name} is touched before the wgmma that uses it was waited for"
            raise machine.error(MatrixInFlight, instruction, message, lanes, 0)


def _product(decoder: Decoder) -> Step:
    shape = next((re.fullmatch(r"m64n(\d+)k(\d+)", p) for p in decoder.instruction.parts if p.startswith("m64n")), None)
    if shape is None:
        raise decoder.unsupported("this shape")
    decoder.required(shape[0])
    result, left, right = (decoder.type() for _ in range(3))
    columns, depth = int(shape[1]), int(shape[2])
    if result.name != "f32" or left != right or depth != {"f16": 16, "bf16": 16, "tf32": 8}.get(left.name):
        raise decoder.unsupported("this combination of types and shape")
    operands = decoder.operands
    has_transposes = left.name != "tf32"
    from_registers = isinstance(operands[1], Vector)
    scales = 6 + (0 if not has_transposes else 1 if from_registers else 2)
    decoder.finish(scales)
    if decoder.integer(4) != 1 or decoder.integer(5) != 1:
        raise decoder.unsupported("a negated operand")
    transposed_left = has_transposes and not from_registers and decoder.integer(6) == 1
    transposed_right = has_transposes and decoder.integer(scales - 1) == 1
    accumulators = decoder.elements(0)
    if len(accumulators) != columns // 2 or not all(isinstance(r, Register) for r in accumulators):
        raise decoder.unsupported("these accumulators")
    writes = [decoder.write(r, TYPES["f32"]) for r in accumulators]
    before = [decoder.read(r, TYPES["f32"]) for r in accumulators]
    registers, left_registers = writes_of(decoder.instruction), left_operand(decoder.instruction)
    left_reads: list[Read] = [decoder.read(r, TYPES["b32"]) for r in decoder.elements(1)] if from_registers else []
    left_descriptor = None if from_registers else decoder.read(1, TYPES["u64"])
    right_descriptor, adds = decoder.read(2, TYPES["u64"]), decoder.read(3, TYPES["pred"])
    instruction, name = decoder.instruction, left.name

    def step(machine: Machine, lanes: Lanes) -> None:
        check_group(machine, instruction, lanes)
        touched: list[Array] = []
        groups = lanes.count // 128
        if left_descriptor is None:
            parts = fragments(machine).matrix(name, True, [read(machine, lanes) for read in left_reads], lanes)
            a = parts.reshape(groups, 64, depth)
        else:
            described = left_descriptor(machine, lanes)
            a = _tile(machine, instruction, lanes, described, 64, depth, name, transposed_left, touched)
        described = right_descriptor(machine, lanes)
        b = _tile(machine, instruction, lanes, described, columns, depth, name, transposed_right, touched)
        product = np.matmul(a, b.swapaxes(1, 2))
        ordered = product.reshape(groups, 4, 2, 8, columns // 8, 4, 2).transpose(4, 2, 6, 0, 1, 3, 5)
        flat = ordered.reshape(columns // 2, -1)
        keep = adds(machine, lanes)
        for n, write in enumerate(writes):
            old = np.where(keep, before[n](machine, lanes), np.float32(0))
            write(machine, lanes, (flat[n] + old).astype(np.float32))
        machine.counters.tensor_flops[instruction.index] += 2 * 64 * columns * depth * groups
        pending(machine).append(Pending(touched, registers, left_registers))

    return step


def _tile(
    machine: Machine,
    instruction: Instruction,
    lanes: Lanes,
    described: Array,
    rows: int,
    depth: int,
    name: str,
    transposed: bool,
    touched: list[Array],
) -> Array:
    """Each group's [rows, depth] operand given by a descriptor, in float64."""
    per_group = spread(described, lanes).reshape(-1, 128)
    if (per_group != per_group[:, :1]).any():
        raise machine.error(
            DivergentCollective, instruction, "a matrix descriptor that differs within the group", lanes, 0
        )
    descriptor = per_group[:, 0].astype(np.uint64)
    field = np.uint64(0x3FFF)
    start, leading, stride = (((descriptor >> np.uint64(s)) & field).astype(np.int64) << 4 for s in (0, 16, 32))
    if ((descriptor >> np.uint64(49)) & np.uint64(7)).any():
        raise machine.error(UnsupportedInstruction, instruction, "a matrix descriptor with a base offset", lanes, 0)
    modes = np.unique(descriptor >> np.uint64(62))
    if modes.size != 1:
        raise machine.error(UnsupportedInstruction, instruction, "several swizzles at once", lanes, 0)
    width, mixed = _SWIZZLES[int(modes[0])]
    size = 4 // ELEMENTS[name][0]
    inside = _offsets(rows, depth, size, width, transposed, leading, stride)
    address = start[:, None, None] + inside
    address ^= (address >> 3) & mixed
    leaders = lanes.indices[::128]
    if int(address.max()) + size > machine.shared.size:
        message = f"wgmma reads byte {int(address.max())} of {machine.shared.size}"
        raise machine.error(SharedOutOfBounds, instruction, message, lanes, 0)
    position = address + machine.shared.base[leaders][:, None, None]
    if machine.checks:
        _note_reads(machine, instruction, lanes, leaders, position, touched)
    machine.counters.shared_bytes_read[instruction.index] += position.size * size
    dtype = np.uint16 if size == 2 else np.uint32
    bits = machine.shared.view(size)[position // size]
    return np.asarray(ELEMENTS[name][1](np.ascontiguousarray(bits, dtype)).astype(np.float64))


def _offsets(rows: int, depth: int, size: int, width: int, transposed: bool, leading: Array, stride: Array) -> Array:
    """Byte offsets before swizzling, [groups, rows, depth]."""
    row, k = np.arange(rows)[:, None], np.arange(depth)[None, :]
    leading, stride = leading[:, None, None], stride[:, None, None]
    if not transposed:
        byte = k * size
        if width == 16:
            return np.asarray(row % 8 * 16 + row // 8 * stride + byte % 16 + byte // 16 * leading)
        return np.asarray(row % 8 * width + row // 8 * stride + byte + 0 * leading)
    byte = row * size
    if width == 16:
        return np.asarray(byte % 16 + byte // 16 * stride + k % 8 * 16 + k // 8 * leading)
    return np.asarray(byte % width + byte // width * leading + k % 8 * width + k // 8 * stride)


def _note_reads(
    machine: Machine, instruction: Instruction, lanes: Lanes, leaders: Array, position: Array, touched: list[Array]
) -> None:
    shared = machine.shared
    flat = np.unique(position.reshape(-1) // 16 * 16)
    owner = leaders[np.searchsorted(shared.base[leaders], flat, side="right") - 1]
    mask = np.zeros(machine.total, np.bool_)
    mask[leaders] = True
    order = np.searchsorted(leaders, owner)
    granules = shared.granules(flat, 16)
    together = Lanes.of(mask)
    assert together is not None
    shared.check_proxy_read(machine, instruction, together, order, flat, granules)
    if shared.matrix_reads is None:
        shared.matrix_reads = np.zeros(shared.bytes.size // shared.granule, np.int16)
    np.add.at(shared.matrix_reads, granules, 1)
    touched.append(granules)
