"""The instruction sets of the native module, in the order of its header."""

from __future__ import annotations

import re
from pathlib import Path

_HEADER = Path(__file__).resolve().parents[2] / "csrc" / "include" / "digan_fast" / "cpu.h"
_ENUM = re.search(r"enum class Isa \{ ([^}]*) \}", _HEADER.read_text())
assert _ENUM
ISAS = tuple(_ENUM[1].split(", "))
assert ISAS[0] == "generic"
