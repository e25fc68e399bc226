"""Fixtures: compilers, and a table of the bytes moved by kernels."""

import os
import shutil
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import rows
import torch
from emulator.toolkit import find_nvcc, install_nvcc

# The cases of the Triton kernels serve all backends.
sys.path.append(str(Path(__file__).parents[1] / "kernels"))


@pytest.fixture(scope="session")
def nvcc() -> Path:
    """The installed nvcc.

    Without one, tests are skipped with a warning, or PyPI's is installed if EMULATOR_REQUIRE_COMPILERS=1, as in CI.
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


def moved(name: str, *numbers: float) -> None:
    """Adds a row to the table printed at the end: the kernel, then bytes and operations counted."""
    rows.note("CUDA", name, *numbers)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    columns = ("kernel", "bytes touched", "bytes requested", "tensor FLOP", "other FLOP", "conflicts")
    found = rows.noted(terminalreporter, "CUDA")
    rows.print_table(terminalreporter, "CUDA kernels, counted in the interpreter", columns, found)
