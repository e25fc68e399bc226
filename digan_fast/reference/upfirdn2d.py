"""Upsample by zero insertion, pad or crop, convolve with an FIR filter, keep each ``down``-th sample."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def upfirdn2d(
    x: Tensor,
    filter: Tensor,
    up: int,
    down: int,
    padding: Sequence[int],
    flip: bool,
    gain: float,
) -> Tensor:
    """x [N, C, H, W], filter [h, w], padding (left, right, top, bottom), negative to crop.

    A true convolution; with ``flip`` a correlation.
    """
    channels, height, width = x.shape[1:]
    if up > 1:
        x = F.pad(x[..., :, None, :, None], (0, up - 1, 0, 0, 0, up - 1))
        x = x.reshape(-1, channels, height * up, width * up)
    kernel = (filter * gain).to(x.dtype)
    if not flip:
        kernel = kernel.flip((0, 1))
    left, right, top, bottom = padding
    if left == right >= 0 and top == bottom >= 0:
        inside: tuple[int, int] = (top, left)
    else:
        x, inside = F.pad(x, (left, right, top, bottom)), (0, 0)
    kernel = kernel.expand(channels, 1, *kernel.shape)
    return torch.conv2d(x, kernel, stride=down, padding=inside, groups=channels)


def adjoint(size: Sequence[int], filter_size: Sequence[int], up: int, down: int, padding: Sequence[int]) -> list[int]:
    """The padding of the adjoint (up and down exchanged, filter flipped) for an input of ``size`` (H, W)."""
    left, _, top, _ = padding
    before_x, before_y = filter_size[1] - left - 1, filter_size[0] - top - 1
    out_height, out_width = output_size(size, filter_size, up, down, padding)
    after_x = size[1] * up - out_width * down + left - up + 1
    after_y = size[0] * up - out_height * down + top - up + 1
    return [before_x, after_x, before_y, after_y]


def output_size(
    size: Sequence[int], filter_size: Sequence[int], up: int, down: int, padding: Sequence[int]
) -> tuple[int, int]:
    left, right, top, bottom = padding
    height = (size[0] * up + top + bottom - filter_size[0]) // down + 1
    width = (size[1] * up + left + right - filter_size[1]) // down + 1
    return height, width
