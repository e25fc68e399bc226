"""The instruction set: each file builds the steps of one family."""

from emulator.ptx.instructions import (
    asynchronous,
    atomics,
    bits,
    collectives,
    comparison,
    control,
    conversion,
    floating,
    integer,
    matrices,
    moves,
    warpgroup,
)
from emulator.ptx.instructions.control import build_ending
from emulator.ptx.operands import BUILDERS, Decoder, Step


def build_step(decoder: Decoder) -> Step:
    builder = BUILDERS.get(decoder.name)
    if builder is None:
        raise decoder.unsupported(f"unknown opcode {decoder.name}")
    return builder(decoder)


__all__ = [
    "asynchronous",
    "atomics",
    "bits",
    "build_ending",
    "build_step",
    "collectives",
    "comparison",
    "control",
    "conversion",
    "floating",
    "integer",
    "matrices",
    "moves",
    "warpgroup",
]
