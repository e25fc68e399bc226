"""Control flow: basic blocks, the order in which they are scheduled, registers that may be read undefined.

Threads that diverge reconverge because the scheduler always runs the waiting block that comes first in a weak
topological order (Bourdoncle): a loop's blocks are contiguous in it, and whatever follows a branch's two sides comes
after both. Compiled (reducible) control flow thus reconverges at the immediate post-dominator, or earlier.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from emulator.ptx.errors import SyntaxNotUnderstood
from emulator.ptx.syntax import Address, Immediate, Instruction, Operand, Pair, Register, Symbol, Vector

# Opcodes whose first operand is not a destination.
_NO_DESTINATION = {
    "st",
    "stmatrix",
    "red",
    "bra",
    "ret",
    "exit",
    "trap",
    "membar",
    "fence",
    "cp",
    "prefetch",
    "prefetchu",
    "call",
    "nanosleep",
    "wgmma",
    "griddepcontrol",
    "applypriority",
    "discard",
    "setmaxnreg",
    "brkpt",
    "pmevent",
}

# Opcodes whose only effect is to compute a register from registers: undefined in, undefined out. All others, like
# predicates, have visible effects and must not read undefined values.
_CARRIERS = {
    "mov",
    "shfl",
    "add",
    "sub",
    "mul",
    "mad",
    "fma",
    "min",
    "max",
    "abs",
    "neg",
    "and",
    "or",
    "xor",
    "not",
    "shl",
    "shr",
    "prmt",
    "cvt",
    "selp",
}


@dataclass
class Block:
    """Instructions [start, end); `taken` and `next` are block numbers, -1 for the end of the thread."""

    number: int
    start: int
    end: int
    taken: int | None = None
    next: int = -1
    priority: int = 0
    predecessors: list[int] = field(default_factory=list)

    @property
    def successors(self) -> list[int]:
        return [number for number in (self.taken, self.next) if number is not None and number >= 0]


def ends_block(instruction: Instruction) -> bool:
    first, second = (*instruction.parts, "")[:2]
    if first in ("bra", "ret", "exit", "trap"):
        return True
    if first in ("bar", "barrier"):
        return "warp" not in instruction.parts and "arrive" not in instruction.parts
    return first == "mbarrier" and second in ("try_wait", "test_wait")


def blocks_of(instructions: list[Instruction], labels: dict[str, int]) -> list[Block]:
    targets = {i.operands[0].name for i in instructions if i.parts[0] == "bra" and isinstance(i.operands[0], Symbol)}
    starts = {0, *(labels[name] for name in targets if name in labels)}
    starts.update(i.index + 1 for i in instructions if ends_block(i))
    ordered = sorted(start for start in starts if start < len(instructions))
    number = {start: n for n, start in enumerate(ordered)}
    number[len(instructions)] = -1
    blocks = []
    for n, start in enumerate(ordered):
        end = ordered[n + 1] if n + 1 < len(ordered) else len(instructions)
        block = Block(n, start, end, next=number[end])
        last = instructions[end - 1]
        if last.parts[0] == "bra":
            target = last.operands[0]
            if not isinstance(target, Symbol) or target.name not in labels:
                raise SyntaxNotUnderstood("unknown branch target", line=last.line, text=last.text)
            block.taken = number[labels[target.name]]
            if last.guard is None:
                block.next = block.taken
                block.taken = None
        elif last.parts[0] in ("ret", "exit", "trap") and last.guard is None:
            block.next = -1
        blocks.append(block)
    for block in blocks:
        for successor in block.successors:
            blocks[successor].predecessors.append(block.number)
    for priority, n in enumerate(_weak_topological_order(blocks)):
        blocks[n].priority = priority
    return blocks


def _weak_topological_order(blocks: list[Block]) -> list[int]:
    pending: list[list[int]] = [[block.number for block in blocks]]
    ordered: list[int] = []
    while pending:
        nodes = pending.pop()
        if len(nodes) == 1:
            ordered.append(nodes[0])
            continue
        inside = set(nodes)
        following: list[list[int]] = []
        for component in _components(blocks, nodes, inside):
            if len(component) == 1:
                following.append(component)
                continue
            members = set(component)
            entered = [
                n for n in component if n == 0 or any(p in inside and p not in members for p in blocks[n].predecessors)
            ]
            head = min(entered or component)
            following.append([head])
            following.append(sorted(members - {head}))
        pending.extend(reversed(following))
    return ordered


def _components(blocks: list[Block], nodes: list[int], inside: set[int]) -> list[list[int]]:
    """Strongly connected components in topological order (Tarjan, without recursion)."""
    index: dict[int, int] = {}
    low: dict[int, int] = {}
    on_stack: set[int] = set()
    stack: list[int] = []
    found: list[list[int]] = []
    for root in nodes:
        if root in index:
            continue
        work: list[tuple[int, Iterator[int]]] = [(root, iter(blocks[root].successors))]
        index[root] = low[root] = len(index)
        stack.append(root)
        on_stack.add(root)
        while work:
            node, successors = work[-1]
            for successor in successors:
                if successor not in inside:
                    continue
                if successor not in index:
                    index[successor] = low[successor] = len(index)
                    stack.append(successor)
                    on_stack.add(successor)
                    work.append((successor, iter(blocks[successor].successors)))
                    break
                if successor in on_stack:
                    low[node] = min(low[node], index[successor])
            else:
                work.pop()
                if work:
                    parent = work[-1][0]
                    low[parent] = min(low[parent], low[node])
                if low[node] == index[node]:
                    component = []
                    while True:
                        member = stack.pop()
                        on_stack.discard(member)
                        component.append(member)
                        if member == node:
                            break
                    found.append(component)
    return found[::-1]


def _registers(operand: Operand) -> Iterator[int]:
    if isinstance(operand, Register):
        yield operand.index
    elif isinstance(operand, Vector):
        for element in operand.elements:
            yield from _registers(element)
    elif isinstance(operand, Pair):
        yield from _registers(operand.first)
        yield from _registers(operand.second)
    elif isinstance(operand, Address):
        yield from _registers(operand.base)


def _all_registers(operands: Iterable[Operand]) -> set[int]:
    return {index for operand in operands for index in _registers(operand)}


def _has_destination(instruction: Instruction) -> bool:
    parts = instruction.parts
    if parts[0] in ("bar", "barrier"):
        return "red" in parts
    if parts[0] == "mbarrier":
        return not isinstance(instruction.operands[0], Address)
    return parts[0] not in _NO_DESTINATION


def writes(instruction: Instruction) -> set[int]:
    if instruction.parts[:2] == ("wgmma", "mma_async"):
        return _all_registers(instruction.operands[:1])
    return _all_registers(instruction.operands[:1]) if _has_destination(instruction) else set()


def left_operand(instruction: Instruction) -> set[int]:
    """Registers that a wgmma reads until it has been waited for."""
    if instruction.parts[:2] != ("wgmma", "mma_async") or not isinstance(instruction.operands[1], Vector):
        return set()
    return _all_registers(instruction.operands[1:2])


def reads(instruction: Instruction) -> set[int]:
    """Registers read; a wgmma's accumulators only if it always adds to them."""
    first = 1 if _has_destination(instruction) else 0
    if instruction.parts[:2] == ("wgmma", "mma_async"):
        adds = instruction.operands[3]
        first = 0 if isinstance(adds, Immediate) and adds.value else 1
    found = _all_registers(instruction.operands[first:])
    if instruction.guard is not None:
        found.add(instruction.guard.index)
    return found


def carries(instruction: Instruction) -> bool:
    """Whether an undefined operand makes the result undefined and has no other effect."""
    return instruction.parts[0] in _CARRIERS


def maybe_undefined(
    instructions: list[Instruction], blocks: list[Block], registers: list[Register]
) -> set[tuple[int, int]]:
    """Reads whose values cannot be proved to be defined on all paths; the machine checks them thread by thread.

    A value is undefined if nothing wrote it, or if it was computed from undefined values.
    """
    everything = (1 << len(registers)) - 1
    effects = [
        [(each, _bits(reads(each)), _bits(writes(each))) for each in instructions[block.start : block.end]]
        for block in blocks
    ]

    def after(number: int, defined: int) -> int:
        for instruction, read, written in effects[number]:
            if read & ~defined and carries(instruction):
                defined &= ~written
            elif instruction.guard is None:
                defined |= written
        return defined

    defined_in = [everything] * len(blocks)
    defined_out = [everything] * len(blocks)
    if blocks:
        defined_in[0] = 0
    in_order = sorted(blocks, key=lambda block: block.priority)
    changed = True
    while changed:
        changed = False
        for block in in_order:
            defined = defined_in[block.number]
            for predecessor in block.predecessors:
                defined &= defined_out[predecessor]
            out = after(block.number, defined)
            changed |= out != defined_out[block.number]
            defined_in[block.number], defined_out[block.number] = defined, out
    unsure = set()
    for block in blocks:
        defined = defined_in[block.number]
        for instruction, read, written in effects[block.number]:
            missing = read & ~defined
            if missing:
                unsure |= {(instruction.index, register) for register in reads(instruction) if missing >> register & 1}
            if missing and carries(instruction):
                defined &= ~written
            elif instruction.guard is None:
                defined |= written
    return unsure


def _bits(registers: set[int]) -> int:
    return sum(1 << register for register in registers)
