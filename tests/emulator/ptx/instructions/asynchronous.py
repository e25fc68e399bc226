"""cp.async: bytes appear in shared memory once their thread has waited for the copy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from emulator.ptx.errors import CopyInFlight, UnsupportedInstruction
from emulator.ptx.instructions.moves import take_hints
from emulator.ptx.lanes import Array, Lanes
from emulator.ptx.machine import SHARED_WINDOW, Machine
from emulator.ptx.memory import BASE, WIDE
from emulator.ptx.operands import Decoder, Read, Step, opcode, spread
from emulator.ptx.syntax import Instruction, Register
from emulator.ptx.types import TYPES


@dataclass
class Copy:
    """The copies of one instruction by some threads; `group` is the number of groups each had committed before."""

    instruction: Instruction
    lanes: Array
    position: Array
    width: int
    values: Array
    group: Array
    source: Array
    sizes: Array
    issued: int


class CopyQueue:
    def __init__(self, lanes: int) -> None:
        self.committed = np.zeros(lanes, np.int32)
        self.pending: list[Copy] = []


def _queue(machine: Machine) -> CopyQueue:
    queue = machine.scratch.get("copies")
    if queue is None:
        queue = machine.scratch["copies"] = CopyQueue(machine.total)
    assert isinstance(queue, CopyQueue)
    return queue


@opcode("cp")
def copy(decoder: Decoder) -> Step:
    decoder.required("async")
    if decoder.flag("commit_group"):
        decoder.finish(0)
        return _commit
    if decoder.flag("wait_all"):
        decoder.finish(0)
        return lambda machine, lanes: _wait(machine, lanes, None)
    if decoder.flag("wait_group"):
        decoder.finish(1)
        allowed = decoder.integer(0)
        return lambda machine, lanes: _wait(machine, lanes, allowed)
    kind = decoder.required("ca", "cg")
    decoder.required("shared", "shared::cta")
    decoder.required("global")
    has_policy = "L2::cache_hint" in decoder.instruction.parts
    take_hints(decoder)
    decoder.finish(3, 4, 5)
    width = decoder.integer(2)
    if width not in ((4, 8, 16) if kind == "ca" else (16,)):
        raise decoder.unsupported(f"cp.async.{kind} of {width} bytes")
    return _issue(decoder, width, has_policy)


def _issue(decoder: Decoder, width: int, has_policy: bool) -> Step:
    target, source = decoder.address(0), decoder.address(1)
    size: Read | None = None
    ignored: Read | None = None
    if len(decoder.operands) - has_policy == 4:
        last = decoder.operands[3]
        if isinstance(last, Register) and last.type.kind == "p":
            ignored = decoder.read(3, TYPES["pred"])
        else:
            size = decoder.read(3, TYPES["u32"])
    instruction = decoder.instruction

    def step(machine: Machine, lanes: Lanes) -> None:
        queue = _queue(machine)
        where = spread(target(machine, lanes), lanes)
        if int(where.max()) >= SHARED_WINDOW:
            where = where & (SHARED_WINDOW - 1)
        sizes = np.full(lanes.count, width, np.int64)
        if size is not None:
            sizes = spread(size(machine, lanes), lanes).astype(np.int64)
            if int(sizes.max()) > width:
                n = int(np.flatnonzero(sizes > width)[0])
                raise machine.error(UnsupportedInstruction, instruction, "a source larger than the copy", lanes, n)
        if ignored is not None:
            sizes = np.where(spread(ignored(machine, lanes), lanes), 0, sizes)
        position = machine.shared.begin_copy(machine, instruction, lanes, where, width)
        origin = spread(source(machine, lanes), lanes)
        values = _gathered(machine, instruction, lanes, origin, sizes, width)
        group = queue.committed[lanes.indices]
        issued = machine.counters.steps
        queue.pending.append(
            Copy(instruction, lanes.indices, position, width, values, group, origin - BASE, sizes, issued)
        )

    return step


def _gathered(
    machine: Machine, instruction: Instruction, lanes: Lanes, origin: Array, sizes: Array, width: int
) -> Array:
    """Source bytes, zero-filled beyond each thread's size."""
    full = sizes == width
    if full.all():
        return machine.memory.load(machine, instruction, lanes, origin, width)
    values = np.zeros(lanes.count, WIDE[width])
    for size in np.unique(sizes[sizes > 0]).tolist():
        here = sizes == size
        mask = np.zeros(lanes.total, np.bool_)
        mask[lanes.indices[here]] = True
        part = Lanes.of(mask)
        assert part is not None
        machine.check_alignment(instruction, part, origin[here], width, "cp.async source")
        if size == width:
            values[here] = machine.memory.load(machine, instruction, part, origin[here], width)
        else:
            some = values[here].view(np.uint8).reshape(-1, width)
            for byte in range(size):
                some[:, byte] = machine.memory.load(machine, instruction, part, origin[here] + byte, 1)
            values[here] = some.view(WIDE[width]).reshape(-1)
    return values


def _commit(machine: Machine, lanes: Lanes) -> None:
    committed = _queue(machine).committed
    if lanes.select is None:
        committed += 1
    else:
        committed[lanes.select] += 1


def _wait(machine: Machine, lanes: Lanes, allowed: int | None) -> None:
    """Completes all but the last `allowed` groups of each thread; None: everything, committed or not."""
    queue = _queue(machine)
    kept = []
    for entry in queue.pending:
        ready = np.ones(entry.lanes.size, np.bool_)
        if allowed is not None:
            ready = entry.group < queue.committed[entry.lanes] - allowed
        if lanes.mask is not None:
            ready = ready & lanes.mask[entry.lanes]
        if not ready.any():
            kept.append(entry)
            continue
        done = entry if ready.all() else _part(entry, ready)
        _check_source(machine, done)
        machine.shared.end_copy(machine, done.lanes, done.position, done.width, done.values)
        if done is not entry:
            kept.append(_part(entry, ~ready))
    queue.pending = kept


def _part(entry: Copy, chosen: Array) -> Copy:
    return Copy(
        entry.instruction,
        entry.lanes[chosen],
        entry.position[chosen],
        entry.width,
        entry.values[chosen],
        entry.group[chosen],
        entry.source[chosen],
        entry.sizes[chosen],
        entry.issued,
    )


def _check_source(machine: Machine, entry: Copy) -> None:
    """Checks that the source is unchanged since the copy was issued, if anything has been stored to it since."""
    used = np.flatnonzero(entry.sizes == entry.width)
    if not used.size:
        return
    source = entry.source[used]
    owners = {machine.memory.memory.find(int(source.min())), machine.memory.memory.find(int(source.max()))}
    if all(owner is None or owner.last_store <= entry.issued for owner in owners):
        return
    now = machine.memory.view(entry.width)[source // entry.width]
    before = np.ascontiguousarray(entry.values[used])
    changed = (now.view(np.uint8) != before.view(np.uint8)).reshape(used.size, -1).any(axis=1)
    if changed.any():
        mask = np.zeros(machine.total, np.bool_)
        mask[entry.lanes[used[changed]]] = True
        message = "the source of a cp.async was overwritten before it was waited for"
        raise machine.error(CopyInFlight, entry.instruction, message, Lanes.of(mask), 0)
