"""Fixtures of the benchmarks."""

from __future__ import annotations

import pytest
import torch

from digan_fast import Generator


@pytest.fixture(scope="session")
def digan() -> Generator:
    """DIGAN at its full size, 128², 63.5 million parameters, random weights."""
    torch.manual_seed(0)
    return Generator().eval()
