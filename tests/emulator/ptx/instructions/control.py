"""Terminators of basic blocks: branches, returns, barriers. Also instructions that need no step of their own."""

from __future__ import annotations

import numpy as np

from emulator.ptx.errors import DeviceTrap, DivergentCollective, UnsupportedInstruction
from emulator.ptx.flow import Block
from emulator.ptx.lanes import Array, Lanes
from emulator.ptx.machine import Ending, Finish, Machine, branch, leave, trap
from emulator.ptx.operands import Decoder, Step, opcode
from emulator.ptx.syntax import Instruction, Symbol
from emulator.ptx.types import TYPES


def build_ending(decoder: Decoder) -> Ending:
    name = decoder.name
    if name == "bra":
        decoder.flag("uni")
        decoder.finish(1)
        return branch
    if name in ("ret", "exit"):
        decoder.flag("uni")
        decoder.finish(0)
        return leave
    if name == "trap":
        decoder.finish(0)
        return trap
    if name in ("bar", "barrier"):
        return _barrier(decoder)
    raise decoder.unsupported(f"unknown opcode {decoder.instruction.opcode}")


def _barrier(decoder: Decoder) -> Ending:
    """bar.sync, barrier.sync, bar.red: all threads of the block that have not exited wait for each other."""
    aligned = decoder.name == "bar"
    decoder.flag("cta")
    kind = decoder.required("sync", "red")
    aligned = decoder.flag("aligned") or aligned
    finish: Finish | None = None
    operands = len(decoder.operands)
    if kind == "red":
        finish = _reduction(decoder)
        barrier, has_count = 1, operands == 4
    else:
        decoder.finish(1, 2)
        barrier, has_count = 0, operands == 2
    number = decoder.integer(barrier)
    expected = decoder.read(barrier + 1, TYPES["u32"]) if has_count else None

    def ending(machine: Machine, lanes: Lanes, block: Block, last: Instruction) -> None:
        if aligned:
            _check_aligned(machine, lanes, last)
        if expected is not None:
            counts = expected(machine, lanes)
            if (counts != int(np.prod(machine.launch.block))).any():
                raise machine.error(UnsupportedInstruction, last, "a barrier of some of the block's threads", lanes, 0)
        machine.wait_at_barrier(lanes, block, last, number, finish)

    return ending


def _check_aligned(machine: Machine, lanes: Lanes, last: Instruction) -> None:
    """All threads of a warp that have not exited must arrive together."""
    if lanes.mask is None or machine.live is None or lanes.count == machine.live.count:
        return
    missing = (machine.live.marked & ~lanes.mask).reshape(-1, 32).any(axis=1)
    torn = np.asarray(missing & lanes.mask.reshape(-1, 32).any(axis=1))
    if torn.any():
        n = int(np.flatnonzero(torn[lanes.indices // 32])[0])
        message = "threads of a warp do not reach the barrier together"
        raise machine.error(DivergentCollective, last, message, lanes, n)


def _reduction(decoder: Decoder) -> Finish:
    operation = decoder.required("popc", "and", "or")
    type_ = decoder.type()
    decoder.finish(3, 4)
    predicate = decoder.read(len(decoder.operands) - 1, TYPES["pred"])
    write = decoder.write(0, type_)

    def finish(machine: Machine, lanes: Lanes, together: Lanes) -> None:
        values = np.zeros(machine.total, np.bool_)
        values[together.indices] = predicate(machine, together)
        present = together.marked
        size = machine.lanes_per_block
        count: Array = (values & present).reshape(-1, size).sum(axis=1)
        everyone: Array = present.reshape(-1, size).sum(axis=1)
        by_block = count
        if operation != "popc":
            by_block = np.asarray(count == everyone if operation == "and" else count > 0)
        result = by_block.astype(type_.dtype)[machine.block_index]
        write(machine, lanes, result if lanes.select is None else result[lanes.select])

    return finish


@opcode("call")
def call_outside(decoder: Decoder) -> Step:
    """Calls of functions without a body: assertions and printf."""
    target = decoder.operands[0]
    assert isinstance(target, Symbol)
    name, instruction = target.name, decoder.instruction

    def step(machine: Machine, lanes: Lanes) -> None:
        if name == "__assertfail":
            raise machine.error(DeviceTrap, instruction, "an assertion failed", lanes, 0)
        raise machine.error(UnsupportedInstruction, instruction, f"a call of {name}, which has no body", lanes, 0)

    return step


def _nothing(machine: Machine, lanes: Lanes) -> None:
    pass


@opcode("membar", "nanosleep", "griddepcontrol", "prefetchu", "applypriority", "discard", "setmaxnreg", "pmevent")
def without_effect(decoder: Decoder) -> Step:
    """Ordering, hints and delays: memory here is always in order."""
    known = {
        "membar": ("cta", "gl", "sys"),
        "nanosleep": ("u32",),
        "griddepcontrol": ("wait", "launch_dependents"),
        "prefetchu": ("L1",),
        "applypriority": ("global", "L2::evict_normal"),
        "setmaxnreg": ("inc", "dec", "sync", "aligned", "u32"),
    }
    if decoder.name not in known:
        raise decoder.unsupported(f"unknown opcode {decoder.name}")
    for name in known[decoder.name]:
        decoder.flag(name)
    decoder.finish()
    return _nothing


@opcode("fence")
def fence(decoder: Decoder) -> Step:
    """Only fence.proxy.async matters here: it makes shared memory visible to wgmma."""
    if decoder.flag("proxy"):
        decoder.required("async", "alias")
        decoder.flag("shared::cta", "shared::cluster", "global")
        decoder.finish(0)

        def step(machine: Machine, lanes: Lanes) -> None:
            if machine.fences is not None:
                machine.fences[machine.block_index[lanes.indices]] = machine.counters.steps

        return step
    for name in ("acq_rel", "sc", "acquire", "release", "cta", "cluster", "gpu", "sys"):
        decoder.flag(name)
    if decoder.flag("mbarrier_init"):
        raise decoder.unsupported("mbarrier")
    decoder.finish(0)
    return _nothing
