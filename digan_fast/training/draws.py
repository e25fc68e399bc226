"""Random numbers of a part of a batch: drawn for the whole batch, of which a part keeps its own rows.

Part p of n has every n-th row from p on, as the data's pairs are dealt out.  The parts of a batch, in several processes
or one after the other from the same state of the generators, thus see the numbers that the whole batch would.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

import torch
from torch import Tensor

_part: Final = ContextVar("_part", default=(0, 1))


@contextmanager
def part_of_batch(part: int, parts: int) -> Iterator[None]:
    """Within the block, :func:`of_batch` returns the rows of this part."""
    token = _part.set((part, parts))
    try:
        yield
    finally:
        _part.reset(token)


def of_batch(draw: Callable[[int], Tensor], rows: int) -> Tensor:
    """``rows`` rows, those of the current part among all parts' that ``draw`` draws, given their number."""
    part, parts = _part.get()
    return draw(rows * parts)[part::parts]


def random_states(device: torch.device) -> list[Tensor]:
    """The states of torch's generators on the CPU and, if it is another, on a CUDA device."""
    states = [torch.get_rng_state()]
    return [*states, torch.cuda.get_rng_state(device)] if device.type == "cuda" else states


def set_random_states(states: list[Tensor], device: torch.device) -> None:
    """Continues from :func:`random_states`, of which the CUDA device's may be missing."""
    torch.set_rng_state(states[0].cpu())
    if device.type == "cuda" and len(states) > 1:
        torch.cuda.set_rng_state(states[1].cpu(), device)
