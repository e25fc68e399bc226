"""Calls of the native module that are wrong on purpose: .ci/sanitize has to see each reported."""

from __future__ import annotations

import torch

from digan_fast import dispatch
from digan_fast.ops._pointers import NATIVE_DTYPES, ptr

ROWS, CHANNELS = 384, 5  # two strips of rows, a task each


def linear(x: torch.Tensor, out: int) -> None:
    weight = torch.zeros(CHANNELS, CHANNELS)
    dispatch.native_module().linear_act_cpu(
        out=out,
        x=ptr(x, "x"),
        weight=ptr(weight, "weight"),
        bias=0,
        number=NATIVE_DTYPES.index(x.dtype),
        x_number=NATIVE_DTYPES.index(x.dtype),
        own_biases=False,
        videos=1,
        rows=ROWS,
        inputs=CHANNELS,
        outputs=CHANNELS,
        activation=0,
        gain=1.0,
        clamp=1.0,
        threads=2,
    )


def test_address() -> None:
    """The last number is not there."""
    out = torch.zeros(ROWS * CHANNELS)
    linear(torch.zeros(ROWS * CHANNELS - 1), ptr(out, "out"))


def test_thread() -> None:
    """The first worker writes what the second one reads."""
    memory = torch.zeros(3 * ROWS * CHANNELS // 2)
    linear(memory, ptr(memory, "memory") + 4 * ROWS * CHANNELS // 2)
