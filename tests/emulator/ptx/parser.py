"""Parses PTX text into functions and statements, and statements into operands."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator

from emulator.ptx.errors import SyntaxNotUnderstood
from emulator.ptx.syntax import (
    Address,
    Function,
    Immediate,
    Operand,
    Pair,
    Register,
    Sink,
    Special,
    Statement,
    Symbol,
    Text,
    Variable,
    Vector,
)
from emulator.ptx.types import TYPES

_NAME = r"[%$\w][\w$]*"
_VARIABLE = re.compile(
    r"\.(?P<space>global|const|shared|local|param)\s+(?:\.align\s+(?P<align>\d+)\s+)?"
    r"(?:\.(?P<type>\w+)\s+)?(?:\.ptr\s*(?:\.\w+\s*)?(?:\.align\s+\d+\s*)?)?(?:\.align\s+(?P<align2>\d+)\s+)?"
    rf"(?:\.(?P<type2>\w+)\s+)?(?P<name>{_NAME})\s*(?P<array>\[(?P<size>\d*)\])?\s*(?:=\s*(?P<value>.*))?$",
    re.S,
)
_LINKAGE = re.compile(r"\.(?:visible|extern|weak|common)\s+")
_HEADER = re.compile(
    rf"\.(?P<kind>entry|func)\s*(?:\((?P<results>[^)]*)\))?\s*(?P<name>{_NAME})\s*(?:\((?P<parameters>[^)]*)\))?"
    r"(?P<rest>.*)$",
    re.S,
)
_UNUSED_DIRECTIVES = (
    ".version",
    ".address_size",
    ".pragma",
    ".maxntid",
    ".minnctapersm",
    ".maxnreg",
    ".noreturn",
    ".alias",
)


def _without_comments(text: str) -> str:
    def blank(match: re.Match[str]) -> str:
        return "\n" * match.group(0).count("\n") or " "

    return re.sub(r"/\*.*?\*/|//[^\n]*", blank, text, flags=re.S)


def _without_debug_sections(text: str) -> str:
    return re.sub(r"^\s*\.section\b.*?\{.*?\}", lambda m: "\n" * m.group(0).count("\n"), text, flags=re.S | re.M)


def statements(text: str) -> Iterator[Statement]:
    """`{`, `}`, `label:` and everything that ends with a semicolon, each with its source line from .loc."""
    files = {
        match.group(1): match.group(2).rsplit("/", 1)[-1]
        for match in re.finditer(r'^\s*\.file\s+(\d+)\s+"([^"]*)"(?:\s+"[^"]*")?', text, re.M)
    }
    text = re.sub(r"^\s*\.file\b[^\n]*", "", _without_debug_sections(_without_comments(text)), flags=re.M)
    position, line, source = 0, 1, None
    location = re.compile(r"\.loc\s+(\d+)\s+(\d+)[^\n]*")
    directive = re.compile(r"\.(?:version|target|address_size)\b[^\n]*")
    label = re.compile(r"([$%\w]+)\s*:(?!:)")
    while position < len(text):
        character = text[position]
        if character in " \t\r\n;":
            line += character == "\n"
            position += 1
            continue
        if match := location.match(text, position):
            source = f"{files.get(match.group(1), 'file ' + match.group(1))}:{match.group(2)}"
            position = match.end()
            continue
        if match := directive.match(text, position):
            yield Statement(line, match.group(0).strip())
            position = match.end()
            continue
        if character in "{}":
            yield Statement(line, character, source)
            position += 1
            continue
        if match := label.match(text, position):
            yield Statement(line, match.group(0), source)
            position = match.end()
            continue
        end = _end_of_statement(text, position)
        raw = text[position:end]
        yield Statement(line, " ".join(raw.split()), source)
        line += raw.count("\n")
        position = end


def _end_of_statement(text: str, start: int) -> int:
    """Up to a semicolon, or to the `{` that opens a function's body."""
    header = re.compile(r"(?:\.(?:visible|weak|extern|common)\s+)*\.(?:entry|func)\b").match(text, start)
    semicolon = text.find(";", start)
    end = len(text) if semicolon < 0 else semicolon
    if header:
        brace = text.find("{", start)
        return brace if 0 <= brace < end else end
    return end


def parse(text: str) -> Text:
    """Parses a module's variables and functions; bodies remain statements."""
    found = Text(target="")
    stream = list(statements(text))
    position = 0
    while position < len(stream):
        line, content = stream[position].line, _LINKAGE.sub("", stream[position].text)
        position += 1
        if content.startswith(".target"):
            found.target = content.split(None, 1)[1].split(",")[0].strip()
        elif content.startswith((".entry", ".func")):
            function = _function(content, line)
            if position < len(stream) and stream[position].text == "{":
                function.body = list(_body(stream[position + 1 :], line))
                position += len(function.body) + 2
            if function.body is not None or function.name not in found.functions:
                found.functions[function.name] = function
        elif content.startswith((".global", ".const", ".shared")):
            variable = parse_variable(content, line)
            found.variables[variable.name] = variable
        elif not content.startswith(_UNUSED_DIRECTIVES):
            raise SyntaxNotUnderstood("unknown directive", line=line, text=content[:160])
    return found


def _body(stream: list[Statement], line: int) -> Iterator[Statement]:
    depth = 1
    for statement in stream:
        depth += (statement.text == "{") - (statement.text == "}")
        if not depth:
            return
        yield statement
    raise SyntaxNotUnderstood("the function's body does not end", line=line)


def _function(content: str, line: int) -> Function:
    match = _HEADER.match(content)
    if not match:
        raise SyntaxNotUnderstood("unknown function header", line=line, text=content[:160])
    required = re.search(r"\.reqntid\s+([\d,\s]+)", match["rest"])
    return Function(
        name=match["name"],
        is_entry=match["kind"] == "entry",
        line=line,
        results=_parameters(match["results"], line),
        parameters=_parameters(match["parameters"], line),
        body=None,
        required_block=tuple(int(n) for n in required.group(1).split(",") if n.strip()) if required else None,
    )


def _parameters(text: str | None, line: int) -> list[Variable]:
    found = [parse_variable(part.strip(), line) for part in (text or "").split(",") if part.strip()]
    offset = 0
    for variable in found:
        offset = -(-offset // variable.alignment) * variable.alignment
        variable.offset = offset
        offset += variable.size
    return found


def parse_variable(content: str, line: int) -> Variable:
    match = _VARIABLE.match(content)
    if not match:
        raise SyntaxNotUnderstood("unknown declaration", line=line, text=content[:160])
    name = match["type"] or match["type2"]
    if name not in TYPES:
        raise SyntaxNotUnderstood(f"unknown type .{name}", line=line, text=content[:160])
    type_ = TYPES[name]
    is_array = match["array"] is not None
    count = int(match["size"] or 0) if is_array else 1
    data = None
    if match["value"]:
        data = _initial(match["value"], type_.bytes, type_.kind == "f", line)
        count = max(count, len(data) // type_.bytes)
        data = data.ljust(count * type_.bytes, b"\0")
    return Variable(
        name=match["name"],
        space=match["space"],
        alignment=int(match["align"] or match["align2"] or type_.bytes),
        size=count * type_.bytes,
        data=data,
        type=type_,
        is_array=is_array,
    )


def _initial(text: str, size: int, is_float: bool, line: int) -> bytes:
    values = []
    for word in re.split(r"[\s,{}]+", text):
        if not word:
            continue
        literal = parse_literal(word)
        if literal is None:
            raise SyntaxNotUnderstood(f"unknown initial value {word}", line=line)
        if is_float and not literal.float_bytes:
            raise SyntaxNotUnderstood(f"a float array's initial value {word} is not a float", line=line)
        values.append((literal.value & ((1 << 8 * size) - 1)).to_bytes(size, "little"))
    return b"".join(values)


def parse_literal(word: str) -> Immediate | None:
    if match := re.fullmatch(r"(-?)0[fF]([0-9a-fA-F]{8})", word):
        return Immediate(int(match[2], 16) ^ (0x80000000 if match[1] else 0), 4)
    if match := re.fullmatch(r"(-?)0[dD]([0-9a-fA-F]{16})", word):
        return Immediate(int(match[2], 16) ^ (1 << 63 if match[1] else 0), 8)
    if re.fullmatch(r"-?\d+U?", word) or re.fullmatch(r"-?0[xX][0-9a-fA-F]+U?|-?0[bB][01]+U?", word):
        digits = word.rstrip("U")
        return Immediate(int(digits, 8) if re.fullmatch(r"-?0[0-7]+", digits) else int(digits, 0))
    if re.fullmatch(r"-?\d+\.\d*(?:[eE][-+]?\d+)?", word):
        return Immediate(int.from_bytes(struct.pack("<d", float(word)), "little"), 8)
    return None


def split_operands(text: str) -> list[str]:
    """Splits at commas outside brackets of any kind."""
    found, depth, start = [], 0, 0
    for position, character in enumerate(text):
        if character in "[{(":
            depth += 1
        elif character in "]})":
            depth -= 1
        elif character == "," and not depth:
            found.append(text[start:position].strip())
            start = position + 1
    rest = text[start:].strip()
    return [*found, rest] if rest else found


def parse_operand(text: str, register: Callable[[str], Register | None], symbol: Callable[[str], str]) -> Operand:
    """`register` and `symbol` resolve names in the operand's scope."""
    text = text.strip()
    if text == "_":
        return Sink()
    if text.startswith("["):
        inner = text[1:-1].strip()
        match = re.fullmatch(r"(.+?)\s*(?:\+\s*(-?\w+))?", inner)
        if match is None or "," in inner:
            raise SyntaxNotUnderstood(f"unknown address {text}")
        offset = parse_literal(match[2]) if match[2] else Immediate(0)
        if offset is None:
            raise SyntaxNotUnderstood(f"unknown offset in {text}")
        return Address(parse_operand(match[1], register, symbol), offset.value)
    if text.startswith("{"):
        return Vector(tuple(parse_operand(part, register, symbol) for part in split_operands(text[1:-1])))
    if "|" in text:
        first, second = text.split("|")
        return Pair(parse_operand(first, register, symbol), parse_operand(second, register, symbol))
    if text.startswith("!"):
        found = register(text[1:].strip())
        if found is None:
            raise SyntaxNotUnderstood(f"unknown predicate {text}")
        return Register(found.name, found.index, found.type, negated=True)
    if (literal := parse_literal(text)) is not None:
        return literal
    if (found := register(text)) is not None:
        return found
    if text.startswith("%"):
        return Special(text)
    if re.fullmatch(_NAME, text):
        return Symbol(symbol(text))
    raise SyntaxNotUnderstood(f"unknown operand {text}")
