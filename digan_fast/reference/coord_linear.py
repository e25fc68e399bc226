"""``act(W·[sin θ, cos θ] + up(base) + b)·gain`` with θ = F·(x, y) + φ(t), on a rectangle of a grid.

Three identities make it cheap.  F·(x, y) = F_x·x + F_y·y, so sines are taken per row and per column only.
[sin(θ+φ), cos(θ+φ)] is [sin θ, cos θ] rotated by φ, so a frame rotates the columns of W and the features belong to
the video.  Nearest upsampling commutes with a pixelwise product, so ``base`` arrives at half the resolution.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from digan_fast.reference.activations import activate_product, pre_activation_gradient


def coordinates(grid: Sequence[int], like: Tensor) -> tuple[Tensor, Tensor]:
    """x of the columns [W] and y of the rows [H] of ``grid`` = (side, top, left, height, width).

    x = 2i/side − 1 grows to the right; y = 2(side − 1 − j)/side − 1 grows upwards.  Indices may lie outside the grid.
    """
    side, top, left, height, width = grid
    columns = torch.arange(left, left + width, dtype=like.dtype, device=like.device)
    rows = torch.arange(top, top + height, dtype=like.dtype, device=like.device)
    return columns * (2 / side) - 1, (side - 1 - rows) * (2 / side) - 1


def features(frequency: Tensor, grid: Sequence[int]) -> tuple[Tensor, Tensor]:
    """sin θ and cos θ, [B, H·W, K] each, for θ = F·(x, y) and frequency [B, K, 2]."""
    x, y = coordinates(grid, frequency)
    across = x[:, None] * frequency[:, None, :, 0]
    down = y[:, None] * frequency[:, None, :, 1]
    sin_x, cos_x = across.sin()[:, None], across.cos()[:, None]
    sin_y, cos_y = down.sin()[:, :, None], down.cos()[:, :, None]
    sin = sin_y * cos_x + cos_y * sin_x
    cos = cos_y * cos_x - sin_y * sin_x
    return sin.flatten(1, 2), cos.flatten(1, 2)


def rotate(weight: Tensor, phase: Tensor) -> tuple[Tensor, Tensor]:
    """The columns of W = [W_s, W_c] [B, O, 2K] turned by phase [B, T, K]: those of sin θ and of cos θ, [B, T, O, K]."""
    weight_sin, weight_cos = weight.unsqueeze(1).chunk(2, -1)
    sin, cos = phase.sin().unsqueeze(2), phase.cos().unsqueeze(2)
    return weight_sin * cos - weight_cos * sin, weight_sin * sin + weight_cos * cos


def upsample(base: Tensor, grid: Sequence[int]) -> Tensor:
    """base [B, T, h, w, O], the half-resolution ancestors of the grid's rectangle, repeated to [B, T, H, W, O]."""
    _, top, left, height, width = grid
    batch, frames, rows, columns, channels = base.shape
    doubled = base[:, :, :, None, :, None].expand(-1, -1, -1, 2, -1, 2, -1)
    doubled = doubled.reshape(batch, frames, 2 * rows, 2 * columns, channels)
    return doubled[:, :, top % 2 : top % 2 + height, left % 2 : left % 2 + width]


def upsample_backward(grad: Tensor, grid: Sequence[int], shape: Sequence[int]) -> Tensor:
    """The gradient by base of ``upsample(base, grid)``: sums over the repeated pixels, in the given shape."""
    _, top, left, height, width = grid
    batch, frames, rows, columns, channels = shape
    below, right = 2 * rows - top % 2 - height, 2 * columns - left % 2 - width
    if top % 2 or left % 2 or below or right:
        grad = torch.nn.functional.pad(grad, (0, 0, left % 2, right, top % 2, below))
    return grad.reshape(batch, frames, rows, 2, columns, 2, channels).sum((3, 5))


def coord_linear(
    base: Tensor | None,
    frequency: Tensor,
    phase: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    grid: Sequence[int],
    activation: str,
    gain: float,
    clamp: float | None,
) -> Tensor:
    batch, frames = phase.shape[:2]
    out_features = weight.shape[1]
    pixels = grid[3] * grid[4]
    # The activations here are homogeneous: the gain is folded into the small factors of the product.
    turned = torch.cat(rotate(weight.to(phase.dtype) * gain, phase), -1).to(weight.dtype)
    turned = turned.flatten(0, 1).transpose(1, 2)
    basis = torch.cat(features(frequency, grid), -1).to(weight.dtype)
    basis = basis.unsqueeze(1).expand(-1, frames, -1, -1).reshape(batch * frames, pixels, weight.shape[2])
    start = weight.new_zeros(()) if bias is None else bias * gain
    if base is None:
        z = torch.baddbmm(start, basis, turned)
    else:
        z = upsample(torch.add(start, base, alpha=gain), grid).reshape(batch * frames, pixels, out_features)
        z = torch.baddbmm(z, basis, turned)
    z = activate_product(z, activation, clamp)
    return z.reshape(batch, frames, grid[3], grid[4], out_features)


def coord_linear_backward(
    grad: Tensor,
    base: Tensor | None,
    frequency: Tensor,
    phase: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    out: Tensor,
    grid: Sequence[int],
    activation: str,
    gain: float,
    clamp: float | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients by base, frequency [B, K, 2], phase [B, T, K], weight [B, O, 2K] and bias [O].

    With θ, S = sin θ, C = cos θ of the video and P, Q the rotated columns, z = P·S + Q·C:
    dP = dzᵀ·S, dQ = dzᵀ·C; dφ = Σ_o (dQ∘P − dP∘Q); dθ = Σ_t (dz·P)∘C − (dz·Q)∘S.
    """
    dz = pre_activation_gradient(grad, None, out, activation, gain, clamp)
    dbase = upsample_backward(dz, grid, base.shape) if base is not None else dz.new_empty(0)
    dbias = dz.sum((0, 1, 2, 3))
    # In lower precisions, the features and the products of their gradients stay float32.
    dz = dz.flatten(2, 3).to(phase.dtype)

    sin_theta, cos_theta = features(frequency, grid)
    basis = torch.cat((sin_theta, cos_theta), -1)
    turned_sin, turned_cos = rotate(weight.to(phase.dtype), phase)
    dturned = torch.matmul(dz.transpose(-1, -2), basis.unsqueeze(1))
    dturned_sin, dturned_cos = dturned.chunk(2, -1)
    sin, cos = phase.sin().unsqueeze(2), phase.cos().unsqueeze(2)
    dweight = torch.cat(
        (
            (dturned_sin * cos + dturned_cos * sin).sum(1),
            (dturned_cos * cos - dturned_sin * sin).sum(1),
        ),
        -1,
    )
    dweight = dweight.to(weight.dtype)
    dphase = (dturned_cos * turned_sin - dturned_sin * turned_cos).sum(2)

    wide = dz.transpose(1, 2).flatten(2)
    dsin = torch.bmm(wide, turned_sin.flatten(1, 2))
    dcos = torch.bmm(wide, turned_cos.flatten(1, 2))
    dtheta = (dsin * cos_theta - dcos * sin_theta).reshape(phase.shape[0], grid[3], grid[4], phase.shape[2])
    x, y = coordinates(grid, frequency)
    by_x = torch.einsum("bhwk,w->bk", dtheta, x)
    by_y = torch.einsum("bhwk,h->bk", dtheta, y)
    return dbase, torch.stack((by_x, by_y), -1), dphase, dweight, dbias
