"""Fixtures: compilers, and a table of the bytes that kernels moved."""

import os
import shutil
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from emulator.toolkit import find_nvcc, install_nvcc

# The cases of the Triton kernels are those of every backend.
sys.path.append(str(Path(__file__).parents[1] / "kernels"))


@pytest.fixture(scope="session")
def nvcc() -> Path:
    """The nvcc of this machine.

    Where there is none the tests are skipped with a warning; EMULATOR_REQUIRE_COMPILERS=1, which CI sets, has PyPI's.
    """
    if found := find_nvcc():
        return found
    if os.environ.get("EMULATOR_REQUIRE_COMPILERS") == "1":
        return install_nvcc()
    warnings.warn("nvcc is not installed: CUDA KERNELS WERE NOT COMPILED", stacklevel=2)
    pytest.skip("nvcc is not installed")


@pytest.fixture(scope="session", autouse=True)
def _compiler() -> None:
    if shutil.which(os.environ.get("CXX", "g++")) is None:
        if os.environ.get("EMULATOR_REQUIRE_COMPILERS") == "1":
            pytest.fail("there is no C++ compiler and EMULATOR_REQUIRE_COMPILERS=1")
        pytest.skip("there is no C++ compiler")


@pytest.fixture(autouse=True)
def _matmul_precision() -> Any:
    before = torch.get_float32_matmul_precision()
    yield
    torch.set_float32_matmul_precision(before)


_moved: list[tuple[object, ...]] = []


def moved(name: str, *numbers: object) -> None:
    """A row of the table at the end: the kernel, then bytes and work as counted."""
    _moved.append((name, *numbers))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if not _moved:
        return
    terminalreporter.section("CUDA kernels, counted in the interpreter")
    terminalreporter.write_line("| kernel | bytes touched | bytes asked for | tensor FLOP | other FLOP | conflicts |")
    terminalreporter.write_line("| --- | --- | --- | --- | --- | --- |")
    for row in _moved:
        terminalreporter.write_line(f"| {' | '.join(map(str, row))} |")
