"""Local memory: each thread's stack, and the parameters of the calls that it makes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from emulator.ptx.errors import LocalOutOfBounds, UninitialisedLocal
from emulator.ptx.lanes import Array, Lanes
from emulator.ptx.memory import WIDE
from emulator.ptx.syntax import Instruction

if TYPE_CHECKING:
    from emulator.ptx.machine import Machine


class LocalMemory:
    def __init__(self, lanes: int, size: int) -> None:
        self.size = size
        self.stride = -(-size // 16) * 16
        self.bytes = np.zeros(lanes * self.stride, np.uint8)
        self._written = np.zeros(lanes * self.stride, np.bool_)
        self._base = np.arange(lanes) * self.stride

    def _locate(
        self, machine: Machine, instruction: Instruction, lanes: Lanes, address: Array, width: int, what: str
    ) -> Array:
        machine.check_alignment(instruction, lanes, address, width, f"local {what}")
        bad = (address < 0) | (address + width > self.size)
        if bad.any():
            n = int(np.flatnonzero(bad)[0])
            message = f"local {what} of {width} bytes at byte {int(address[n])} of {self.size}"
            raise machine.error(LocalOutOfBounds, instruction, message, lanes, n)
        return np.asarray(address + lanes.picked(self._base))

    def load(self, machine: Machine, instruction: Instruction, lanes: Lanes, address: Array, width: int) -> Array:
        position = self._locate(machine, instruction, lanes, address, width, "load")
        written = self._written[position[:, None] + np.arange(width)].all(axis=1)
        if not written.all():
            n = int(np.flatnonzero(~written)[0])
            message = f"read of uninitialised local memory, byte {int(address[n])}"
            raise machine.error(UninitialisedLocal, instruction, message, lanes, n)
        return self.bytes.view(WIDE[width]).take(position // width)

    def store(
        self, machine: Machine, instruction: Instruction, lanes: Lanes, address: Array, width: int, values: Array
    ) -> None:
        position = self._locate(machine, instruction, lanes, address, width, "store")
        self._written[position[:, None] + np.arange(width)] = True
        self.bytes.view(WIDE[width])[position // width] = values
