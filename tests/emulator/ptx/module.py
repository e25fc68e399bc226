"""Modules, kernels and launches: the public interface."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from emulator.ptx import instructions
from emulator.ptx.counters import Counters
from emulator.ptx.errors import WrongLaunch
from emulator.ptx.flow import carries, ends_block, left_operand, reads, writes
from emulator.ptx.instructions.warpgroup import check_registers_in_use
from emulator.ptx.lanes import Array, Lanes
from emulator.ptx.machine import Ending, Machine, carrying, guarded, watched
from emulator.ptx.memory import Allocation, GlobalAccess, Memory
from emulator.ptx.operands import Decoder, Step
from emulator.ptx.parser import parse
from emulator.ptx.program import Kernel, build
from emulator.ptx.syntax import Instruction, Register
from emulator.ptx.types import TYPES

MAX_LANES = 1 << 14
BUDGET = 4_000_000
# Shared memory available to a block, in KiB.
MAX_SHARED = {"sm_80": 163, "sm_86": 99, "sm_87": 163, "sm_89": 99, "sm_120": 99, "sm_121": 99}
MAX_SHARED_ELSEWHERE = 227


def load(text: str) -> Module:
    return Module(text)


@dataclass
class Compiled:
    """A kernel whose instructions have been compiled to functions."""

    kernel: Kernel
    steps: list[Step | None]
    endings: list[Ending | None]
    flops_per_thread: list[int]
    unsure: dict[int, list[int]]
    accumulators: set[int]
    global_granule: int
    shared_granule: int


@dataclass
class Launch:
    compiled: Compiled
    memory: Memory
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    dynamic_bytes: int
    parameters: Array
    checks: bool
    count_conflicts: bool
    budget: int
    variables: dict[str, Allocation]

    @property
    def dynamic_start(self) -> int:
        return -(-self.compiled.kernel.shared_bytes // 16) * 16

    @property
    def shared_size(self) -> int:
        return self.dynamic_start + self.dynamic_bytes if self.dynamic_bytes else self.compiled.kernel.shared_bytes

    def variable_address(self, variable: Any) -> int:
        return self.variables[variable.name].address


class Module:
    """Parsed PTX text; kernels are prepared at their first use."""

    def __init__(self, text: str) -> None:
        self.text = parse(text)
        self._compiled: dict[str, Compiled] = {}

    @property
    def kernels(self) -> list[str]:
        return [function.name for function in self.text.functions.values() if function.is_entry]

    def find(self, pattern: str) -> str:
        """The one kernel whose (mangled) name matches the regular expression, or equals it."""
        if pattern in self.kernels:
            return pattern
        found = [name for name in self.kernels if re.search(pattern, name)]
        if len(found) != 1:
            raise WrongLaunch(f"{pattern!r} names {found or 'none'} of {self.kernels}")
        return found[0]

    def compiled(self, name: str) -> Compiled:
        name = self.find(name)
        if name not in self._compiled:
            self._compiled[name] = _compile(build(self.text, self.text.functions[name]))
        return self._compiled[name]

    def launch(
        self,
        name: str,
        grid: int | Sequence[int],
        block: int | Sequence[int],
        args: Sequence[Any],
        *,
        memory: Memory | None = None,
        shared_bytes: int = 0,
        checks: bool = True,
        block_races: bool = True,
        count_conflicts: bool = True,
        budget: int = BUDGET,
        max_lanes: int = MAX_LANES,
        blocks: Sequence[int] | None = None,
    ) -> Counters:
        """Executes the kernel and returns its counts.

        `args` are allocations, integers (a pointer may be one, see `Allocation.at`), floats, or bytes for a struct.
        `checks=False` disables the checks of shared memory, `block_races=False` those of races between blocks.
        `budget` bounds the steps (one instruction of a batch of blocks is one step), `max_lanes` the threads of a
        batch; `blocks` lists the numbers of the blocks to run, by default all of the grid.
        """
        compiled = self.compiled(name)
        memory = memory or next((a.memory for a in args if isinstance(a, Allocation)), None) or Memory()
        full_grid, full_block = _extent(grid, "grid"), _extent(block, "block")
        _check_launch(compiled.kernel, full_block, shared_bytes)
        launch = Launch(
            compiled=compiled,
            memory=memory,
            grid=full_grid,
            block=full_block,
            dynamic_bytes=shared_bytes,
            parameters=_parameters(compiled.kernel, args),
            checks=checks,
            count_conflicts=count_conflicts,
            budget=budget,
            variables=self._variables(memory),
        )
        counters = Counters(compiled.kernel.instructions, compiled.flops_per_thread)
        access = GlobalAccess(memory, compiled.global_granule, races=block_races)
        chosen = np.arange(int(np.prod(full_grid))) if blocks is None else np.asarray(blocks)
        per_batch = max(1, max_lanes // (-(-int(np.prod(full_block)) // 32) * 32))
        for allocation in memory.allocations:
            allocation.last_store = -1
        with np.errstate(all="ignore"):
            for first in range(0, chosen.size, per_batch):
                Machine(launch, chosen[first : first + per_batch], counters, access).run()
        access.count_distinct(counters)
        return counters

    def _variables(self, memory: Memory) -> dict[str, Allocation]:
        """Allocates the module's own variables at its first launch in this memory."""
        found = {}
        for variable in self.text.variables.values():
            if variable.space not in ("global", "const"):
                continue
            key = id(self), variable.name
            if key not in memory.module_variables:
                data = variable.data or bytes(variable.size)
                memory.module_variables[key] = memory.array(
                    np.frombuffer(data, np.uint8), read_only=variable.space == "const", name=variable.name
                )
                memory.keep_alive.append(self)
            found[variable.name] = memory.module_variables[key]
        return found


def _compile(kernel: Kernel) -> Compiled:
    unsure: dict[int, list[int]] = {}
    for index, register in sorted(kernel.unsure):
        unsure.setdefault(index, []).append(register)
    accumulators: set[int] = set()
    left: set[int] = set()
    for instruction in kernel.instructions:
        if instruction.parts[:2] == ("wgmma", "mma_async"):
            accumulators |= writes(instruction)
            left |= left_operand(instruction)
    steps: list[Step | None] = []
    flops = []
    endings: list[Ending | None] = [None] * len(kernel.blocks)
    for block in kernel.blocks:
        for instruction in kernel.instructions[block.start : block.end]:
            decoder = Decoder(kernel, instruction)
            if ends_block(instruction):
                endings[block.number] = instructions.build_ending(decoder)
                steps.append(None)
            else:
                steps.append(_step(decoder, unsure, accumulators, left))
            flops.append(decoder.flops)
    return Compiled(
        kernel=kernel,
        steps=steps,
        endings=endings,
        flops_per_thread=flops,
        unsure=unsure,
        accumulators=accumulators,
        global_granule=_granule(kernel.instructions, ("global", "")),
        shared_granule=_granule(kernel.instructions, ("shared", "")),
    )


def _step(decoder: Decoder, unsure: dict[int, list[int]], accumulators: set[int], left: set[int]) -> Step:
    instruction = decoder.instruction
    step = instructions.build_step(decoder)
    registers = unsure.get(instruction.index, [])
    guard = instruction.guard
    if registers:
        kinds = decoder.kernel.registers
        carried = [r for r in registers if carries(instruction) and kinds[r].type.kind != "p"]
        if instruction.parts[0] == "shfl":
            # It moves data between threads, and records itself what is defined.
            source = instruction.operands[1]
            carried = [r for r in carried if isinstance(source, Register) and r == source.index]
        elif carried:
            step = carrying(step, carried, writes(instruction))
        seen = [r for r in registers if r not in carried and (guard is None or r != guard.index)]
        step = watched(step, instruction, seen)
    step = guarded(step, instruction)
    read, written = reads(instruction), writes(instruction)
    if instruction.parts[0] != "wgmma" and (accumulators & (read | written) or left & written):
        step = _waited_for(step, instruction, read, written)
    if guard is not None and guard.index in registers:
        step = watched(step, instruction, [guard.index])
    return step


def _waited_for(step: Step, instruction: Instruction, read: set[int], written: set[int]) -> Step:
    """The step of an instruction that touches wgmma's registers, after a check that they are no longer in use."""

    def check_and_step(machine: Machine, lanes: Lanes) -> None:
        check_registers_in_use(machine, instruction, lanes, read, written)
        step(machine, lanes)

    return check_and_step


def _granule(kernel_instructions: list[Instruction], spaces: tuple[str, str]) -> int:
    """The narrowest element that the kernel accesses: the granularity of race detection."""
    smallest = 4
    for instruction in kernel_instructions:
        if instruction.parts[0] not in ("ld", "st", "atom", "red"):
            continue
        space = next((p.split("::")[0] for p in instruction.parts if p.split("::")[0] in _SPACES), "")
        if space in spaces:
            smallest = min(smallest, TYPES[instruction.parts[-1]].bytes if instruction.parts[-1] in TYPES else 1)
    return smallest


_SPACES = ("global", "shared", "local", "param", "const")


def _extent(value: int | Sequence[int], what: str) -> tuple[int, int, int]:
    given = (value,) if isinstance(value, int) else tuple(int(v) for v in value)
    if not 1 <= len(given) <= 3 or min(given) < 1:
        raise WrongLaunch(f"{what} {value}: expected one to three positive integers")
    x, y, z = (*given, 1, 1)[:3]
    return x, y, z


def _check_launch(kernel: Kernel, block: tuple[int, int, int], shared_bytes: int) -> None:
    threads = int(np.prod(block))
    if threads > 1024:
        raise WrongLaunch(f"{threads} threads in a block", kernel=kernel.name)
    required = (*kernel.required_block, 1, 1)[:3] if kernel.required_block else block
    if required != block:
        raise WrongLaunch(f"block {block} where the kernel requires {required}", kernel=kernel.name)
    limit = 1024 * MAX_SHARED.get(kernel.target.rstrip("af"), MAX_SHARED_ELSEWHERE)
    if kernel.shared_bytes + shared_bytes > limit:
        message = f"{kernel.shared_bytes + shared_bytes} bytes of shared memory where {kernel.target} has {limit}"
        raise WrongLaunch(message, kernel=kernel.name)


def _parameters(kernel: Kernel, args: Sequence[Any]) -> Array:
    """The parameter block, packed as declared in the kernel's header."""
    formal = kernel.parameters
    if len(args) != len(formal):
        raise WrongLaunch(f"{len(args)} arguments for {len(formal)} parameters", kernel=kernel.name)
    packed = bytearray(max((p.offset + p.size for p in formal), default=0))
    for parameter, value in zip(formal, args, strict=True):
        assert parameter.type is not None
        if isinstance(value, bytes | bytearray | np.ndarray):
            data = bytes(value) if not isinstance(value, np.ndarray) else value.tobytes()
        elif parameter.is_array:
            raise WrongLaunch(f"{parameter.name} takes {parameter.size} bytes", kernel=kernel.name)
        elif parameter.type.kind == "f":
            data = np.array([value], parameter.type.dtype).tobytes()
        else:
            number = value.address if isinstance(value, Allocation) else int(value)
            if isinstance(value, float | np.floating) and number != value:
                raise WrongLaunch(f"{parameter.name} takes no {value}", kernel=kernel.name)
            data = (number & ((1 << 8 * parameter.size) - 1)).to_bytes(parameter.size, "little")
        if len(data) != parameter.size:
            raise WrongLaunch(f"{parameter.name} takes {parameter.size} bytes, not {len(data)}", kernel=kernel.name)
        packed[parameter.offset : parameter.offset + parameter.size] = data
    return np.frombuffer(bytes(packed), np.uint8)
