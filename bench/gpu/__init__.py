"""Everything there is to learn from one NVIDIA GPU, in parts: ``make gpu``, or ``python -m bench.gpu --help``.

Each part is a process of its own with a limit of time, so that one that fails or hangs costs the others nothing.  It
records its cases in JSON as it goes.  Without a device ``--dry`` walks through the same control flow on the CPU, with
tiny networks; its numbers mean nothing.
"""

from __future__ import annotations

# In the order in which they run, each with its limit in seconds.
PARTS = {
    "smoke": 90,
    "tests": 180,
    "rates": 60,
    "video": 210,
    "ops": 120,
    "training": 200,
    "sanitize": 200,
    "tune": 180,
}
