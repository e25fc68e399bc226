"""Counts of a launch, per instruction: work and traffic, never time."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field

from emulator.ptx.syntax import Instruction

_PER_INSTRUCTION = (
    "reached",
    "executed",
    "global_bytes_read",
    "global_bytes_written",
    "global_requests",
    "sectors_loaded",
    "sectors_stored",
    "shared_bytes_read",
    "shared_bytes_written",
    "shared_wavefronts",
    "bank_conflicts",
    "tensor_flops",
)


@dataclass(frozen=True)
class LineCount:
    """The counts of one PTX line."""

    line: int
    text: str
    source: str | None
    reached: int
    executed: int
    global_bytes_read: int
    global_bytes_written: int
    global_requests: int
    sectors_loaded: int
    sectors_stored: int
    shared_bytes_read: int
    shared_bytes_written: int
    shared_wavefronts: int
    bank_conflicts: int
    tensor_flops: int
    flops: int


@dataclass
class Traffic:
    """Traffic of one allocation: bytes of the 32-byte sectors that warps requested, and distinct bytes."""

    asked_read: int = 0
    asked_written: int = 0
    distinct_read: int = 0
    distinct_written: int = 0


@dataclass
class Counters:
    """Counts of one launch.

    `reached` and `executed` count threads, not warps, before and after predicates. `flops` are scalar operations (an
    fma counts as two), `tensor_flops` those of tensor cores. `sectors_*` are the distinct 32-byte sectors of each
    warp's access. `bank_conflicts` are the shared-memory wavefronts beyond the minimum for the access.
    `unique_bytes_*` are distinct bytes of global memory, `traffic` is that of each allocation by name.
    """

    instructions: list[Instruction]
    flops_per_thread: list[int]
    reached: list[int] = field(init=False)
    executed: list[int] = field(init=False)
    global_bytes_read: list[int] = field(init=False)
    global_bytes_written: list[int] = field(init=False)
    global_requests: list[int] = field(init=False)
    sectors_loaded: list[int] = field(init=False)
    sectors_stored: list[int] = field(init=False)
    shared_bytes_read: list[int] = field(init=False)
    shared_bytes_written: list[int] = field(init=False)
    shared_wavefronts: list[int] = field(init=False)
    bank_conflicts: list[int] = field(init=False)
    tensor_flops: list[int] = field(init=False)
    unique_bytes_read: int = 0
    unique_bytes_written: int = 0
    traffic: dict[str, Traffic] = field(default_factory=dict)
    barriers: int = 0
    steps: int = 0

    def __post_init__(self) -> None:
        for name in _PER_INSTRUCTION:
            setattr(self, name, [0] * len(self.instructions))

    def total(self, name: str) -> int:
        return self.flops if name == "flops" else int(sum(getattr(self, name)))

    @property
    def flops(self) -> int:
        return sum(count * per for count, per in zip(self.executed, self.flops_per_thread, strict=True))

    @property
    def opcodes(self) -> dict[str, int]:
        """Number of threads that executed each opcode, most frequent first."""
        found: Counter[str] = Counter()
        for instruction, count in zip(self.instructions, self.executed, strict=True):
            if count:
                found[instruction.opcode] += count
        return dict(found.most_common())

    @property
    def load_efficiency(self) -> float:
        """Bytes requested by threads over bytes of the sectors loaded."""
        return _ratio(self.total("global_bytes_read"), 32 * self.total("sectors_loaded"))

    @property
    def store_efficiency(self) -> float:
        return _ratio(self.total("global_bytes_written"), 32 * self.total("sectors_stored"))

    def lines(self, pattern: str = "") -> list[LineCount]:
        """The counts of each instruction whose text matches the regular expression."""
        return [self._line(i) for i in self.instructions if re.search(pattern, i.text)]

    def where(self, name: str, pattern: str = "") -> int:
        """One count, summed over the instructions whose text matches: `where("bank_conflicts", "^ldmatrix")`."""
        return sum(getattr(line, name) for line in self.lines(pattern))

    def main_loop(self) -> list[LineCount]:
        """The instructions reached most often, whatever their predicates: the body of the innermost loop."""
        most = max(self.reached, default=0)
        return [self._line(i) for i in self.instructions if most and self.reached[i.index] == most]

    def _line(self, instruction: Instruction) -> LineCount:
        n = instruction.index
        counts = {name: getattr(self, name)[n] for name in _PER_INSTRUCTION}
        return LineCount(
            line=instruction.line,
            text=instruction.text,
            source=instruction.source,
            flops=self.executed[n] * self.flops_per_thread[n],
            **counts,
        )

    def __str__(self) -> str:
        rows = [(name, self.total(name)) for name in (*_PER_INSTRUCTION, "flops")]
        rows += [("unique_bytes_read", self.unique_bytes_read), ("unique_bytes_written", self.unique_bytes_written)]
        return "\n".join(f"{name:22} {value:>16,}" for name, value in rows)


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 1.0
