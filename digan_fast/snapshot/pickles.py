"""Reads pickles without importing or executing anything that they name.

Python's own unpickler calls whatever a file requests. This interpreter knows a fixed set of opcodes
and the caller's table of names: any other name is an error, and each name is replaced by the
caller's function, never by an object that the file could reach into.
"""

from __future__ import annotations

import pickle
import pickletools
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

# Ten times what a published snapshot holds; as many take a few seconds.
MAX_OPERATIONS: Final = 2_000_000
_MAX_INTEGER_BYTES: Final = 16
_MAX_NAME: Final = 256
_SCALARS: Final = (str, int, float, bool, type(None))


class SnapshotError(ValueError):
    """A file is not a snapshot that can be read, or a snapshot cannot be written; says why."""


class Budget:
    """Bounds the work that a file can request, since a few bytes can encode a great deal."""

    def __init__(self, steps: int, what: str) -> None:
        self.steps = steps
        self.what = what

    def spend(self, steps: int = 1) -> None:
        """Count some steps; raises SnapshotError when fewer are left."""
        self.steps -= steps
        if self.steps < 0:
            raise SnapshotError(f"the file holds more {self.what} than a DIGAN snapshot can")


@dataclass(eq=False, repr=False)
class Record:
    """An object of the file, kept as data: the name of its class, its arguments, its state."""

    name: str
    args: tuple[Any, ...] = ()
    state: Any = None

    def get(self, key: str) -> Any:
        """The value of `key` in the state, or None where there is none."""
        return self.state.get(key) if isinstance(self.state, dict) else None


@dataclass(eq=False, repr=False, frozen=True)
class Symbol:
    """A name that a file uses, and the function that stands for calling it."""

    name: str
    build: Callable[..., Any]


def scalar(value: Any) -> Any:
    """`value`, if it may be the key of a dict or the item of a set.

    Hashing a deeply nested tuple would overflow the C stack.
    """
    if type(value) not in _SCALARS:
        raise SnapshotError(f"a {type(value).__name__} as the key of a dict or the item of a set")
    return value


def read(data: memoryview, names: Mapping[str, Callable[..., Any]], budget: Budget) -> Any:
    """The value of a pickle of protocol 2 to 5.

    Args:
        data: the pickle; anything after its end is ignored.
        names: for each name that may occur, `module.name`, the function called in its place.
        budget: its steps are opcodes.

    Returns:
        dicts, lists, tuples, sets, numbers, strings; byte strings as memoryviews into `data`; a
        `Symbol` for each name; and what the functions of `names` return.

    Raises:
        SnapshotError: the pickle uses another name or opcode, is damaged, or exceeds the budget.
    """
    machine = Machine(data, names, budget)
    try:
        return machine.run()
    except SnapshotError:
        raise
    except (
        ArithmeticError,
        AttributeError,
        LookupError,
        MemoryError,
        RecursionError,
        TypeError,
        ValueError,
        struct.error,
    ) as error:
        raise SnapshotError(
            f"the pickle is damaged at byte {machine.position} ({type(error).__name__}: {error})"
        ) from error


class Machine:
    """Interprets one pickle after the other in `data`, from `position` on."""

    def __init__(
        self,
        data: memoryview,
        names: Mapping[str, Callable[..., Any]],
        budget: Budget,
        persistent_ids: bool = False,
    ) -> None:
        self.data = data
        self.names = names
        self.budget = budget
        self.persistent_ids = persistent_ids
        self.position = 0
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        """The value of the next pickle; a persistent id, where allowed, stands for itself."""
        self.stack, self.marks, self.memo = [], [], {}
        while True:
            self.budget.spend()
            code = self.take(1)[0]
            if code == _STOP:
                return self.pop()
            operation = _OPERATIONS.get(code)
            if operation is None:
                raise SnapshotError(f"byte {self.position - 1} is {_describe(code)}")
            operation(self)

    def take(self, count: int) -> memoryview:
        """The next `count` bytes."""
        left = len(self.data) - self.position
        if count > left:
            raise SnapshotError(f"the file is cut short: {count} bytes wanted at byte {self.position}, {left} left")
        start, self.position = self.position, self.position + count
        return self.data[start : self.position]

    def unpack(self, form: struct.Struct) -> Any:
        """The next number, in the given form."""
        return form.unpack(self.take(form.size))[0]

    def line(self) -> str:
        """The next line, without its end."""
        head = bytes(self.data[self.position : self.position + _MAX_NAME])
        length = head.index(b"\n")
        self.position += length + 1
        return str(head[:length], "utf-8")

    def push(self, value: Any) -> None:
        """Put a value on the stack."""
        self.stack.append(value)

    def pop(self) -> Any:
        """Take the last value since the last mark."""
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise SnapshotError(f"the pickle is damaged at byte {self.position} (empty stack)")
        return self.stack.pop()

    def pop_to_mark(self) -> list[Any]:
        """Take the values since the last mark, and the mark."""
        mark = self.marks.pop()
        items = self.stack[mark:]
        del self.stack[mark:]
        return items

    def pop_tuple(self, count: int) -> None:
        """Replace the last `count` values by a tuple of them."""
        items = [self.pop() for _ in range(count)]
        self.push(tuple(reversed(items)))

    def top(self, kind: type) -> Any:
        """The last value, which must be exactly of the given type."""
        if type(self.stack[-1]) is not kind:
            raise SnapshotError(f"expected a {kind.__name__} before byte {self.position}")
        return self.stack[-1]

    def append(self, items: list[Any]) -> None:
        """Append to the list on top."""
        self.top(list).extend(items)

    def add(self, items: list[Any]) -> None:
        """Add to the set on top."""
        self.top(set).update(map(scalar, items))

    def set_items(self, items: list[Any]) -> None:
        """Set keys and values, alternating in `items`, in the dict on top."""
        target = self.top(dict)
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[scalar(key)] = value

    def put(self, index: int) -> None:
        """Remember the last value."""
        self.memo[index] = self.stack[-1]

    def integer(self, size: int) -> None:
        """Push an integer of `size` bytes."""
        if size > _MAX_INTEGER_BYTES:
            raise SnapshotError(f"an integer of {size} bytes")
        self.push(int.from_bytes(self.take(size), "little", signed=True))

    def find(self, module: Any, name: Any) -> None:
        """Push the symbol of a name."""
        if not (isinstance(module, str) and isinstance(name, str)):
            raise SnapshotError(f"expected a name before byte {self.position}")
        full = f"{module}.{name}"
        build = self.names.get(full)
        if build is None:
            raise SnapshotError(
                f"the pickle asks for {full[:_MAX_NAME]!r}, which is not among the names that "
                "DIGAN snapshots use; nothing of the file was executed"
            )
        self.push(Symbol(full, build))

    def call(self) -> None:
        """Replace a symbol and its arguments by the result of its function."""
        args, target = self.pop(), self.pop()
        if not isinstance(target, Symbol):
            raise SnapshotError(f"a {type(target).__name__} is called before byte {self.position}, not a name")
        if type(args) is not tuple:
            raise SnapshotError(f"{target.name} is called without a tuple of arguments")
        # The function may copy its arguments, and the same ones can be passed repeatedly.
        self.budget.spend(sum(len(arg) for arg in args if isinstance(arg, (dict, list, tuple, set, frozenset))))
        self.push(target.build(*args))

    def build(self) -> None:
        """Set the state of the record on top; for a dict's subclass, anything besides items is dropped."""
        state = self.pop()
        target = self.stack[-1]
        if isinstance(target, Record):
            target.state = state
        elif type(target) is not dict:
            raise SnapshotError(f"attributes of a {type(target).__name__} are set before byte {self.position}")

    def persistent_id(self) -> None:
        """Leave a persistent id on the stack, if allowed."""
        if not self.persistent_ids:
            raise SnapshotError("the pickle refers to data outside itself (persistent id)")


def _describe(code: int) -> str:
    name = next((o.name for o in pickletools.opcodes if ord(o.code) == code), None)
    if name is None:
        return f"{code:#04x}, which is no pickle opcode"
    return f"the pickle opcode {name}, which no DIGAN snapshot contains"


def _name_from_stack(machine: Machine) -> None:
    name, module = machine.pop(), machine.pop()
    machine.find(module, name)


_Operation = Callable[[Machine], object]


def _operations() -> dict[int, _Operation]:
    byte, short, word, long = map(struct.Struct, ("B", "<H", "<I", "<Q"))
    signed, double = map(struct.Struct, ("<i", ">d"))
    table: dict[bytes, _Operation] = {
        pickle.PROTO: lambda m: m.take(1),
        pickle.FRAME: lambda m: m.take(8),
        pickle.MARK: lambda m: m.marks.append(len(m.stack)),
        pickle.POP: lambda m: m.pop(),
        pickle.POP_MARK: lambda m: m.pop_to_mark(),
        pickle.NONE: lambda m: m.push(None),
        pickle.NEWTRUE: lambda m: m.push(True),
        pickle.NEWFALSE: lambda m: m.push(False),
        pickle.LONG1: lambda m: m.integer(m.unpack(byte)),
        pickle.LONG4: lambda m: m.integer(m.unpack(word)),
        pickle.EMPTY_DICT: lambda m: m.push({}),
        pickle.EMPTY_LIST: lambda m: m.push([]),
        pickle.EMPTY_SET: lambda m: m.push(set()),
        pickle.EMPTY_TUPLE: lambda m: m.push(()),
        pickle.TUPLE: lambda m: m.push(tuple(m.pop_to_mark())),
        pickle.TUPLE1: lambda m: m.pop_tuple(1),
        pickle.TUPLE2: lambda m: m.pop_tuple(2),
        pickle.TUPLE3: lambda m: m.pop_tuple(3),
        pickle.FROZENSET: lambda m: m.push(frozenset(map(scalar, m.pop_to_mark()))),
        pickle.APPEND: lambda m: m.append([m.pop()]),
        pickle.APPENDS: lambda m: m.append(m.pop_to_mark()),
        pickle.ADDITEMS: lambda m: m.add(m.pop_to_mark()),
        pickle.SETITEM: lambda m: m.set_items([m.pop(), m.pop()][::-1]),
        pickle.SETITEMS: lambda m: m.set_items(m.pop_to_mark()),
        pickle.GLOBAL: lambda m: m.find(m.line(), m.line()),
        pickle.STACK_GLOBAL: _name_from_stack,
        pickle.REDUCE: Machine.call,
        pickle.NEWOBJ: Machine.call,
        pickle.BUILD: Machine.build,
        pickle.BINPERSID: Machine.persistent_id,
        pickle.MEMOIZE: lambda m: m.put(len(m.memo)),
    }

    def number(machine: Machine, form: struct.Struct) -> None:
        machine.push(machine.unpack(form))

    def text(machine: Machine, form: struct.Struct) -> None:
        machine.push(str(machine.take(machine.unpack(form)), "utf-8"))

    def raw(machine: Machine, form: struct.Struct) -> None:
        machine.push(machine.take(machine.unpack(form)))

    def get(machine: Machine, form: struct.Struct) -> None:
        machine.push(machine.memo[machine.unpack(form)])

    def put(machine: Machine, form: struct.Struct) -> None:
        machine.put(machine.unpack(form))

    for operation, forms in {
        number: {
            pickle.BININT: signed,
            pickle.BININT1: byte,
            pickle.BININT2: short,
            pickle.BINFLOAT: double,
        },
        text: {
            pickle.SHORT_BINUNICODE: byte,
            pickle.BINUNICODE: word,
            pickle.BINUNICODE8: long,
        },
        raw: {
            pickle.SHORT_BINBYTES: byte,
            pickle.BINBYTES: word,
            pickle.BINBYTES8: long,
            pickle.BYTEARRAY8: long,
        },
        get: {pickle.BINGET: byte, pickle.LONG_BINGET: word},
        put: {pickle.BINPUT: byte, pickle.LONG_BINPUT: word},
    }.items():
        for code, form in forms.items():
            table[code] = partial(operation, form=form)
    return {code[0]: operation for code, operation in table.items()}


_STOP: Final = pickle.STOP[0]
_OPERATIONS: Final = _operations()
