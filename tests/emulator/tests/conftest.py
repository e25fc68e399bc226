"""Fixtures: compilers, used if they are installed."""

import importlib.util
import os
import warnings
from pathlib import Path

import pytest
from emulator.toolkit import find_nvcc


def _missing(what: str) -> None:
    """Skips with a warning; fails if EMULATOR_REQUIRE_COMPILERS=1, as in CI."""
    if os.environ.get("EMULATOR_REQUIRE_COMPILERS") == "1":
        pytest.fail(f"{what} is not installed and EMULATOR_REQUIRE_COMPILERS=1")
    warnings.warn(f"{what} is not installed: ITS KERNELS WERE NOT TESTED", stacklevel=2)
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
