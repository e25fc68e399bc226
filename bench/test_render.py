"""Sixteen frames at 128² of DIGAN at its full size: published form, torch.compile of it, INR.

The published form runs on plain PyTorch, as people run it today.  Every case is checked against it before it is timed;
compare within one run only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from digan_fast import Generator, use_backend

FRAMES = 16
# Relative in norm, against the published form in float32.
BOUNDS = {"published": 0.0, "published, compiled": 1e-5, "INR": 1e-5, "INR, bfloat16": 2e-2, "INR, int8": 5e-2}


@torch.no_grad()
def case(G: Generator, name: str) -> Callable[[], Tensor]:
    ws, z_motion = torch.randn(1, G.num_ws, G.w_dim), torch.randn(1, G.w_dim)
    times = torch.linspace(0, 1, FRAMES)
    column = times.view(-1, 1, 1, 1)
    if name.startswith("published"):
        form = G.synthesis.published if name == "published" else torch.compile(G.synthesis.published)

        def published() -> Tensor:
            with use_backend("reference"):
                return form(ws, column, z_motion)

        return published
    if name == "INR":
        return lambda: G.synthesis(ws, column, z_motion)
    precision = name.removeprefix("INR, ")
    return lambda: G.synthesis.inr(ws, z_motion).render(times, precision=precision).flatten(0, 1)


@pytest.mark.parametrize("name", BOUNDS)
def test_render(benchmark: Any, digan: Generator, name: str) -> None:
    torch.manual_seed(1)
    run = case(digan, name)
    torch.manual_seed(1)
    expected = case(digan, "published")()
    with torch.no_grad():
        error = float((run() - expected).norm() / expected.norm())
        assert error <= BOUNDS[name]
        benchmark.extra_info.update(frames=FRAMES, relative_error=error, threads=torch.get_num_threads())
        benchmark.pedantic(run, rounds=7, warmup_rounds=1)
