"""atom and red. Threads that access the same address act in thread order."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from emulator.ptx.errors import UnsupportedInstruction
from emulator.ptx.instructions.moves import generic_spaces, space_of
from emulator.ptx.lanes import Array, Lanes
from emulator.ptx.machine import Machine
from emulator.ptx.numerics import pack, unpack
from emulator.ptx.operands import Decoder, Read, Step, opcode, spread
from emulator.ptx.syntax import Sink
from emulator.ptx.types import Type

_SCOPES = ("relaxed", "acquire", "release", "acq_rel", "cta", "gpu", "sys", "cluster", "noftz", "L2::cache_hint")
_OPERATIONS = ("add", "min", "max", "and", "or", "xor", "exch", "cas", "inc", "dec")
_ROUNDS = 64
Combine = Callable[[Array, Array, Array], Array]


@opcode("atom", "red")
def atomic(decoder: Decoder) -> Step:
    returns = decoder.name == "atom"
    space = space_of(decoder)
    while decoder.one_of(*_SCOPES):
        pass
    operation = decoder.required(*_OPERATIONS)
    type_ = decoder.type()
    decoder.finish(*((3, 4) if returns else (2,)))
    known: tuple[str, ...]
    if type_.kind == "f":
        known = ("add", "exch", "min", "max") if type_.bytes <= 4 else ("add", "exch")
    else:
        known = ("and", "or", "xor", "exch", "cas") if type_.kind == "b" else _OPERATIONS
    if operation not in known:
        raise decoder.unsupported(f"{operation} of .{type_.name}")
    at = 1 if returns else 0
    address, value = decoder.address(at), decoder.read(at + 1, type_)
    other: Read | None = decoder.read(at + 2, type_) if operation == "cas" else None
    if (len(decoder.operands) == at + 3) != (operation == "cas"):
        raise decoder.unsupported("this number of operands")
    wants = returns and not isinstance(decoder.operands[0], Sink)
    write = decoder.write(0, type_) if wants else None
    combine, whole = _combination(operation, type_)
    decoder.flops = int(type_.kind == "f" and operation == "add") * (2 if type_.name.endswith("x2") else 1)
    instruction = decoder.instruction

    def step(machine: Machine, lanes: Lanes) -> None:
        where = spread(address(machine, lanes), lanes)
        parts = [(space, lanes, where)] if space else generic_spaces(where, lanes)
        if len(parts) > 1:
            raise machine.error(UnsupportedInstruction, instruction, "an atomic on several spaces at once", lanes, 0)
        name, _, inside = parts[0]
        if name == "global":
            element = machine.memory.atomic(machine, instruction, lanes, inside, type_.bytes)
            view = machine.memory.view(type_.bytes).view(type_.dtype)
        elif name == "shared":
            element = machine.shared.atomic(machine, instruction, lanes, inside, type_.bytes)
            view = machine.shared.view(type_.bytes).view(type_.dtype)
        else:
            raise machine.error(UnsupportedInstruction, instruction, f"an atomic on .{name}", lanes, 0)
        values = spread(value(machine, lanes), lanes)
        seconds = values if other is None else spread(other(machine, lanes), lanes)
        if write is None and whole is not None:
            whole.at(view, element, values)
            return
        old = _in_turn(view, element, values, seconds, combine, whole)
        if write is not None:
            write(machine, lanes, old)

    return step


def _in_turn(
    view: Array, element: Array, values: Array, seconds: Array, combine: Combine, whole: np.ufunc | None
) -> Array:
    """Each thread's old value; threads that share an address act one after another."""
    order = np.argsort(element, kind="stable")
    ordered = element[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    lengths = np.diff(np.r_[starts, ordered.size])
    old = np.empty(values.shape, view.dtype)
    if whole is not None and int(lengths.max()) > _ROUNDS:
        for start, length in zip(starts.tolist(), lengths.tolist(), strict=True):
            group = order[start : start + length]
            place = ordered[start]
            running = whole.accumulate(np.r_[view[place], values[group]].astype(view.dtype))
            old[group] = running[:-1]
            view[place] = running[-1]
        return old
    rank = np.arange(ordered.size) - np.repeat(starts, lengths)
    for turn in range(int(lengths.max())):
        now = order[rank == turn]
        held = view[element[now]]
        old[now] = held
        view[element[now]] = combine(held, values[now], seconds[now])
    return old


def _combination(operation: str, type_: Type) -> tuple[Combine, np.ufunc | None]:
    whole: dict[str, np.ufunc] = {
        "add": np.add,
        "min": np.minimum,
        "max": np.maximum,
        "and": np.bitwise_and,
        "or": np.bitwise_or,
        "xor": np.bitwise_xor,
    }
    if operation == "exch":
        return (lambda old, value, _: value), None
    if operation == "cas":
        return (lambda old, compare, value: np.where(_same(old, compare), value, old)), None
    if operation == "inc":
        one = type_.dtype.type(1)
        return (lambda old, value, _: np.where(old >= value, type_.dtype.type(0), old + one)), None
    if operation == "dec":
        one = type_.dtype.type(1)
        return (lambda old, value, _: np.where((old == 0) | (old > value), value, old - one)), None
    function = whole[operation]
    if type_.name in ("f16", "bf16", "f16x2", "bf16x2"):
        values, bits = unpack(type_.name), pack(type_.name)
        return (lambda old, value, _: bits(function(values(old), values(value)))), None
    return (lambda old, value, _: function(old, value)), function


def _same(a: Array, b: Array) -> Array:
    return np.asarray(a == b)
