"""The GPU suite, for one NVIDIA GPU: ``make gpu``, or ``python -m bench.gpu --help``.

Each part runs in its own process with a time limit, so that a failure or a hang does not affect the others, and
records its cases in JSON as it goes.  ``--dry`` runs the same control flow on the CPU with tiny networks; its numbers
mean nothing.
"""

from __future__ import annotations

# In the order in which they run, each with its time limit in seconds.
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
