"""Global memory: allocations in one arena, separated by gaps, checked at every access."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from emulator.ptx.counters import Counters, Traffic
from emulator.ptx.errors import GlobalOutOfBounds, GlobalRace, ReadOnlyWrite, UninitialisedGlobal, WrongLaunch
from emulator.ptx.lanes import Array, Lanes
from emulator.ptx.syntax import Instruction
from emulator.ptx.types import UNSIGNED

if TYPE_CHECKING:
    from emulator.ptx.machine import Machine

BASE = 1 << 40
GUARD = 1 << 20
ALIGNMENT = 256
_SEVERAL = -1
_ATOMIC = -2
# Sixteen bytes move as one element of a type that numpy copies without interpreting it.
WIDE: dict[int, type[np.generic]] = {**UNSIGNED, 16: np.complex128}


@dataclass(eq=False)
class Allocation:
    """Bytes at `address`; `array` reads them."""

    memory: Memory
    address: int
    bytes: int
    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    read_only: bool = False
    written: Array | None = None

    last_store: int = 0

    @property
    def start(self) -> int:
        return self.address - BASE

    @property
    def raw(self) -> Array:
        return self.memory.bytes[self.start : self.start + self.bytes]

    @property
    def array(self) -> Array:
        """A copy of the contents, in the shape and type of the allocation."""
        return self.raw.view(self.dtype).reshape(self.shape).copy()

    def fill(self, values: Array) -> None:
        """Stores values from outside the kernel."""
        self.raw[:] = np.ascontiguousarray(np.broadcast_to(values, self.shape), self.dtype).reshape(-1).view(np.uint8)
        if self.written is not None:
            self.written[:] = True

    def at(self, element: int) -> int:
        """The address of an element, for a pointer into the middle."""
        return self.address + element * self.dtype.itemsize


class Memory:
    """The GPU's global memory. `capacity` is address space: untouched pages cost nothing."""

    def __init__(self, capacity: int = 1 << 30) -> None:
        self.bytes = np.zeros(capacity, np.uint8)
        self.top = GUARD
        self.allocations: list[Allocation] = []
        self._starts: list[int] = []
        self._views = {size: self.bytes.view(dtype) for size, dtype in WIDE.items()}
        self.module_variables: dict[tuple[int, str], Allocation] = {}
        self.keep_alive: list[object] = []

    def array(self, values: Any, *, read_only: bool = False, name: str | None = None) -> Allocation:
        """An allocation with these contents. bfloat16 is stored as uint16, see `numerics.to_bf16`."""
        values = np.asarray(values)
        found = self._allocate(values.shape, values.dtype, name)
        found.fill(values)
        found.read_only = read_only
        return found

    def empty(self, shape: int | tuple[int, ...], dtype: Any, *, name: str | None = None) -> Allocation:
        """An allocation of bytes 0xFF (NaN in every float type); reading them before writing is an error."""
        found = self._allocate((shape,) if isinstance(shape, int) else tuple(shape), np.dtype(dtype), name)
        found.raw[:] = 0xFF
        found.written = np.zeros(found.bytes, np.bool_)
        return found

    def zeros(self, shape: int | tuple[int, ...], dtype: Any, *, name: str | None = None) -> Allocation:
        return self.array(np.zeros(shape, dtype), name=name)

    def _allocate(self, shape: tuple[int, ...], dtype: np.dtype[Any], name: str | None) -> Allocation:
        size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        start = self.top
        if start + size + GUARD > self.bytes.size:
            raise WrongLaunch(f"{size} bytes do not fit: Memory(capacity=…) is {self.bytes.size}")
        name = name or f"allocation {len(self.allocations)}"
        found = Allocation(self, BASE + start, size, name, dtype, tuple(shape))
        self.allocations.append(found)
        self._starts.append(start)
        self.top = -(-(start + size + GUARD) // ALIGNMENT) * ALIGNMENT
        return found

    def find(self, offset: int) -> Allocation | None:
        """The allocation that contains the byte."""
        n = bisect_right(self._starts, offset) - 1
        if n < 0:
            return None
        found = self.allocations[n]
        return found if offset < found.start + found.bytes else None

    def nearest(self, offset: int) -> str:
        """Describes, for an error, where an address outside all allocations lies."""
        n = max(0, bisect_right(self._starts, offset) - 1)
        if not self.allocations:
            return "nothing is allocated"
        found = self.allocations[n]
        if not 0 <= offset < self.top:
            return "far from every allocation"
        return f"byte {offset - found.start} of {found.name} of {found.bytes} bytes"


class GlobalAccess:
    """One launch's view of global memory: checks, races between blocks, counts."""

    def __init__(self, memory: Memory, granule: int, *, races: bool) -> None:
        self.memory, self.granule, self.races = memory, granule, races
        used = -(-memory.top // 16) * 16
        self._writer = np.zeros(used // granule if races else 0, np.int32)
        self._reader = np.zeros(used // granule if races else 0, np.int32)
        self._touched = {
            (what, size): np.zeros(used // size, np.bool_) for what in ("read", "written") for size in WIDE
        }

    def check(
        self, machine: Machine, instruction: Instruction, lanes: Lanes, offset: Array, width: int, what: str
    ) -> list[Allocation]:
        """The allocations that an access touches, checked for bounds and alignment."""
        machine.check_alignment(instruction, lanes, offset, width, what)
        low, high = int(offset.min()), int(offset.max())
        first = self.memory.find(low)
        if first is not None and high + width <= first.start + first.bytes:
            return [first]
        starts = np.array([a.start for a in self.memory.allocations] or [0])
        ends = np.array([a.start + a.bytes for a in self.memory.allocations] or [0])
        owner = np.searchsorted(starts, offset, side="right") - 1
        bad = (owner < 0) | (offset + width > ends[owner])
        if bad.any():
            n = int(np.flatnonzero(bad)[0])
            place = self.memory.nearest(int(offset[n]))
            message = f"global {what} of {width} bytes at {int(offset[n]) + BASE:#x}: {place}"
            raise machine.error(GlobalOutOfBounds, instruction, message, lanes, n)
        return [self.memory.allocations[n] for n in np.unique(owner)]

    def load(self, machine: Machine, instruction: Instruction, lanes: Lanes, address: Array, width: int) -> Array:
        offset = address - BASE
        owners = self.check(machine, instruction, lanes, offset, width, "load")
        element = offset // width
        for owner in owners:
            if owner.written is not None:
                self._check_written(machine, instruction, lanes, offset, width, owner)
            if self.races and not owner.read_only:
                self._note_read(machine, instruction, lanes, offset, width)
        self._touched["read", width][element] = True
        counters, n = machine.counters, instruction.index
        counters.global_bytes_read[n] += offset.size * width
        counters.global_requests[n] += lanes.warps.size
        sectors = _sectors(lanes, offset)
        counters.sectors_loaded[n] += sectors
        counters.traffic.setdefault(owners[0].name, Traffic()).asked_read += 32 * sectors
        return self.memory._views[width].take(element)

    def store(
        self, machine: Machine, instruction: Instruction, lanes: Lanes, address: Array, width: int, values: Array
    ) -> None:
        offset = address - BASE
        owners = self.prepare_write(machine, instruction, lanes, offset, width, "store")
        if self.races:
            self._note_write(machine, instruction, lanes, offset, width)
        element = offset // width
        self.memory._views[width][element] = values
        counters, n = machine.counters, instruction.index
        sectors = _sectors(lanes, offset)
        counters.global_bytes_written[n] += offset.size * width
        counters.global_requests[n] += lanes.warps.size
        counters.sectors_stored[n] += sectors
        counters.traffic.setdefault(owners[0].name, Traffic()).asked_written += 32 * sectors

    def prepare_write(
        self, machine: Machine, instruction: Instruction, lanes: Lanes, offset: Array, width: int, what: str
    ) -> list[Allocation]:
        owners = self.check(machine, instruction, lanes, offset, width, what)
        for owner in owners:
            if owner.read_only:
                n = int(np.flatnonzero((offset >= owner.start) & (offset < owner.start + owner.bytes))[0])
                message = f"global {what} to {owner.name}, which is read-only"
                raise machine.error(ReadOnlyWrite, instruction, message, lanes, n)
            owner.last_store = machine.counters.steps
            if owner.written is not None:
                if what == "atomic":
                    self._check_written(machine, instruction, lanes, offset, width, owner)
                inside = offset - owner.start
                inside = inside[(inside >= 0) & (inside < owner.bytes)]
                owner.written[inside[:, None] + np.arange(width)] = True
        self._touched["written", width][offset // width] = True
        return owners

    def atomic(self, machine: Machine, instruction: Instruction, lanes: Lanes, address: Array, width: int) -> Array:
        """Checks and counts; the elements of the arena's view on which the atomics act."""
        offset = address - BASE
        owners = self.prepare_write(machine, instruction, lanes, offset, width, "atomic")
        if self.races:
            granules = self._granules(offset, width)
            blocks = machine.block_number[lanes.indices][:, None] + 1
            other = (self._writer[granules] > 0) & (self._writer[granules] != blocks)
            if other.any():
                message = "atomic on global bytes that another block stored in this launch"
                raise machine.error(GlobalRace, instruction, message, lanes, int(np.flatnonzero(other.any(axis=1))[0]))
            self._writer[granules] = _ATOMIC
        self._touched["read", width][offset // width] = True
        counters, n = machine.counters, instruction.index
        counters.global_bytes_read[n] += offset.size * width
        counters.global_bytes_written[n] += offset.size * width
        counters.global_requests[n] += lanes.warps.size
        sectors = _sectors(lanes, offset)
        counters.sectors_stored[n] += sectors
        counters.traffic.setdefault(owners[0].name, Traffic()).asked_written += 32 * sectors
        return np.asarray(offset // width)

    def view(self, width: int) -> Array:
        return self.memory._views[width]

    def _granules(self, offset: Array, width: int) -> Array:
        count = max(1, width // self.granule)
        return np.asarray((offset // self.granule)[:, None] + np.arange(count))

    def _check_written(
        self, machine: Machine, instruction: Instruction, lanes: Lanes, offset: Array, width: int, owner: Allocation
    ) -> None:
        assert owner.written is not None
        inside = offset - owner.start
        mine = (inside >= 0) & (inside < owner.bytes)
        spans = np.where(mine, inside, 0)[:, None] + np.arange(width)
        bad = mine & ~owner.written[spans].all(axis=1)
        if bad.any():
            n = int(np.flatnonzero(bad)[0])
            message = f"global read of byte {int(inside[n])} of {owner.name}, which was never written"
            raise machine.error(UninitialisedGlobal, instruction, message, lanes, n)

    def _note_read(self, machine: Machine, instruction: Instruction, lanes: Lanes, offset: Array, width: int) -> None:
        granules = self._granules(offset, width)
        blocks = machine.block_number[lanes.indices][:, None] + 1
        writer = self._writer[granules]
        other = (writer != 0) & (writer != blocks)
        if other.any():
            n = int(np.flatnonzero(other.any(axis=1))[0])
            message = "global read of bytes that another block wrote in this launch"
            raise machine.error(GlobalRace, instruction, message, lanes, n)
        reader = self._reader[granules]
        merged = np.where((reader == 0) | (reader == blocks), blocks, _SEVERAL)
        self._reader[granules] = merged
        lost = (self._reader[granules] != merged) & (self._reader[granules] != _SEVERAL)
        if lost.any():
            self._reader[granules[lost]] = _SEVERAL

    def _note_write(self, machine: Machine, instruction: Instruction, lanes: Lanes, offset: Array, width: int) -> None:
        granules = self._granules(offset, width)
        blocks = np.broadcast_to(machine.block_number[lanes.indices][:, None] + 1, granules.shape)
        writer, reader = self._writer[granules], self._reader[granules]
        other = ((writer != 0) & (writer != blocks)) | ((reader != 0) & (reader != blocks))
        if not other.any():
            self._writer[granules] = blocks
            other = self._writer[granules] != blocks
        if other.any():
            n = int(np.flatnonzero(other.any(axis=1))[0])
            message = "global store to bytes that another block touches in this launch"
            raise machine.error(GlobalRace, instruction, message, lanes, n)

    def count_distinct(self, counters: Counters) -> None:
        """Counts the distinct bytes of the launch, and of each allocation."""
        for what in ("read", "written"):
            total = 0
            for owner in self.memory.allocations:
                if found := self._distinct(what, owner):
                    setattr(counters.traffic.setdefault(owner.name, Traffic()), f"distinct_{what}", found)
                    total += found
            setattr(counters, f"unique_bytes_{what}", total)

    def _distinct(self, what: str, owner: Allocation) -> int:
        first, last = owner.start // 16, -(-(owner.start + owner.bytes) // 16)
        merged = np.zeros(last - first, np.bool_)
        for size in sorted(WIDE, reverse=True):
            flags = self._touched[what, size][first * 16 // size : last * 16 // size]
            merged = np.repeat(merged, flags.size // max(1, merged.size)) | flags
        return int(np.count_nonzero(merged))


def _sectors(lanes: Lanes, offset: Array) -> int:
    """Distinct 32-byte sectors, warp by warp; an aligned access of up to 32 bytes lies within one."""
    key = (lanes.indices >> 5 << 48) | (offset >> 5)
    if not (key[1:] >= key[:-1]).all():
        key = np.sort(key)
    return int(np.count_nonzero(key[1:] != key[:-1])) + 1
