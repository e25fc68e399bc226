"""Upsample by zero insertion, pad or crop, convolve with an FIR filter, keep every ``down``-th sample: one pass.

A program computes rows × (columns·channels) of one picture; inserted zeros are skipped: an output uses every ``up``-th
tap of the filter, from the first that meets a sample.  Pictures are planes, or channels last, with a pixel's channels
contiguous within a row.  The derivative is the same op.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from digan_fast.kernels._launch import on_device
from digan_fast.reference import upfirdn2d as reference


@triton.jit
def _upfirdn2d(
    out, x, filter, height, width, channels, out_height, out_width, taps_down, taps_across, top, left,
    rest_down, rest_across, gain,
    UP: tl.constexpr, DOWN: tl.constexpr, FLIP: tl.constexpr, TILE_ROWS: tl.constexpr, TILE_COLUMNS: tl.constexpr,
):  # fmt: skip
    # out[n, y, x, c] = gain·Σ_ij f[i, j]·u[y·DOWN + i − top, x·DOWN + j − left]; u[UP·v, UP·w] = x[n, v, w, c].
    across = tl.cdiv(out_width * channels, TILE_COLUMNS)
    down = tl.cdiv(out_height, TILE_ROWS)
    block = tl.program_id(0)
    image = (block // across // down).to(tl.int64)
    row = block // across % down * TILE_ROWS + tl.arange(0, TILE_ROWS)
    column = block % across * TILE_COLUMNS + tl.arange(0, TILE_COLUMNS)
    first_row = row * DOWN - top
    first_column = column // channels * DOWN - left
    # The first tap that meets a sample: its position is a multiple of UP.  rest ≡ −top or −left, non-negative.
    tap_row = (UP - (row * DOWN + rest_down) % UP) % UP
    tap_column = (UP - (column // channels * DOWN + rest_across) % UP) % UP
    total = tl.zeros((TILE_ROWS, TILE_COLUMNS), tl.float32)
    for i in range(tl.cdiv(taps_down, UP)):
        tap_y = tap_row + i * UP
        position = first_row + tap_y
        y = position // UP
        row_exists = (tap_y < taps_down) & (position >= 0) & (y < height)
        for j in range(tl.cdiv(taps_across, UP)):
            tap_x = tap_column + j * UP
            place = first_column + tap_x
            at = place // UP
            column_exists = (tap_x < taps_across) & (place >= 0) & (at < width)
            exists = row_exists[:, None] & column_exists[None, :]
            if FLIP:
                tap = tap_y[:, None] * taps_across + tap_x[None, :]
            else:
                tap = (taps_down - 1 - tap_y)[:, None] * taps_across + (taps_across - 1 - tap_x)[None, :]
            weight = tl.load(filter + tap, mask=exists, other=0.0).to(tl.float32)
            sample = (image * height + y[:, None]) * width * channels + (at * channels + column % channels)[None, :]
            total += weight * tl.load(x + sample, mask=exists, other=0.0).to(tl.float32)
    inside = (row[:, None] < out_height) & (column[None, :] < out_width * channels)
    to = (image * out_height + row[:, None]) * out_width * channels + column[None, :]
    tl.store(out + to, (total * gain).to(out.dtype.element_ty), mask=inside)


def upfirdn2d(x: Tensor, filter: Tensor, up: int, down: int, padding: Sequence[int], flip: bool, gain: float) -> Tensor:
    batch, channels, height, width = x.shape
    size = reference.output_size((height, width), filter.shape, up, down, padding)
    is_last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    layout = torch.channels_last if is_last else torch.contiguous_format
    x, filter = x.contiguous(memory_format=layout), filter.contiguous()
    out = torch.empty((batch, channels, *size), dtype=x.dtype, device=x.device, memory_format=layout)
    if 0 in (*x.shape, *out.shape):
        return out.zero_()
    images, inner = (batch, channels) if is_last else (batch * channels, 1)
    columns = min(128, max(16, triton.next_power_of_2(size[1] * inner)))
    rows = min(max(1, 1024 // columns), triton.next_power_of_2(size[0]))
    blocks = triton.cdiv(size[0], rows) * triton.cdiv(size[1] * inner, columns) * images
    with on_device(x):
        _upfirdn2d[(blocks,)](
            out, x, filter, height, width, inner, *size, *filter.shape, padding[2], padding[0],
            -padding[2] % up, -padding[0] % up, gain,
            UP=up, DOWN=down, FLIP=flip, TILE_ROWS=rows, TILE_COLUMNS=columns, num_warps=4, enable_fp_fusion=True,
        )  # fmt: skip
    return out
