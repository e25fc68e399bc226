"""Compiles operands to functions that read and write a machine's registers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from emulator.ptx.errors import UnsupportedInstruction
from emulator.ptx.lanes import Array, Lanes
from emulator.ptx.program import Kernel
from emulator.ptx.syntax import Address, Immediate, Instruction, Operand, Pair, Register, Sink, Special, Symbol, Vector
from emulator.ptx.types import SIGNED, TYPES, UNSIGNED, Type

if TYPE_CHECKING:
    from emulator.ptx.machine import Machine

Read = Callable[["Machine", Lanes], Array]
Write = Callable[["Machine", Lanes, Array], None]
Step = Callable[["Machine", Lanes], None]
Builder = Callable[["Decoder"], Step]

BUILDERS: dict[str, Builder] = {}


def opcode(*names: str) -> Callable[[Builder], Builder]:
    """Registers a builder of instructions whose opcode begins with one of the names."""

    def register(builder: Builder) -> Builder:
        for name in names:
            assert name not in BUILDERS, name
            BUILDERS[name] = builder
        return builder

    return register


class Decoder:
    """An instruction being compiled: every modifier and operand must be consumed, or it is unsupported."""

    def __init__(self, kernel: Kernel, instruction: Instruction) -> None:
        self.kernel, self.instruction = kernel, instruction
        self.name = instruction.parts[0]
        self.operands = instruction.operands
        self.flops = 0
        self._modifiers = list(instruction.parts[1:])

    @property
    def carry(self) -> Register:
        return self.kernel.registers[-1]

    def unsupported(self, what: str) -> UnsupportedInstruction:
        instruction = self.instruction
        return UnsupportedInstruction(
            what, kernel=self.kernel.name, line=instruction.line, text=instruction.text, source=instruction.source
        )

    def flag(self, *names: str) -> bool:
        """Consumes an optional modifier."""
        for name in names:
            if name in self._modifiers:
                self._modifiers.remove(name)
                return True
        return False

    def one_of(self, *names: str) -> str | None:
        for name in names:
            if name in self._modifiers:
                self._modifiers.remove(name)
                return name
        return None

    def required(self, *names: str) -> str:
        found = self.one_of(*names)
        if found is None:
            raise self.unsupported(f"one of .{', .'.join(names)} is wanted")
        return found

    def type(self) -> Type:
        """Consumes the first modifier that is a type."""
        for name in self._modifiers:
            if name in TYPES:
                self._modifiers.remove(name)
                return TYPES[name]
        raise self.unsupported("no known type")

    def finish(self, *operand_counts: int) -> None:
        """Checks that nothing is left over."""
        if self._modifiers:
            raise self.unsupported(f"unknown modifier .{' .'.join(self._modifiers)} of {self.name}")
        if operand_counts and len(self.operands) not in operand_counts:
            raise self.unsupported(f"{self.name} with {len(self.operands)} operands")

    def read(self, operand: Operand | int, type_: Type) -> Read:
        """The operand's values as `type_`, for the threads in `lanes.select`: one, or one per thread."""
        if isinstance(operand, int):
            operand = self.operands[operand]
        dtype = type_.dtype
        if isinstance(operand, Register):
            return self._read_register(operand, type_)
        if isinstance(operand, Immediate):
            constant = self._constant(operand, type_)
            return lambda machine, lanes: constant
        if isinstance(operand, Special):
            name = operand.name
            if name == "WARP_SZ":
                return lambda machine, lanes: np.full(1, 32, dtype)

            def read_special(machine: Machine, lanes: Lanes) -> Array:
                value = machine.special(self.instruction, name)
                if value.size > 1 and lanes.select is not None:
                    value = value[lanes.select]
                return value.view(dtype) if value.itemsize == dtype.itemsize else value.astype(dtype)

            return read_special
        if isinstance(operand, Symbol):
            if operand.name == "WARP_SZ":
                return lambda machine, lanes: np.full(1, 32, dtype)
            variable = self.kernel.variables.get(operand.name)
            if variable is None:
                raise self.unsupported(f"unknown name {operand.name}")
            return lambda machine, lanes: np.full(1, machine.address_of(variable), np.int64).astype(dtype)
        raise self.unsupported("this kind of operand here")

    def _read_register(self, operand: Register, type_: Type) -> Read:
        index, dtype, size = operand.index, type_.dtype, type_.bytes
        held = operand.type
        if (type_.kind == "p") != (held.kind == "p"):
            raise self.unsupported(f"register {operand.name} is .{held.name}, not .{type_.name}")
        if type_.kind == "p":
            negated = operand.negated

            def read_predicate(machine: Machine, lanes: Lanes) -> Array:
                value = machine.registers[index]
                if value.size > 1 and lanes.select is not None:
                    value = value[lanes.select]
                return ~value if negated else value

            return read_predicate
        if held.bytes < size:
            raise self.unsupported(f"register {operand.name} of {held.bytes} bytes as .{type_.name}")
        narrowed = None if held.bytes == size else UNSIGNED[size]

        def read_register(machine: Machine, lanes: Lanes) -> Array:
            value = machine.registers[index]
            if value.size > 1 and lanes.select is not None:
                value = value[lanes.select]
            if narrowed is not None:
                value = value.astype(narrowed)
            return value.view(dtype)

        return read_register

    def _constant(self, operand: Immediate, type_: Type) -> Array:
        size = type_.bytes
        if type_.kind == "p":
            return np.array([operand.value != 0])
        if operand.float_bytes:
            if type_.name in ("f32", "f64"):
                bits = np.array([operand.value], np.uint32 if operand.float_bytes == 4 else np.uint64)
                return bits.view(np.float32 if operand.float_bytes == 4 else np.float64).astype(type_.dtype)
            if operand.float_bytes != size:
                raise self.unsupported(f"a float of {operand.float_bytes} bytes as .{type_.name}")
        elif type_.kind == "f" and type_.name in ("f32", "f64", "f16"):
            raise self.unsupported(f"an integer as .{type_.name}")
        return np.array([operand.value & ((1 << 8 * size) - 1)], UNSIGNED[size]).view(type_.dtype)

    def write(self, operand: Operand | int, type_: Type) -> Write:
        """Writes values of `type_` to a register; wider registers are extended according to the type's sign."""
        if isinstance(operand, int):
            operand = self.operands[operand]
        if isinstance(operand, Sink):
            return lambda machine, lanes, value: None
        if not isinstance(operand, Register) or operand.negated:
            raise self.unsupported("this destination")
        index, held = operand.index, operand.type
        if (type_.kind == "p") != (held.kind == "p"):
            raise self.unsupported(f"register {operand.name} is .{held.name}, not .{type_.name}")
        if held.bytes < type_.bytes:
            raise self.unsupported(f".{type_.name} into register {operand.name} of {held.bytes} bytes")
        stored = np.dtype(np.bool_) if held.kind == "p" else np.dtype(UNSIGNED[held.bytes])
        widened = None
        if held.bytes > type_.bytes:
            widened = np.dtype((SIGNED if type_.signed else UNSIGNED)[held.bytes])
        tracked = any(register == index for _, register in self.kernel.unsure)

        def write_register(machine: Machine, lanes: Lanes, value: Array) -> None:
            if widened is not None:
                value = value.astype(widened)
            value = value.view(stored)
            if lanes.keep is not None:
                value = np.where(lanes.keep, value, machine.registers[index])
            elif lanes.select is not None:
                value = _scattered(machine.registers[index], lanes, value)
            machine.registers[index] = value
            if tracked:
                machine.note_written(index, lanes)

        return write_register

    def address(self, operand: Operand | int) -> Read:
        """Addresses as int64: one, or one per thread."""
        if isinstance(operand, int):
            operand = self.operands[operand]
        if not isinstance(operand, Address):
            raise self.unsupported("expected an address")
        base, offset = operand.base, np.int64(operand.offset)
        if isinstance(base, Register):
            if base.type.kind == "p" or base.type.bytes < 4:
                raise self.unsupported(f"an address in register {base.name}")
            narrow = base.type.bytes == 4
            read = self.read(base, TYPES["u32" if narrow else "s64"])

            def read_address(machine: Machine, lanes: Lanes) -> Array:
                value = read(machine, lanes)
                if narrow:
                    value = value.astype(np.int64)
                return value + offset if offset else value

            return read_address
        read = self.read(base, TYPES["s64"])
        return lambda machine, lanes: read(machine, lanes) + offset

    def elements(self, operand: Operand | int) -> tuple[Operand, ...]:
        """A vector's elements, or the operand itself."""
        if isinstance(operand, int):
            operand = self.operands[operand]
        return operand.elements if isinstance(operand, Vector) else (operand,)

    def pair(self, operand: Operand | int) -> tuple[Operand, Operand]:
        if isinstance(operand, int):
            operand = self.operands[operand]
        return (operand.first, operand.second) if isinstance(operand, Pair) else (operand, Sink())

    def integer(self, operand: int) -> int:
        """An operand that must be a literal."""
        value = self.operands[operand]
        if not isinstance(value, Immediate) or value.float_bytes:
            raise self.unsupported("expected a literal integer")
        return value.value


def _scattered(old: Array, lanes: Lanes, value: Array) -> Array:
    new = np.empty(lanes.total, old.dtype)
    new[...] = old
    new[lanes.select] = value
    return new


def spread(value: Array, lanes: Lanes) -> Array:
    """One value per thread of the set."""
    return value if value.size == lanes.count else np.broadcast_to(value, (lanes.count,))


def pure(decoder: Decoder, result: Type, arguments: list[tuple[int, Type]], compute: Callable[..., Array]) -> Step:
    """A step without side effects: writes a function of the other operands to the first."""
    write = decoder.write(0, result)
    reads = [decoder.read(operand, type_) for operand, type_ in arguments]
    if len(reads) == 1:
        (one,) = reads

        def step_of_one(machine: Machine, lanes: Lanes) -> None:
            lanes = lanes.alu
            write(machine, lanes, compute(one(machine, lanes)))

        return step_of_one
    if len(reads) == 2:
        left, right = reads

        def step_of_two(machine: Machine, lanes: Lanes) -> None:
            lanes = lanes.alu
            write(machine, lanes, compute(left(machine, lanes), right(machine, lanes)))

        return step_of_two

    def step(machine: Machine, lanes: Lanes) -> None:
        lanes = lanes.alu
        write(machine, lanes, compute(*[read(machine, lanes) for read in reads]))

    return step
