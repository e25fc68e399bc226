"""The shared memory of a batch of blocks: bounds, uninitialised reads, races between warps, copies in flight, banks.

Each granule of shared memory has two stamps, for its last write and its last read: the number of barriers that the
block had passed, and the warp. Two accesses with the same number and different warps are unordered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from emulator.ptx.errors import (
    CopyInFlight,
    MatrixInFlight,
    PtxError,
    SharedOutOfBounds,
    SharedRace,
    UninitialisedShared,
)
from emulator.ptx.lanes import Array, Lanes
from emulator.ptx.memory import WIDE
from emulator.ptx.syntax import Instruction

if TYPE_CHECKING:
    from emulator.ptx.machine import Machine

_WARP_BITS = 6
_SEVERAL = 63
_ATOMIC = 62


class SharedMemory:
    def __init__(self, blocks: int, size: int, granule: int, lane_block: Array, lane_warp: Array) -> None:
        self.size, self.granule = size, granule
        self.stride = max(16, -(-size // 16) * 16)
        self.bytes = np.full(blocks * self.stride, 0xFF, np.uint8)
        self._views = {width: self.bytes.view(dtype) for width, dtype in WIDE.items()}
        granules = self.bytes.size // granule
        self._written = np.full(granules, -1, np.int32)
        self._read = np.full(granules, -1, np.int32)
        self.in_flight: Array | None = None
        self.matrix_reads: Array | None = None
        # The step of each granule's last write through the generic proxy, if the kernel uses wgmma.
        self.written_at: Array | None = None
        self._lane_warp = lane_warp.astype(np.int32)
        self._lane_block = lane_block
        self.base = lane_block.astype(np.int64) * self.stride
        self._barriers = np.zeros(blocks, np.int32)
        self._stamps = self._lane_warp.copy()

    def watch_proxy(self) -> None:
        """Starts recording the time of each granule's last write, for wgmma."""
        self.written_at = np.full(self._written.size, -1, np.int64)

    def passed_barrier(self, blocks: Array | None) -> None:
        """Called for blocks all of whose threads met at a barrier: orders their earlier accesses before later ones."""
        if blocks is None:
            self._barriers += 1
        else:
            self._barriers[blocks] += 1
        self._stamps = (self._barriers[self._lane_block] << _WARP_BITS) | self._lane_warp

    def locate(
        self, machine: Machine, instruction: Instruction, lanes: Lanes, address: Array, width: int, what: str
    ) -> Array:
        """Checked positions in the batch's bytes."""
        machine.check_alignment(instruction, lanes, address, width, f"shared {what}")
        if int(address.min()) < 0 or int(address.max()) + width > self.size:
            n = int(np.flatnonzero((address < 0) | (address + width > self.size))[0])
            message = f"shared {what} of {width} bytes at byte {int(address[n])} of {self.size}"
            raise machine.error(SharedOutOfBounds, instruction, message, lanes, n)
        return np.asarray(address + lanes.picked(self.base))

    def granules(self, position: Array, width: int) -> Array:
        count = max(1, width // self.granule)
        first = position // self.granule
        return first if count == 1 else np.asarray(first[:, None] + np.arange(count))

    def _mine(self, lanes: Lanes, granules: Array) -> Array:
        stamps = lanes.picked(self._stamps)
        return stamps if granules.ndim == 1 else stamps[:, None]

    def _complaint(
        self,
        error: type[PtxError],
        bad: Array,
        message: str,
        machine: Machine,
        instruction: Instruction,
        lanes: Lanes,
        position: Array,
    ) -> PtxError:
        n = int(np.flatnonzero(bad if bad.ndim == 1 else bad.any(axis=1))[0])
        where = int(position[n]) % self.stride
        return machine.error(error, instruction, f"{message}, byte {where}", lanes, n)

    def note_read(self, machine: Machine, instruction: Instruction, lanes: Lanes, position: Array, width: int) -> None:
        granules = self.granules(position, width)
        site = machine, instruction, lanes, position
        written = self._written[granules]
        if self.in_flight is not None and (bad := self.in_flight[granules] > 0).any():
            raise self._complaint(CopyInFlight, bad, "shared read of bytes that a cp.async still writes", *site)
        if int(written.min()) < 0:
            raise self._complaint(UninitialisedShared, written < 0, "read of uninitialised shared memory", *site)
        mine = self._mine(lanes, granules)
        difference = written ^ mine
        bad = (difference > 0) & (difference <= _SEVERAL)
        if bad.any():
            message = "race: shared read of bytes that another warp wrote, with no barrier between"
            raise self._complaint(SharedRace, bad, message, *site)
        before = self._read[granules] ^ mine
        stamps = np.where((before > 0) & (before <= _SEVERAL), mine | _SEVERAL, mine)
        self._read[granules] = stamps
        lost = self._read[granules] != stamps
        if lost.any():
            self._read[granules[lost]] = np.broadcast_to(mine, granules.shape)[lost] | _SEVERAL

    def note_write(
        self,
        machine: Machine,
        instruction: Instruction,
        lanes: Lanes,
        position: Array,
        width: int,
        values: Array | None,
    ) -> None:
        """Checks and stamps a write; `values` permit two warps to write the same bytes with the same values."""
        granules = self.check_write(machine, instruction, lanes, position, width, values)
        mine = np.broadcast_to(self._mine(lanes, granules), granules.shape)
        self._written[granules] = mine
        self._note_proxy(machine, granules)
        lost = self._written[granules] != mine
        if lost.any() and (values is None or not self._alike(position, width, values)):
            site = machine, instruction, lanes, position
            raise self._complaint(SharedRace, lost, "race: two warps write the same shared bytes", *site)

    def _note_proxy(self, machine: Machine, granules: Array) -> None:
        if self.written_at is not None:
            self.written_at[granules] = machine.counters.steps

    def _alike(self, position: Array, width: int, values: Array) -> bool:
        """Whether lanes that write to the same place write the same value."""
        view = self._views[width]
        element = position // width
        saved = view[element]
        view[element] = values
        same = _bits(view[element]) == _bits(np.broadcast_to(values, element.shape))
        view[element] = saved
        return bool(same.all())

    def check_write(
        self,
        machine: Machine,
        instruction: Instruction,
        lanes: Lanes,
        position: Array,
        width: int,
        values: Array | None = None,
    ) -> Array:
        granules = self.granules(position, width)
        site = machine, instruction, lanes, position
        if self.in_flight is not None and (bad := self.in_flight[granules] > 0).any():
            raise self._complaint(CopyInFlight, bad, "shared write to bytes that a cp.async still writes", *site)
        if self.matrix_reads is not None and (bad := self.matrix_reads[granules] > 0).any():
            raise self._complaint(MatrixInFlight, bad, "shared write to bytes that a wgmma still reads", *site)
        mine = self._mine(lanes, granules)
        difference = self._read[granules] ^ mine
        bad = (difference > 0) & (difference <= _SEVERAL)
        if bad.any():
            message = "race: shared write to bytes that another warp read, with no barrier between"
            raise self._complaint(SharedRace, bad, message, *site)
        difference = self._written[granules] ^ mine
        bad = (difference > 0) & (difference <= _SEVERAL)
        if bad.any() and (values is None or not self._same_as_memory(position, width, values, bad)):
            message = "race: shared write to bytes that another warp wrote, with no barrier between"
            raise self._complaint(SharedRace, bad, message, *site)
        return granules

    def _same_as_memory(self, position: Array, width: int, values: Array, bad: Array) -> bool:
        rows = bad if bad.ndim == 1 else bad.any(axis=1)
        held = self._views[width][position[rows] // width]
        return bool((_bits(held) == _bits(np.broadcast_to(values, position.shape)[rows])).all())

    def load(self, machine: Machine, instruction: Instruction, lanes: Lanes, address: Array, width: int) -> Array:
        position = self.locate(machine, instruction, lanes, address, width, "load")
        if machine.checks:
            self.note_read(machine, instruction, lanes, position, width)
        machine.counters.shared_bytes_read[instruction.index] += address.size * width
        self.count_banks(machine, instruction, lanes, address, width)
        return self._views[width].take(position // width)

    def store(
        self, machine: Machine, instruction: Instruction, lanes: Lanes, address: Array, width: int, values: Array
    ) -> None:
        position = self.locate(machine, instruction, lanes, address, width, "store")
        if machine.checks:
            self.note_write(machine, instruction, lanes, position, width, values)
        machine.counters.shared_bytes_written[instruction.index] += address.size * width
        self.count_banks(machine, instruction, lanes, address, width)
        self._views[width][position // width] = values

    def atomic(self, machine: Machine, instruction: Instruction, lanes: Lanes, address: Array, width: int) -> Array:
        """Positions of an atomic: ordered among atomics, a race with plain accesses by other warps."""
        position = self.locate(machine, instruction, lanes, address, width, "atomic")
        if machine.checks:
            granules = self.granules(position, width)
            site = machine, instruction, lanes, position
            written, mine = self._written[granules], self._mine(lanes, granules)
            if int(written.min()) < 0:
                raise self._complaint(UninitialisedShared, written < 0, "atomic on uninitialised shared memory", *site)
            for stamps in (written, self._read[granules]):
                difference = stamps ^ mine
                bad = (difference > 0) & (difference <= _SEVERAL) & ((stamps & _SEVERAL) != _ATOMIC)
                if bad.any():
                    message = "race: shared atomic on bytes that another warp accessed, with no barrier between"
                    raise self._complaint(SharedRace, bad, message, *site)
            several = machine.lanes_per_block > 32
            self._written[granules] = (mine & ~_SEVERAL) | _ATOMIC if several else mine
        machine.counters.shared_bytes_read[instruction.index] += address.size * width
        machine.counters.shared_bytes_written[instruction.index] += address.size * width
        return np.asarray(position // width)

    def view(self, width: int) -> Array:
        return self._views[width]

    def begin_copy(self, machine: Machine, instruction: Instruction, lanes: Lanes, address: Array, width: int) -> Array:
        """The destination of a cp.async: checked as a write now, written when waited for."""
        position = self.locate(machine, instruction, lanes, address, width, "cp.async")
        if machine.checks:
            granules = self.check_write(machine, instruction, lanes, position, width)
            if self.in_flight is None:
                self.in_flight = np.zeros(self._written.size, np.int16)
            np.add.at(self.in_flight, granules, 1)
            if int(self.in_flight[granules].max()) > 1:
                bad = self.in_flight[granules] > 1
                site = machine, instruction, lanes, position
                raise self._complaint(CopyInFlight, bad, "two cp.async write the same shared bytes", *site)
        machine.counters.shared_bytes_written[instruction.index] += address.size * width
        self.count_banks(machine, instruction, lanes, address, width)
        return position

    def end_copy(self, machine: Machine, lanes: Array, position: Array, width: int, values: Array) -> None:
        if machine.checks:
            assert self.in_flight is not None
            granules = self.granules(position, width)
            self.in_flight[granules] -= 1
            stamps = self._stamps[lanes]
            self._written[granules] = stamps if granules.ndim == 1 else stamps[:, None]
            self._note_proxy(machine, granules)
        self._views[width][position // width] = values

    def check_proxy_read(
        self, machine: Machine, instruction: Instruction, lanes: Lanes, owners: Array, position: Array, granules: Array
    ) -> None:
        """A read by wgmma; `owners` are the numbers, within `lanes`, of the leaders of the reading groups."""

        def complaint(error: type[PtxError], bad: Array, message: str) -> PtxError:
            n = int(np.flatnonzero(bad.any(axis=1))[0])
            where = int(position[n]) % self.stride
            return machine.error(error, instruction, f"{message}, byte {where}", lanes, int(owners[n]))

        granules = granules.reshape(position.size, -1)
        written = self._written[granules]
        if self.in_flight is not None and (bad := self.in_flight[granules] > 0).any():
            raise complaint(CopyInFlight, bad, "wgmma reads bytes that a cp.async still writes")
        if int(written.min()) < 0:
            raise complaint(UninitialisedShared, written < 0, "wgmma reads uninitialised shared memory")
        mine = self._stamps[lanes.indices[owners]][:, None]
        difference = written ^ mine
        bad = (difference > 0) & (difference <= _SEVERAL)
        if bad.any():
            raise complaint(SharedRace, bad, "race: wgmma reads bytes that another warp wrote, with no barrier between")
        if self.written_at is not None and machine.fences is not None:
            fenced = machine.fences[self._lane_block[lanes.indices[owners]]][:, None]
            bad = self.written_at[granules] > fenced
            if bad.any():
                raise complaint(
                    MatrixInFlight, bad, "wgmma reads shared memory with no fence.proxy.async after its write"
                )
        self._read[granules] = mine | _SEVERAL

    def count_banks(self, machine: Machine, instruction: Instruction, lanes: Lanes, address: Array, width: int) -> None:
        """Counts each warp's wavefronts: 32 lanes of 4 bytes at a time, 16 of 8, 8 of 16."""
        if not machine.count_conflicts:
            return
        least, extra = wavefronts(lanes, address, width, machine.lanes_per_block)
        machine.counters.shared_wavefronts[instruction.index] += least + extra
        machine.counters.bank_conflicts[instruction.index] += extra


def _bits(values: Array) -> Array:
    """Bits for comparing elements of any width, with one pattern for all float32 NaN.

    GPUs have one NaN, 0x7fffffff; numpy's depend on which operand was NaN and on the position in numpy's vectors.
    """
    values = np.ascontiguousarray(values)
    if values.dtype.itemsize < 4:
        return values.view(np.uint8).reshape(values.size, -1)
    words = values.view(np.uint32).reshape(values.size, -1)
    return np.where((words & np.uint32(0x7FFFFFFF)) > np.uint32(0x7F800000), np.uint32(0x7FFFFFFF), words)


def wavefronts(lanes: Lanes, address: Array, width: int, lanes_per_block: int) -> tuple[int, int]:
    """The minimum number of wavefronts of the accesses, and the number added by bank conflicts."""
    at_once = min(32, 128 // width)
    if lanes.mask is None:
        times = 1
        if address.size > lanes_per_block:
            by_block = address.reshape(-1, lanes_per_block)
            if (by_block == by_block[0]).all():
                times, address = by_block.shape[0], by_block[0]
        phases, extra = phase_conflicts(address.reshape(-1, at_once) >> 2, max(1, width // 4))
        return phases * times, extra * times
    words = np.full(lanes.total, -1, np.int64)
    words[lanes.indices] = address >> 2
    phase_words = words.reshape(-1, at_once)
    most = phase_words.max(axis=1, keepdims=True)
    active = most[:, 0] >= 0
    return phase_conflicts(np.where(phase_words < 0, most, phase_words)[active], max(1, width // 4))


def phase_conflicts(words: Array, words_per_lane: int) -> tuple[int, int]:
    """Number of phases, and of wavefronts beyond one per phase: the most distinct words of one bank in a phase."""
    phases = words.shape[0]
    if words_per_lane > 1:
        words = (words[:, :, None] + np.arange(words_per_lane)).reshape(phases, -1)
    key = np.sort(((words & 31) << 40) | words, axis=1)
    distinct = np.ones(key.shape, np.int64)
    distinct[:, 1:] = key[:, 1:] != key[:, :-1]
    rank = np.cumsum(distinct, axis=1)
    bank = key >> 40
    first = np.ones(key.shape, np.bool_)
    first[:, 1:] = bank[:, 1:] != bank[:, :-1]
    start = np.maximum.accumulate(np.where(first, rank, 0), axis=1)
    return phases, int((rank - start).max(axis=1).sum())
