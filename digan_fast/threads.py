"""The number of threads."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def using_threads(count: int | None) -> Iterator[None]:
    """PyTorch and the kernels on this many threads of the CPU, if given; afterwards on as many as before."""
    before = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
