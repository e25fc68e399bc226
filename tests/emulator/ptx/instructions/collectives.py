"""Warp-wide operations: shuffles, votes, matches, reductions, elections."""

from __future__ import annotations

import numpy as np

from emulator.ptx.errors import DivergentCollective
from emulator.ptx.lanes import Array, Lanes
from emulator.ptx.machine import Machine
from emulator.ptx.operands import Decoder, Read, Step, opcode, spread
from emulator.ptx.syntax import Instruction, Register, Sink
from emulator.ptx.types import TYPES

_LANE_BITS = np.uint32(1) << np.arange(32, dtype=np.uint32)


def bits_of(mask: Array) -> Array:
    """One word per warp from one flag per thread."""
    return np.asarray((mask.reshape(-1, 32) * _LANE_BITS).sum(axis=1).astype(np.uint32))


def check_members(machine: Machine, instruction: Instruction, lanes: Lanes, members: Array) -> None:
    """Each thread must be in its own mask, and all live threads named by the mask must be present."""
    together = lanes.mask is None or machine.live is None or lanes.count == machine.live.count
    if together and members.size == 1 and int(members[0]) == 0xFFFFFFFF:
        return
    named = spread(members, lanes)
    warp, lane = lanes.indices // 32, lanes.indices % 32
    live = machine.live.marked if machine.live is not None else lanes.marked
    absent = (bits_of(live) & ~bits_of(lanes.marked))[warp] & named
    outside = ((named >> lane.astype(np.uint32)) & 1) == 0
    bad = (absent != 0) | outside
    if bad.any():
        n = int(np.flatnonzero(bad)[0])
        if outside[n]:
            message = f"{instruction.opcode} by a thread that its mask {int(named[n]):#x} does not name"
        else:
            message = f"{instruction.opcode} with mask {int(named[n]):#x} without lanes {int(absent[n]):#x} of the warp"
        raise machine.error(DivergentCollective, instruction, message, lanes, n)


def everywhere(lanes: Lanes, values: Array, fill: int = 0) -> Array:
    """Values of the set, at their threads' places among all threads, one row per warp."""
    if lanes.select is None:
        return np.broadcast_to(values, (lanes.total,)).reshape(-1, 32)
    full = np.full(lanes.total, fill, values.dtype)
    full[lanes.select] = values
    return full.reshape(-1, 32)


@opcode("shfl")
def shuffle(decoder: Decoder) -> Step:
    decoder.required("sync")
    mode = decoder.required("up", "down", "bfly", "idx")
    decoder.required("b32")
    decoder.finish(5)
    word = TYPES["u32"]
    source, other, clamp, members = (decoder.read(n, word) for n in (1, 2, 3, 4))
    first, second = decoder.pair(0)
    write, write_valid = decoder.write(first, word), decoder.write(second, TYPES["pred"])
    instruction, wants_value = decoder.instruction, not isinstance(first, Sink)
    held, result = (r.index if isinstance(r, Register) else -1 for r in (decoder.operands[1], first))
    lane = np.arange(32)

    def step(machine: Machine, lanes: Lanes) -> None:
        named = members(machine, lanes)
        check_members(machine, instruction, lanes, named)
        b = everywhere(lanes, other(machine, lanes)).astype(np.int64) & 31
        c = everywhere(lanes, clamp(machine, lanes)).astype(np.int64)
        segment = (c >> 8) & 31
        most = (lane & segment) | (c & 31 & ~segment)
        least = lane & segment
        if mode == "up":
            target = lane - b
        elif mode == "down":
            target = lane + b
        elif mode == "bfly":
            target = lane ^ b
        else:
            target = least | (b & ~segment)
        valid = target >= most if mode == "up" else target <= most
        target = np.where(valid, target, lane)
        values = everywhere(lanes, source(machine, lanes))
        if lanes.mask is not None:
            here = np.take_along_axis((lanes.mask | ~machine.exists).reshape(-1, 32), target, axis=1)
            bad = lanes.mask & ~here.reshape(-1)
            if bad.any() and wants_value:
                n = int(np.flatnonzero(bad[lanes.indices])[0])
                message = "shfl reads an inactive lane"
                raise machine.error(DivergentCollective, instruction, message, lanes, n)
        write(machine, lanes, lanes.picked(np.take_along_axis(values, target, axis=1).reshape(-1)))
        if held in machine.defined:
            defined = np.take_along_axis(machine.defined[held].reshape(-1, 32), target, axis=1)
            machine.note_written(result, lanes, defined.reshape(-1))
        write_valid(machine, lanes, lanes.picked(np.broadcast_to(valid, values.shape).reshape(-1)))

    return step


@opcode("vote")
def vote(decoder: Decoder) -> Step:
    decoder.required("sync")
    kind = decoder.required("all", "any", "uni", "ballot")
    result = decoder.type()
    decoder.finish(3)
    predicate, members = decoder.read(1, TYPES["pred"]), decoder.read(2, TYPES["u32"])
    write, instruction = decoder.write(0, result), decoder.instruction

    def step(machine: Machine, lanes: Lanes) -> None:
        named = members(machine, lanes)
        check_members(machine, instruction, lanes, named)
        yes = everywhere(lanes, predicate(machine, lanes)).reshape(-1) & lanes.marked
        warp = lanes.indices // 32
        votes = bits_of(yes)[warp] & named
        present = bits_of(lanes.marked)[warp] & named
        if kind == "ballot":
            value = votes
        elif kind == "any":
            value = votes != 0
        elif kind == "all":
            value = votes == present
        else:
            value = (votes == 0) | (votes == present)
        write(machine, lanes, value)

    return step


@opcode("activemask")
def active_mask(decoder: Decoder) -> Step:
    """Threads stay together as long as control flow permits, so this is the largest mask that a GPU could return."""
    type_ = decoder.type()
    decoder.finish(1)
    write = decoder.write(0, type_)
    return lambda machine, lanes: write(machine, lanes, bits_of(lanes.marked)[lanes.indices // 32])


@opcode("match")
def match(decoder: Decoder) -> Step:
    kind = decoder.required("any", "all")
    decoder.required("sync")
    type_ = decoder.type()
    decoder.finish(3)
    value, members = decoder.read(1, type_), decoder.read(2, TYPES["u32"])
    first, second = decoder.pair(0)
    write, write_all = decoder.write(first, TYPES["u32"]), decoder.write(second, TYPES["pred"])
    instruction = decoder.instruction

    def step(machine: Machine, lanes: Lanes) -> None:
        named = spread(members(machine, lanes), lanes)
        check_members(machine, instruction, lanes, named)
        values = everywhere(lanes, value(machine, lanes))
        alike = values[:, :, None] == values[:, None, :]
        same = (alike * _LANE_BITS).sum(axis=2).astype(np.uint32).reshape(-1)
        found = lanes.picked(same) & named & bits_of(lanes.marked)[lanes.indices // 32]
        if kind == "any":
            write(machine, lanes, found)
            return
        agreed = found == (bits_of(lanes.marked)[lanes.indices // 32] & named)
        write(machine, lanes, np.where(agreed, found, np.uint32(0)))
        write_all(machine, lanes, agreed)

    return step


@opcode("redux")
def reduce(decoder: Decoder) -> Step:
    decoder.required("sync")
    name = decoder.required("add", "min", "max", "and", "or", "xor")
    type_ = decoder.type()
    decoder.finish(3)
    if type_.kind == "f":
        raise decoder.unsupported("redux of floats")
    value, members = decoder.read(1, type_), decoder.read(2, TYPES["u32"])
    write, instruction = decoder.write(0, type_), decoder.instruction
    functions: dict[str, np.ufunc] = {
        "add": np.add,
        "min": np.minimum,
        "max": np.maximum,
        "and": np.bitwise_and,
        "or": np.bitwise_or,
        "xor": np.bitwise_xor,
    }
    function = functions[name]
    info = np.iinfo(type_.dtype)
    neutral = {"min": int(info.max), "max": int(info.min), "and": -1 if type_.signed else int(info.max)}.get(name, 0)

    def step(machine: Machine, lanes: Lanes) -> None:
        named = members(machine, lanes)
        check_members(machine, instruction, lanes, named)
        if named.size > 1 and (named != named[0]).any():
            raise machine.error(DivergentCollective, instruction, "redux with different masks", lanes, 0)
        values = everywhere(lanes, value(machine, lanes), neutral)
        if lanes.select is None:
            inside = machine.exists.reshape(-1, 32)
            values = np.where(inside, values, type_.dtype.type(neutral))
        result = function.reduce(values, axis=1).astype(type_.dtype)
        write(machine, lanes, result[lanes.indices // 32])

    return step


@opcode("elect")
def elect(decoder: Decoder) -> Step:
    """The first of the threads is elected."""
    decoder.required("sync")
    decoder.finish(2)
    first, second = decoder.pair(0)
    write, write_leads = decoder.write(first, TYPES["u32"]), decoder.write(second, TYPES["pred"])
    members: Read = decoder.read(1, TYPES["u32"])
    instruction = decoder.instruction

    def step(machine: Machine, lanes: Lanes) -> None:
        check_members(machine, instruction, lanes, members(machine, lanes))
        leader = lanes.marked.reshape(-1, 32).argmax(axis=1).astype(np.uint32)[lanes.indices // 32]
        write(machine, lanes, leader)
        write_leads(machine, lanes, leader == lanes.indices % 32)

    return step


@opcode("bar", "barrier")
def synchronise_warp(decoder: Decoder) -> Step:
    """bar.warp.sync only: block barriers end a basic block and are built elsewhere."""
    decoder.flag("cta")
    if not decoder.flag("warp"):
        raise decoder.unsupported(f"{decoder.instruction.opcode} is not modelled")
    decoder.required("sync")
    decoder.finish(1)
    members, instruction = decoder.read(0, TYPES["u32"]), decoder.instruction
    return lambda machine, lanes: check_members(machine, instruction, lanes, members(machine, lanes))
