"""How a batch is divided: among processes, into micro-batches, and those into groups of the minibatch deviation."""

from __future__ import annotations

import math
from typing import Final

# Of the minibatch deviation; a smaller micro-batch is one group.
GROUP: Final = 4


def group_size(batch: int, at_once: int | None) -> int:
    """The size of the deviation's groups in a batch, or in micro-batches of ``at_once``.

    Raises ValueError, its message beginning with the field's name, if the groups do not divide them.
    """
    micro = batch if at_once is None else at_once
    for name, value in (("batch", batch), ("batch_per_process", micro)):
        if value % min(value, GROUP):
            raise ValueError(f"{name}: {value}, expected 1, 2, 3, or a multiple of {GROUP}")
    if batch % micro:
        raise ValueError(f"batch_per_process: {micro}, expected a divisor of the batch, {batch}")
    return min(batch, micro, GROUP)


def micro_batch(batch: int, at_once: int | None, world: int, unit: str) -> int:
    """What each of ``world`` processes computes at once of a batch: ``at_once``, or by default its whole share.

    ``unit``: what the batch counts, for messages.  Raises ValueError, its message beginning with the field's name and
    naming what can be divided, if the batch cannot be: groups of the deviation lie within a micro-batch.
    """
    group = group_size(batch, at_once)
    if batch % (world * (group if at_once is None else at_once)) == 0:
        return batch // world if at_once is None else at_once
    share = batch // world
    if at_once is not None and batch % world == 0:
        raise ValueError(f"batch_per_process: {at_once}, expected a divisor of a process's {share} {unit}s")
    parts, size = ("groups", GROUP) if at_once is None else ("micro-batches", at_once)
    divisor = math.lcm(world * size, GROUP)
    below = batch // divisor * divisor
    near = " or ".join(str(number) for number in (below, below + divisor) if number)
    shared = f"{world} processes · {parts} of {size}"
    message = f"batch: {batch}, expected a multiple of {divisor} ({shared}), such as {near}"
    if at_once is None and batch % world == 0:
        smaller = next(size for size in (3, 2, 1) if share % size == 0)
        message += f"; or --batch-per-process {smaller}, whose groups are of {smaller}"
    raise ValueError(message)
