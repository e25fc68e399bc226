"""Fixtures: the compilers that the tests use if they are installed."""

import importlib.util
import os
import warnings
from pathlib import Path

import pytest
from emulator.toolkit import find_nvcc


def _missing(what: str) -> None:
    """Skips, with a warning in the summary; EMULATOR_REQUIRE_COMPILERS=1, which CI sets, makes it a failure."""
    if os.environ.get("EMULATOR_REQUIRE_COMPILERS") == "1":
        pytest.fail(f"{what} is not installed and EMULATOR_REQUIRE_COMPILERS=1")
    warnings.warn(f"{what} is not installed: KERNELS THAT IT WOULD COMPILE WERE NOT TESTED", stacklevel=2)
    pytest.skip(f"{what} is not installed")


@pytest.fixture(scope="session")
def nvcc() -> Path:
    found = find_nvcc()
    if found is None:
        _missing("nvcc")
    assert found is not None
    return found


@pytest.fixture(scope="session")
def triton_compiler() -> None:
    if importlib.util.find_spec("triton") is None:
        _missing("triton")
