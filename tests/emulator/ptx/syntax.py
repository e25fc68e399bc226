"""The elements of PTX text: operands, instructions, functions, variables."""

from __future__ import annotations

from dataclasses import dataclass, field

from emulator.ptx.types import Type


@dataclass(frozen=True)
class Register:
    """A register by its number in the kernel; `negated` is the `!` before a predicate."""

    name: str
    index: int
    type: Type
    negated: bool = False


@dataclass(frozen=True)
class Immediate:
    """A literal: the `bits` of a float of `float_bytes` bytes, or an integer if that is 0."""

    value: int
    float_bytes: int = 0


@dataclass(frozen=True)
class Special:
    """%tid.x and the like."""

    name: str


@dataclass(frozen=True)
class Symbol:
    """A variable, label or function by name."""

    name: str


@dataclass(frozen=True)
class Vector:
    """{a, b, …}"""

    elements: tuple[Operand, ...]


@dataclass(frozen=True)
class Pair:
    """a|b: a second destination."""

    first: Operand
    second: Operand


@dataclass(frozen=True)
class Address:
    """[base + offset]"""

    base: Operand
    offset: int


@dataclass(frozen=True)
class Sink:
    """_: a result that is discarded."""


Operand = Register | Immediate | Special | Symbol | Vector | Pair | Address | Sink


@dataclass
class Instruction:
    index: int
    line: int
    text: str
    source: str | None
    opcode: str
    parts: tuple[str, ...]
    operands: tuple[Operand, ...]
    guard: Register | None = None


@dataclass
class Variable:
    """A .global, .const, .shared, .local or .param variable; `offset` is in its space, `data` its initial bytes."""

    name: str
    space: str
    alignment: int
    size: int
    offset: int = 0
    data: bytes | None = None
    type: Type | None = None
    is_array: bool = False


@dataclass
class Statement:
    line: int
    text: str
    source: str | None = None


@dataclass
class Function:
    """A function as text: parsed into instructions for each kernel and each call, since calls are inlined."""

    name: str
    is_entry: bool
    line: int
    results: list[Variable]
    parameters: list[Variable]
    body: list[Statement] | None
    required_block: tuple[int, ...] | None = None


@dataclass
class Text:
    target: str
    variables: dict[str, Variable] = field(default_factory=dict)
    functions: dict[str, Function] = field(default_factory=dict)
