"""PTX bodies with a placeholder `…` for a bug or its correct twin."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from emulator import ptx
from snippets import run

TID = "mov.u32 %r0, %tid.x; mov.u32 %r1, %ctaid.x; shl.b32 %r2, %r0, 2;\n"
ROOM = ".shared .align 16 .b8 room[512];\nmov.u32 %r10, room; add.u32 %r11, %r10, %r2;\n"
OUT = "mul.wide.u32 %d8, %r0, 4; add.s64 %d9, %d0, %d8;\n"


@dataclass
class Case:
    name: str
    error: type[ptx.PtxError]
    body: str
    bug: str
    right: str
    arrays: Any = field(default_factory=lambda: [np.zeros(1024, np.uint32)])
    read_only: bool = False
    options: dict[str, Any] = field(default_factory=dict)
    grid: int = 1
    block: int = 64


def execute(case: Case, part: str) -> ptx.Counters:
    memory = ptx.Memory()
    allocations = [memory.array(a, read_only=case.read_only) for a in case.arrays]
    body = case.body.replace("…", part)
    return run(body, allocations, grid=case.grid, block=case.block, memory=memory, **case.options)[0]
