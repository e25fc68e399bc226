"""Two runs share this folder: with TRITON_INTERPRET=1 the interpreted tests, without it the compiled ones.

Triton's interpreter and its compiler cannot share a process. `make emulate` runs both.
"""

import importlib.util
import os
from collections.abc import Iterator
from typing import Any

import pytest
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


_moved: list[tuple[str, str, int, int, int, int]] = []


def moved(name: str, kind: str, arch: int, compulsory: int, unique: int, total: int) -> None:
    """Records bytes of global memory: of the launch's tensors, distinct bytes touched, bytes requested by threads."""
    _moved.append((name, kind, arch, compulsory, unique, total))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if not _moved:
        return
    terminalreporter.section("bytes of global memory, counted")
    terminalreporter.write_line("| kernel | type | sm | tensors | touched | requested | requested / tensors |")
    terminalreporter.write_line("| --- | --- | --- | --- | --- | --- | --- |")
    for name, kind, arch, compulsory, unique, total in sorted(_moved):
        row = (name, kind, arch, compulsory, unique, total, f"{total / max(1, compulsory):.2f}")
        terminalreporter.write_line(f"| {' | '.join(map(str, row))} |")
