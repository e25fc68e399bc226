"""A kernel prepared to run: calls inlined, registers numbered, blocks in order of reconvergence."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from emulator.ptx.errors import PtxError, SyntaxNotUnderstood, UnsupportedInstruction
from emulator.ptx.flow import Block, blocks_of, maybe_undefined
from emulator.ptx.parser import parse_operand, parse_variable, split_operands
from emulator.ptx.syntax import Function, Instruction, Operand, Register, Statement, Symbol, Text, Variable
from emulator.ptx.types import TYPES, Type

_GUARD = re.compile(r"@\s*(!?)\s*([%$\w]+)\s+(.*)$", re.S)
_OPCODE = re.compile(r"([a-z][\w.:]*)\s*(.*)$", re.S)
_REGISTERS = re.compile(r"(%?[\w$]+)<(\d+)>")
MAX_CALL_DEPTH = 32
CARRY = "the carry flag"  # The condition code of add.cc and the like: a register after all others.


@dataclass
class Kernel:
    name: str
    target: str
    parameters: list[Variable]
    required_block: tuple[int, ...] | None
    registers: list[Register] = field(default_factory=list)
    instructions: list[Instruction] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)
    variables: dict[str, Variable] = field(default_factory=dict)
    shared_bytes: int = 0
    local_bytes: int = 0
    blocks: list[Block] = field(default_factory=list)
    # Pairs of an instruction and a register that it reads, which is undefined on some path.
    unsure: set[tuple[int, int]] = field(default_factory=set)


def build(module: Text, function: Function) -> Kernel:
    kernel = Kernel(function.name, module.target, function.parameters, function.required_block)
    for variable in module.variables.values():
        if variable.space == "shared" and variable.size:
            _place_shared(kernel, variable, variable.name)
        else:
            kernel.variables[variable.name] = variable
    parameters = {}
    for variable in function.parameters:
        kernel.variables[variable.name] = variable
        parameters[variable.name] = variable.name
    _Expansion(module, kernel, "", parameters, depth=0).run(function)
    kernel.registers.append(Register(CARRY, len(kernel.registers), TYPES["pred"]))
    kernel.blocks = blocks_of(kernel.instructions, kernel.labels)
    kernel.unsure = maybe_undefined(kernel.instructions, kernel.blocks, kernel.registers)
    return kernel


def _place_shared(kernel: Kernel, variable: Variable, name: str) -> None:
    variable.offset = -(-kernel.shared_bytes // variable.alignment) * variable.alignment
    kernel.shared_bytes = variable.offset + variable.size
    kernel.variables[name] = variable


class _Expansion:
    """One function's body expanded into the kernel: the kernel's own, or a callee's at one call."""

    def __init__(self, module: Text, kernel: Kernel, suffix: str, names: dict[str, str], depth: int) -> None:
        self.module, self.kernel, self.suffix, self.depth = module, kernel, suffix, depth
        self.registers: list[dict[str, Register]] = [{}]
        self.names: list[dict[str, str]] = [dict(names)]
        self.labels: set[str] = set()

    def run(self, function: Function) -> None:
        assert function.body is not None
        self.labels = {s.text[:-1].strip() for s in function.body if s.text.endswith(":")}
        for statement in function.body:
            try:
                self._statement(statement)
            except PtxError as error:
                if error.line is not None:
                    raise
                raise type(error)(
                    error.message, kernel=self.kernel.name, line=statement.line, text=statement.text[:160]
                ) from None
        if self.depth:
            self.kernel.labels["return" + self.suffix] = len(self.kernel.instructions)

    def _statement(self, statement: Statement) -> None:
        text = statement.text
        if text == "{":
            self.registers.append({})
            self.names.append({})
        elif text == "}":
            self.registers.pop()
            self.names.pop()
        elif text.endswith(":"):
            self.kernel.labels[text[:-1].strip() + self.suffix] = len(self.kernel.instructions)
        elif text.startswith(".reg"):
            self._declare_registers(text)
        elif text.startswith((".shared", ".local", ".param")):
            self._declare_variable(text, statement.line)
        elif text.startswith(".pragma"):
            pass
        elif text.startswith("."):
            raise SyntaxNotUnderstood("unknown directive")
        else:
            self._instruction(statement)

    def _declare_registers(self, text: str) -> None:
        match = re.match(r"\.reg\s+\.(\w+)\s+(.*)$", text)
        if not match or match[1] not in TYPES:
            raise SyntaxNotUnderstood("unknown register declaration")
        for name in match[2].split(","):
            numbered = _REGISTERS.fullmatch(name.strip())
            if numbered:
                for number in range(int(numbered[2])):
                    self._declare_register(f"{numbered[1]}{number}", TYPES[match[1]])
            else:
                self._declare_register(name.strip(), TYPES[match[1]])

    def _declare_register(self, name: str, type_: Type) -> None:
        register = Register(name, len(self.kernel.registers), type_)
        self.kernel.registers.append(register)
        self.registers[-1][name] = register

    def _declare_variable(self, text: str, line: int) -> None:
        variable = parse_variable(text, line)
        unique = f"{variable.name}{self.suffix}#{len(self.kernel.variables)}"
        if variable.space == "shared":
            _place_shared(self.kernel, variable, unique)
        else:
            variable.offset = -(-self.kernel.local_bytes // variable.alignment) * variable.alignment
            self.kernel.local_bytes = variable.offset + variable.size
            self.kernel.variables[unique] = variable
            if variable.space == "param":
                variable.space = "frame"
        self.names[-1][variable.name] = unique

    def _register(self, name: str) -> Register | None:
        return next((scope[name] for scope in reversed(self.registers) if name in scope), None)

    def _symbol(self, name: str) -> str:
        if name in self.labels:
            return name + self.suffix
        return next((scope[name] for scope in reversed(self.names) if name in scope), name)

    def _instruction(self, statement: Statement) -> None:
        text, guard = statement.text, None
        if match := _GUARD.match(text):
            register = self._register(match[2])
            if register is None:
                raise SyntaxNotUnderstood(f"unknown predicate {match[2]}")
            guard = Register(register.name, register.index, register.type, negated=bool(match[1]))
            text = match[3]
        match = _OPCODE.match(text)
        if not match:
            raise SyntaxNotUnderstood("unknown statement")
        opcode, rest = match[1], split_operands(match[2])
        if opcode in ("call", "call.uni"):
            self._call(statement, guard, rest)
            return
        if opcode in ("ret", "ret.uni") and self.depth:
            opcode = "bra"
            operands: tuple[Operand, ...] = (Symbol("return" + self.suffix),)
        else:
            operands = tuple(parse_operand(part, self._register, self._symbol) for part in rest)
        self._append(statement, opcode, operands, guard)

    def _append(
        self, statement: Statement, opcode: str, operands: tuple[Operand, ...], guard: Register | None = None
    ) -> None:
        self.kernel.instructions.append(
            Instruction(
                index=len(self.kernel.instructions),
                line=statement.line,
                text=statement.text if len(statement.text) <= 160 else statement.text[:157] + "…",
                source=statement.source,
                opcode=opcode,
                parts=tuple(opcode.split(".")),
                operands=operands,
                guard=guard,
            )
        )

    def _call(self, statement: Statement, guard: Register | None, parts: list[str]) -> None:
        if guard is not None:
            raise UnsupportedInstruction("a predicated call")
        results = split_operands(parts.pop(0)[1:-1]) if parts[0].startswith("(") else []
        name = parts.pop(0)
        arguments = split_operands(parts.pop(0)[1:-1]) if parts and parts[0].startswith("(") else []
        function = self.module.functions.get(name)
        if function is None:
            raise UnsupportedInstruction("a call through a register")
        if function.body is None:
            self._append(statement, "call", (Symbol(name),))
            return
        if self.depth >= MAX_CALL_DEPTH:
            raise UnsupportedInstruction("a recursive call")
        formal = [variable.name for variable in (*function.results, *function.parameters)]
        actual = [self._symbol(part) for part in (*results, *arguments)]
        if len(formal) != len(actual):
            raise SyntaxNotUnderstood(f"{name} takes {len(formal)} parameters and results, not {len(actual)}")
        suffix = f"@{len(self.kernel.instructions)}"
        _Expansion(self.module, self.kernel, suffix, dict(zip(formal, actual, strict=True)), self.depth + 1).run(
            function
        )
