"""Two runs share this folder: with TRITON_INTERPRET=1 the interpreted tests, without it the compiled ones.

Triton's interpreter and its compiler cannot share a process. `make emulate` runs both.
"""

import importlib.util
import os
from collections.abc import Iterator
from typing import Any

import pytest
import rows
import torch

if importlib.util.find_spec("triton") is None:
    collect_ignore_glob = ["test_*.py"]
elif os.environ.get("TRITON_INTERPRET") == "1":
    import emulator.triton_interpreter  # noqa: F401  (before any kernel)

    collect_ignore_glob = ["test_compiled.py", "test_executed.py", "test_gpu.py", "test_traffic.py"]
else:
    collect_ignore_glob = ["test_interpreted.py", "test_addresses.py", "test_tune.py"]


@pytest.fixture(autouse=True)
def _matmul_precision() -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    yield
    torch.set_float32_matmul_precision(before)


def moved(name: str, kind: str, arch: int, compulsory: int, unique: int, total: int) -> None:
    """Records bytes of global memory: of the launch's tensors, distinct bytes touched, bytes requested by threads."""
    rows.note("Triton", name, kind, arch, compulsory, unique, total, f"{total / max(1, compulsory):.2f}")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    columns = ("kernel", "type", "sm", "tensors", "touched", "requested", "requested / tensors")
    found = sorted(rows.noted(terminalreporter, "Triton"))
    rows.print_table(terminalreporter, "bytes of global memory, counted", columns, found)
