"""Bytes of global memory traffic, counted while executing PTX; docs/gpu.md and docs/results/counted.md tabulate them.

After a change of kernels or configurations: DIGAN_FAST_RECORD=1 python -m pytest tests/kernels/test_traffic.py
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path

import page
import pytest
import torch
import triton
from cases import kernel
from emulator.triton_offline import offline
from random_inrs import random_inr
from traffic import CountsBytes, moved, programs_of_a_row, size

from digan_fast.levels import flattened

# One pass over 16 rows of weights for their norms, a second for the values.
NORMALISED = (("factors 4x256x512", "forward"), ("factors 4x256x512", "backward_left"))


def _rendering() -> None:
    """A rendering of three levels."""
    levels = random_inr(1, 2, ((16, (64, 64)), (0, (64,)), (16, (64, 64))), side=16)
    kernel("render")(*flattened(levels), 32, [0, 0, 32, 32], "bfloat16")


def _modulation() -> None:
    shapes = ((64, 128), (3, 64, 16), (3, 16, 128), (3, 64, 128))
    weight, left, right, out = (torch.ones(*shape, dtype=torch.bfloat16) for shape in shapes)
    kernel("fmm_weights")(weight, left, right, "demod")
    kernel("fmm_weights_backward")(out, weight, left, right, out, "demod")


def _filtering() -> None:
    """Four tiles per picture, with overlapping edges; contiguous and channels last."""
    x = torch.ones(2, 4, 16, 64, dtype=torch.bfloat16)
    for layout in (torch.contiguous_format, torch.channels_last):
        x = x.contiguous(memory_format=layout)
        kernel("upfirdn2d")(x, torch.ones(4, 4), 2, 1, [2, 1, 2, 1], False, 4.0)


@pytest.mark.parametrize("arch", page.EXECUTED)
@pytest.mark.parametrize(("work", "count"), [(_rendering, 5), (_modulation, 4), (_filtering, 2)])
def test_bytes_of_a_row_of_tiles_extrapolate_to_the_launch(arch: int, work: Callable[[], None], count: int) -> None:
    """Launches whose extents are multiples of the tiles, executed completely for comparison."""
    with offline(arch, execute=True, checks=False, block_races=False) as launches, torch.no_grad():
        work()
    assert len(launches) >= count
    whole = [moved(launch, math.prod(launch.grid)) for launch in launches]
    with offline(arch, True, programs_of_a_row, checks=False, block_races=False) as launches, torch.no_grad():
        work()
    for launch, expected in zip(launches, whole, strict=True):
        rows = math.prod(launch.grid) // programs_of_a_row(launch.arguments)
        found = moved(launch, programs_of_a_row(launch.arguments))
        assert rows > 1 or "dweight" in launch.arguments
        assert (found.asked, found.dram, found.flops) == (expected.asked, expected.dram, expected.flops)
        assert found.dram == expected.compulsory


def test_operations_are_counted_once() -> None:
    x = torch.ones(4, 8)
    with CountsBytes() as counted:
        y = x.t().expand(3, 8, 4) + 1
        y += x.t()
    assert size(x.expand(5, 4, 8)) == 128
    assert counted.bytes == (128 + 3 * 128) + (2 * 384 + 128)


@pytest.mark.parametrize("arch", page.EXECUTED)
def test_each_kernel_s_traffic_is_near_the_minimum(arch: int) -> None:
    """Activations at most 1.1 times; weights once per row of tiles, or twice if rows are normalised."""
    for shape, found in page.single_kernels(arch):
        walks = 2.0 if (shape, found.kernel) in NORMALISED else 1.0
        assert found.activation_factor <= 1.1, f"{shape}: {found}"
        assert found.weights_per_row <= walks, f"{shape}: {found}"


@pytest.mark.parametrize(("arch", "times"), [(80, 9), (90, 16)])
def test_a_rendering_moves_fewer_bytes_than_the_published_form(arch: int, times: int) -> None:
    """On sm_90 the last level is one kernel; on sm_80 it runs layer by layer."""
    launches, _ = page.rendering(arch)
    assert all(launch.activation_factor <= 1.1 and launch.weights_per_row <= 1.0 for launch in launches)
    assert page.published_bytes()[0] > times * page.rendered_bytes(arch)


@pytest.mark.skipif(triton.__version__ != page.TRITON, reason=f"the pages are of Triton {page.TRITON}")
@pytest.mark.parametrize("path", page.PAGES, ids=lambda path: path.name)
def test_the_pages_are_up_to_date(path: Path) -> None:
    text = path.read_text()
    found = page.filled(text)
    if os.environ.get("DIGAN_FAST_RECORD") == "1":
        path.write_text(found)
    assert path.read_text() == found, f"{path.name} has other numbers; see the head of this file"
