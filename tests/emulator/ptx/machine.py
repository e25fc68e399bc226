"""Runs a batch of blocks: all their threads in lock step, one basic block of the kernel at a time.

Registers are arrays with one element per thread, or a single element if all threads hold the same value. They are
never modified: writing binds a new array, so values may be shared and remembered.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from emulator.ptx.counters import Counters
from emulator.ptx.errors import (
    BarrierDeadlock,
    BudgetExceeded,
    DeviceTrap,
    DivergentCollective,
    MisalignedAccess,
    PtxError,
    UninitialisedRegister,
    UnsupportedInstruction,
)
from emulator.ptx.flow import Block
from emulator.ptx.lanes import Array, Lanes
from emulator.ptx.local import LocalMemory
from emulator.ptx.memory import GlobalAccess
from emulator.ptx.shared import SharedMemory
from emulator.ptx.syntax import Instruction, Variable

if TYPE_CHECKING:
    from emulator.ptx.module import Launch
    from emulator.ptx.operands import Step

# Tags of generic addresses of shared, local and parameter memory; global addresses lie below them.
SHARED_WINDOW = 1 << 48
LOCAL_WINDOW = 2 << 48
PARAMETER_WINDOW = 3 << 48


class Machine:
    def __init__(self, launch: Launch, blocks: Array, counters: Counters, memory: GlobalAccess) -> None:
        self.launch, self.kernel, self.counters, self.memory = launch, launch.compiled.kernel, counters, memory
        self.checks, self.count_conflicts = launch.checks, launch.count_conflicts
        threads = int(np.prod(launch.block))
        self.lanes_per_block = -(-threads // 32) * 32
        self.total = self.lanes_per_block * blocks.size
        lane = np.arange(self.total)
        self.block_index = lane // self.lanes_per_block
        self.thread = lane % self.lanes_per_block
        self.block_number = blocks[self.block_index].astype(np.int32)
        self.exists = self.thread < threads
        self.shared = SharedMemory(
            blocks.size, launch.shared_size, launch.compiled.shared_granule, self.block_index, self.thread // 32
        )
        self.local = LocalMemory(self.total, self.kernel.local_bytes)
        self.parameters = launch.parameters
        self.registers: list[Array] = [
            np.zeros(1, np.bool_ if r.type.kind == "p" else f"u{r.type.bytes}") for r in self.kernel.registers
        ]
        self.scratch: dict[str, Any] = {}
        # The step of each block's last fence.proxy.async, if the kernel uses wgmma.
        self.fences: Array | None = None
        if launch.compiled.accumulators:
            self.fences = np.full(blocks.size, -1, np.int64)
            self.shared.watch_proxy()
        # For registers that may be read undefined: the threads in which they are defined.
        self.defined = {register: np.zeros(self.total, np.bool_) for _, register in self.kernel.unsure}
        self._specials: dict[str, Array] = {}
        everything = Lanes.of(self.exists)
        assert everything is not None
        self.live: Lanes | None = everything
        self._runnable: dict[int, Lanes] = {0: everything}
        self._waiting: list[Waiting] = []

    def run(self) -> None:
        compiled, budget = self.launch.compiled, self.launch.budget
        blocks, steps, counters = self.kernel.blocks, compiled.steps, self.counters
        runnable = self._runnable
        while runnable or self._release():
            number = min(runnable, key=lambda n: blocks[n].priority)
            lanes, block = runnable.pop(number), blocks[number]
            for n in range(block.start, block.end):
                counters.reached[n] += lanes.count
                step = steps[n]
                if step is None:
                    continue
                counters.steps += 1
                step(self, lanes)
            self._continue(block, lanes)
            if counters.steps > budget:
                instruction = self.kernel.instructions[block.start]
                raise self.error(BudgetExceeded, instruction, f"more than {budget} steps in this launch", lanes, 0)

    # Control flow

    def _continue(self, block: Block, lanes: Lanes) -> None:
        """Moves a block's threads on by its last instruction."""
        last = self.kernel.instructions[block.end - 1]
        ending = self.launch.compiled.endings[block.number]
        if ending is None:
            self._go(block.next, lanes)
            return
        acting: Lanes | None = lanes
        if last.guard is not None:
            if (unsure := self.launch.compiled.unsure.get(last.index)) is not None:
                self.check_registers(last, lanes, unsure)
            acting = lanes.within(self.registers[last.guard.index], last.guard.negated)
        self.counters.executed[last.index] += acting.count if acting is not None else 0
        self.counters.steps += 1
        rest: Lanes | None = None
        if acting is not lanes:
            rest = lanes if acting is None else Lanes.of(lanes.marked & ~acting.marked)
        if rest is not None:
            self._go(block.next, rest)
        if acting is not None:
            ending(self, acting, block, last)

    def _go(self, number: int, lanes: Lanes) -> None:
        if number < 0:
            self.leave(lanes)
            return
        there = self._runnable.get(number)
        self._runnable[number] = lanes if there is None else there.union(lanes)

    def leave(self, lanes: Lanes) -> None:
        assert self.live is not None
        self.live = None if lanes.count == self.live.count else Lanes.of(self.live.marked & ~lanes.marked)

    def branch(self, lanes: Lanes, block: Block, last: Instruction) -> None:
        self._go(block.next if last.guard is None else (block.taken if block.taken is not None else -1), lanes)

    def wait(self, lanes: Lanes, block: Block, last: Instruction, until: Callable[[Lanes], Lanes | None]) -> None:
        """Suspends threads until `until` says which of them may go on to the block's successor."""
        for waiting in self._waiting:
            if waiting.instruction is last and waiting.until is until:
                waiting.lanes = waiting.lanes.union(lanes)
                return
        self._waiting.append(Waiting(lanes, block.next, last, until))

    def waiting_at_barrier(self, barrier: int) -> Array:
        mask = np.zeros(self.total, np.bool_)
        for waiting in self._waiting:
            if waiting.barrier == barrier:
                mask |= waiting.lanes.marked
        return mask

    def wait_at_barrier(
        self, lanes: Lanes, block: Block, last: Instruction, barrier: int, finish: Finish | None
    ) -> None:
        for waiting in self._waiting:
            if waiting.instruction is last:
                waiting.lanes = waiting.lanes.union(lanes)
                return
        self._waiting.append(Waiting(lanes, block.next, last, None, barrier, finish))

    def _release(self) -> bool:
        """Called when no thread can run: releases complete barriers and satisfied conditions."""
        if not self._waiting:
            assert self.live is None
            return False
        released = False
        for waiting in list(self._waiting):
            if waiting.until is not None:
                ready = waiting.until(waiting.lanes)
                if ready is not None:
                    released = True
                    self._go(waiting.next, ready)
                    self._keep(waiting, ready)
        if self._release_barriers() or released:
            return True
        waiting = self._waiting[0]
        others = sorted({w.instruction.line for w in self._waiting})
        message = f"deadlock: threads wait at PTX lines {others} and no barrier can complete"
        raise self.error(BarrierDeadlock, waiting.instruction, message, waiting.lanes, 0)

    def _release_barriers(self) -> bool:
        assert self.live is not None
        at_barriers = [waiting for waiting in self._waiting if waiting.until is None]
        if len(at_barriers) == 1 and at_barriers[0].lanes.count == self.live.count:
            waiting = at_barriers[0]
            self._waiting.remove(waiting)
            self._pass(None, [waiting], [waiting.lanes])
            return True
        released = False
        live = self._per_block(self.live.marked)
        for barrier in sorted({waiting.barrier for waiting in at_barriers}):
            here = [waiting for waiting in at_barriers if waiting.barrier == barrier]
            arrived = self._per_block(self.waiting_at_barrier(barrier))
            complete = (arrived == live) & (live > 0)
            if not complete.any():
                continue
            released = True
            mask = complete[self.block_index]
            ready = [(w, lanes) for w in here if (lanes := Lanes.of(w.lanes.marked & mask)) is not None]
            for waiting, lanes in ready:
                self._keep(waiting, lanes)
            self._pass(np.flatnonzero(complete), [w for w, _ in ready], [lanes for _, lanes in ready])
        return released

    def _pass(self, blocks: Array | None, waiting: list[Waiting], lanes: list[Lanes]) -> None:
        self.shared.passed_barrier(blocks)
        self.counters.barriers += len(self.shared.base) // self.lanes_per_block if blocks is None else len(blocks)
        together = lanes[0]
        for more in lanes[1:]:
            together = together.union(more)
        for one, part in zip(waiting, lanes, strict=True):
            if one.finish is not None:
                one.finish(self, part, together)
            self._go(one.next, part)

    def _keep(self, waiting: Waiting, released: Lanes) -> None:
        rest = Lanes.of(waiting.lanes.marked & ~released.marked)
        if rest is None:
            self._waiting.remove(waiting)
        else:
            waiting.lanes = rest

    def _per_block(self, mask: Array) -> Array:
        return np.asarray(mask.reshape(-1, self.lanes_per_block).sum(axis=1))

    # For instructions

    def full_warps(self, instruction: Instruction, lanes: Lanes) -> None:
        """All 32 threads of each warp must be present, except those beyond the block's size."""
        if lanes.mask is None or lanes is self.scratch.get("full warps"):
            return
        present = (lanes.mask | ~self.exists).reshape(-1, 32)
        bad = lanes.mask.reshape(-1, 32).any(axis=1) & ~present.all(axis=1)
        if bad.any():
            warp = int(np.flatnonzero(bad)[0])
            missing = np.flatnonzero(~present[warp]).tolist()
            n = int(np.flatnonzero(lanes.indices // 32 == warp)[0])
            message = f"{instruction.opcode} without lanes {missing} of the warp"
            raise self.error(DivergentCollective, instruction, message, lanes, n)
        self.scratch["full warps"] = lanes

    def check_alignment(self, instruction: Instruction, lanes: Lanes, address: Array, width: int, what: str) -> None:
        if width > 1 and (address & (width - 1)).any():
            n = int(np.flatnonzero(address & (width - 1))[0])
            message = f"{what} of {width} bytes at {int(address[n]):#x}, which is not aligned"
            raise self.error(MisalignedAccess, instruction, message, lanes, n)

    def note_written(self, register: int, lanes: Lanes, defined: Array | bool = True) -> None:
        """Records in which threads of the batch a register just written by these threads holds a defined value."""
        if register in self.defined:
            self.defined[register] = np.where(lanes.marked, defined, self.defined[register])

    def check_registers(self, instruction: Instruction, lanes: Lanes, registers: list[int]) -> None:
        """Checks reads that could not be proved to be of defined values."""
        for register in registers:
            bad = lanes.marked & ~self.defined[register]
            if bad.any():
                n = int(np.flatnonzero(bad[lanes.indices])[0])
                message = f"{self.kernel.registers[register].name} is read and holds no defined value"
                raise self.error(UninitialisedRegister, instruction, message, lanes, n)

    def address_of(self, variable: Variable) -> int:
        if variable.space in ("global", "const"):
            return self.launch.variable_address(variable)
        if variable.space == "shared" and not variable.size:
            return self.launch.dynamic_start
        return variable.offset

    def special(self, instruction: Instruction, name: str) -> Array:
        if name not in self._specials:
            value = self._special(name)
            if value is None:
                raise self.error(UnsupportedInstruction, instruction, f"special register {name}", None, 0)
            value = np.atleast_1d(value)
            if value.size > 1 and (value == value[0]).all():
                value = value[:1]
            self._specials[name] = value.astype(np.uint64 if name.endswith("64") else np.uint32)
        return self._specials[name]

    def _special(self, name: str) -> Any:
        axis = {"x": 0, "y": 1, "z": 2}.get(name[-1], 0)
        lane = self.thread % 32
        base = name[:-2] if name[-2:] in (".x", ".y", ".z") else name
        values: dict[str, Callable[[], Any]] = {
            "%tid": lambda: _split(self.thread, self.launch.block)[axis],
            "%ntid": lambda: self.launch.block[axis],
            "%ctaid": lambda: _split(self.block_number, self.launch.grid)[axis],
            "%nctaid": lambda: self.launch.grid[axis],
            "%laneid": lambda: lane,
            "%warpid": lambda: self.thread // 32,
            "%nwarpid": lambda: self.lanes_per_block // 32,
            "%smid": lambda: 0,
            "%lanemask_eq": lambda: 1 << lane,
            "%lanemask_lt": lambda: (1 << lane) - 1,
            "%lanemask_le": lambda: (2 << lane) - 1,
            "%lanemask_gt": lambda: 0xFFFFFFFF ^ ((2 << lane) - 1),
            "%lanemask_ge": lambda: 0xFFFFFFFF ^ ((1 << lane) - 1),
            "%dynamic_smem_size": lambda: self.launch.dynamic_bytes,
            "%total_smem_size": lambda: self.launch.shared_size,
        }
        return values[base]() if base in values else None

    def error(
        self, kind: type[PtxError], instruction: Instruction, message: str, lanes: Lanes | None, n: int
    ) -> PtxError:
        """The exception for the n-th thread of the set."""
        block = thread = None
        if lanes is not None:
            lane = int(lanes.indices[n])
            block = _coordinates(int(self.block_number[lane]), self.launch.grid)
            thread = _coordinates(int(self.thread[lane]), self.launch.block)
        return kind(
            message,
            kernel=self.kernel.name,
            line=instruction.line,
            text=instruction.text,
            source=instruction.source,
            block=block,
            thread=thread,
        )


Finish = Callable[[Machine, Lanes, Lanes], None]
Ending = Callable[[Machine, Lanes, Block, Instruction], None]


class Waiting:
    """Threads that wait at one instruction, for a barrier of the block or for `until`."""

    def __init__(
        self,
        lanes: Lanes,
        following: int,
        instruction: Instruction,
        until: Callable[[Lanes], Lanes | None] | None,
        barrier: int = -1,
        finish: Finish | None = None,
    ) -> None:
        self.lanes, self.next, self.instruction = lanes, following, instruction
        self.until, self.barrier, self.finish = until, barrier, finish


def trap(machine: Machine, lanes: Lanes, block: Block, last: Instruction) -> None:
    raise machine.error(DeviceTrap, last, "the kernel executed trap", lanes, 0)


def leave(machine: Machine, lanes: Lanes, block: Block, last: Instruction) -> None:
    machine.leave(lanes)


def branch(machine: Machine, lanes: Lanes, block: Block, last: Instruction) -> None:
    machine.branch(lanes, block, last)


def guarded(step: Step, instruction: Instruction) -> Step:
    """The step, restricted to the threads whose predicate holds, and counted."""
    guard, n = instruction.guard, instruction.index
    if guard is None:

        def count_and_step(machine: Machine, lanes: Lanes) -> None:
            machine.counters.executed[n] += lanes.count
            step(machine, lanes)

        return count_and_step
    index, negated = guard.index, guard.negated

    def step_if(machine: Machine, lanes: Lanes) -> None:
        found = lanes.within(machine.registers[index], negated)
        if found is not None:
            machine.counters.executed[n] += found.count
            step(machine, found)

    return step_if


def watched(step: Step, instruction: Instruction, registers: list[int]) -> Step:
    """The step, after a check that the registers it reads are defined."""

    def check_and_step(machine: Machine, lanes: Lanes) -> None:
        machine.check_registers(instruction, lanes, registers)
        step(machine, lanes)

    return check_and_step


def carrying(step: Step, registers: list[int], written: set[int]) -> Step:
    """The step, after which its results are defined in the threads where all of these registers were."""

    def step_and_carry(machine: Machine, lanes: Lanes) -> None:
        defined = np.logical_and.reduce([machine.defined[register] for register in registers])
        step(machine, lanes)
        for register in written:
            machine.note_written(register, lanes, defined)

    return step_and_carry


def _split(number: Array, extent: tuple[int, int, int]) -> tuple[Array, Array, Array]:
    return number % extent[0], number // extent[0] % extent[1], number // (extent[0] * extent[1])


def _coordinates(number: int, extent: tuple[int, int, int]) -> tuple[int, int, int]:
    return number % extent[0], number // extent[0] % extent[1], number // (extent[0] * extent[1])
