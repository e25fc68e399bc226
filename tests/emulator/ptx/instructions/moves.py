"""mov, and loads and stores in every state space."""

from __future__ import annotations

import numpy as np

from emulator.ptx.errors import LocalOutOfBounds, UnsupportedInstruction
from emulator.ptx.lanes import Array, Lanes
from emulator.ptx.machine import LOCAL_WINDOW, PARAMETER_WINDOW, SHARED_WINDOW, Machine
from emulator.ptx.memory import WIDE
from emulator.ptx.operands import Decoder, Read, Step, opcode, pure, spread
from emulator.ptx.syntax import Address, Instruction, Symbol, Vector
from emulator.ptx.types import TYPES, UNSIGNED, Type

SPACES = ("global", "shared", "local", "param", "const", "shared::cta", "param::entry", "param::func")
CACHE_HINTS = (
    "ca",
    "cg",
    "cs",
    "cv",
    "lu",
    "wb",
    "wt",
    "nc",
    "weak",
    "volatile",
    "relaxed",
    "acquire",
    "release",
    "cta",
    "gpu",
    "sys",
    "cluster",
    "unified",
    "L1::evict_normal",
    "L1::evict_unchanged",
    "L1::evict_first",
    "L1::evict_last",
    "L1::no_allocate",
    "L2::evict_normal",
    "L2::evict_first",
    "L2::evict_last",
    "L2::cache_hint",
    "L2::64B",
    "L2::128B",
    "L2::256B",
)


@opcode("mov")
def move(decoder: Decoder) -> Step:
    type_ = decoder.type()
    decoder.finish(2)
    if isinstance(decoder.operands[0], Vector):
        return _unpacked(decoder, type_)
    if isinstance(decoder.operands[1], Vector):
        return _packed(decoder, type_)
    return pure(decoder, type_, [(1, type_)], lambda a: a)


def _part(decoder: Decoder, type_: Type, count: int) -> Type:
    if type_.bytes % count or type_.bytes // count not in UNSIGNED:
        raise decoder.unsupported(f"{count} parts of .{type_.name}")
    return TYPES[f"b{type_.bytes // count * 8}"]


def _unpacked(decoder: Decoder, type_: Type) -> Step:
    parts = decoder.elements(0)
    part = _part(decoder, type_, len(parts))
    read, writes = decoder.read(1, type_), [decoder.write(element, part) for element in parts]

    def step(machine: Machine, lanes: Lanes) -> None:
        lanes = lanes.alu
        whole = np.ascontiguousarray(read(machine, lanes)).view(part.dtype).reshape(-1, len(writes))
        for n, write in enumerate(writes):
            write(machine, lanes, np.ascontiguousarray(whole[:, n]))

    return step


def _packed(decoder: Decoder, type_: Type) -> Step:
    parts = decoder.elements(1)
    part = _part(decoder, type_, len(parts))
    reads, write = [decoder.read(element, part) for element in parts], decoder.write(0, type_)

    def step(machine: Machine, lanes: Lanes) -> None:
        lanes = lanes.alu
        values = [read(machine, lanes) for read in reads]
        joined = np.empty((max(v.size for v in values), len(values)), part.dtype)
        for n, value in enumerate(values):
            joined[:, n] = value
        write(machine, lanes, joined.view(type_.dtype).reshape(-1))

    return step


def space_of(decoder: Decoder) -> str:
    """Consumes the state space; empty for generic addresses."""
    return (decoder.one_of(*SPACES) or "").split("::")[0]


def take_hints(decoder: Decoder) -> None:
    while decoder.one_of(*CACHE_HINTS):
        pass


def element_type(decoder: Decoder) -> tuple[Type, int]:
    count = int((decoder.one_of("v2", "v4", "v8") or "v1")[1:])
    type_ = decoder.type()
    if type_.bytes * count not in WIDE:
        raise decoder.unsupported(f"accesses of {type_.bytes * count} bytes")
    return type_, count


def generic_spaces(address: Array, lanes: Lanes) -> list[tuple[str, Lanes, Array]]:
    """The spaces that generic addresses point into, with their threads and addresses within them."""
    window = address >> 48
    names = {0: "global", SHARED_WINDOW >> 48: "shared", LOCAL_WINDOW >> 48: "local", PARAMETER_WINDOW >> 48: "param"}
    found = []
    for value in np.unique(window).tolist():
        name = names.get(value, "global")
        inside = address - (value << 48) if value in names else address
        here = window == value
        if here.all():
            return [(name, lanes, inside)]
        mask = np.zeros(lanes.total, np.bool_)
        mask[lanes.indices[here]] = True
        part = Lanes.of(mask)
        assert part is not None
        found.append((name, part, inside[here]))
    return found


def fetch(machine: Machine, instruction: Instruction, lanes: Lanes, space: str, address: Array, width: int) -> Array:
    if not space:
        parts = generic_spaces(address, lanes)
        if len(parts) > 1:
            everywhere = np.zeros(lanes.total, WIDE[width])
            for name, part, inside in parts:
                everywhere[part.indices] = fetch(machine, instruction, part, name, inside, width)
            return np.asarray(everywhere[lanes.indices])
        space, lanes, address = parts[0]
    if space in ("global", "const"):
        return machine.memory.load(machine, instruction, lanes, address, width)
    if space == "shared":
        return machine.shared.load(machine, instruction, lanes, address, width)
    if space == "local":
        return machine.local.load(machine, instruction, lanes, address, width)
    data = machine.parameters
    bad = (address < 0) | (address + width > data.size)
    if bad.any():
        raise machine.error(LocalOutOfBounds, instruction, "outside the parameters", lanes, int(np.flatnonzero(bad)[0]))
    return np.ascontiguousarray(data[address[:, None] + np.arange(width)]).view(WIDE[width]).reshape(-1)


def put(
    machine: Machine, instruction: Instruction, lanes: Lanes, space: str, address: Array, width: int, values: Array
) -> None:
    if not space:
        parts = generic_spaces(address, lanes)
        if len(parts) > 1:
            everywhere = np.zeros(lanes.total, values.dtype)
            everywhere[lanes.indices] = values
            for name, part, inside in parts:
                put(machine, instruction, part, name, inside, width, everywhere[part.indices])
            return
        space, lanes, address = parts[0]
    if space == "global":
        machine.memory.store(machine, instruction, lanes, address, width, values)
    elif space == "shared":
        machine.shared.store(machine, instruction, lanes, address, width, values)
    elif space == "local":
        machine.local.store(machine, instruction, lanes, address, width, values)
    else:
        raise machine.error(UnsupportedInstruction, instruction, f"a store to .{space}", lanes, 0)


def _is_frame(decoder: Decoder, operand: int) -> bool:
    """Whether .param means the parameters of a call, which live in the thread's frame, not the kernel's parameters."""
    address = decoder.operands[operand]
    if not isinstance(address, Address) or not isinstance(address.base, Symbol):
        return False
    variable = decoder.kernel.variables.get(address.base.name)
    return variable is not None and variable.space == "frame"


@opcode("ld", "ldu")
def load(decoder: Decoder) -> Step:
    space = space_of(decoder)
    take_hints(decoder)
    type_, count = element_type(decoder)
    decoder.finish(2, 3)
    elements = decoder.elements(0)
    if len(elements) != count:
        raise decoder.unsupported(f"{len(elements)} destinations for {count} elements")
    address = decoder.address(1)
    held = UNSIGNED[type_.bytes]
    writes = [decoder.write(element, type_) for element in elements]
    width = type_.bytes * count
    instruction = decoder.instruction
    if space == "param":
        if not _is_frame(decoder, 1):
            return _load_parameter(decoder, type_, count)
        space = "local"

    def step(machine: Machine, lanes: Lanes) -> None:
        raw = fetch(machine, instruction, lanes, space, spread(address(machine, lanes), lanes), width)
        if count == 1:
            writes[0](machine, lanes, raw.view(type_.dtype))
            return
        columns = np.ascontiguousarray(raw.view(held).reshape(-1, count).T)
        for n, write in enumerate(writes):
            write(machine, lanes, columns[n].view(type_.dtype))

    return step


def _load_parameter(decoder: Decoder, type_: Type, count: int) -> Step:
    """Kernel parameters are the same for all threads, so one value serves all."""
    writes = [decoder.write(element, type_) for element in decoder.elements(0)]
    address = decoder.address(1)
    instruction, width = decoder.instruction, type_.bytes * count

    def step(machine: Machine, lanes: Lanes) -> None:
        where = address(machine, lanes)
        if where.size > 1:
            raw = fetch(machine, instruction, lanes, "param", where, width)
        else:
            start = int(where[0])
            if start < 0 or start + width > machine.parameters.size:
                raise machine.error(LocalOutOfBounds, instruction, "outside the parameters", lanes, 0)
            raw = np.array(machine.parameters[start : start + width])
        columns = raw.view(UNSIGNED[type_.bytes]).reshape(-1, count)
        for n, write in enumerate(writes):
            write(machine, lanes, np.ascontiguousarray(columns[:, n]).view(type_.dtype))

    return step


@opcode("st")
def store(decoder: Decoder) -> Step:
    space = space_of(decoder)
    take_hints(decoder)
    type_, count = element_type(decoder)
    decoder.finish(2, 3)
    elements = decoder.elements(1)
    if len(elements) != count:
        raise decoder.unsupported(f"{len(elements)} sources for {count} elements")
    address = decoder.address(0)
    reads: list[Read] = [decoder.read(element, TYPES[f"b{type_.bytes * 8}"]) for element in elements]
    width, plain, instruction = type_.bytes * count, UNSIGNED[type_.bytes], decoder.instruction
    if space == "param":
        if not _is_frame(decoder, 0):
            raise decoder.unsupported("a store to the kernel's parameters")
        space = "local"

    def step(machine: Machine, lanes: Lanes) -> None:
        where = spread(address(machine, lanes), lanes)
        if count == 1:
            values = spread(reads[0](machine, lanes), lanes)
        else:
            joined = np.empty((lanes.count, count), plain)
            for n, read in enumerate(reads):
                joined[:, n] = read(machine, lanes)
            values = joined.view(WIDE[width]).reshape(-1)
        put(machine, instruction, lanes, space, where, width, values)

    return step


@opcode("prefetch")
def prefetch(decoder: Decoder) -> Step:
    decoder.one_of("global", "local")
    decoder.required("L1", "L2", "L2::evict_last", "L2::evict_normal")
    decoder.finish(1)
    decoder.address(0)
    return lambda machine, lanes: None
