"""Latents from seeds: the same seeds give the same latents on every machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

# Makes a content seed and an equal motion seed draw different values.  torch.Generator keeps the
# low 32 bits of a seed, so the two differ there.
_MOTION: Final = 0x6D6F7469


def content(seeds: Sequence[int], z_dim: int) -> Tensor:
    """z [B, z_dim] from seeds in 0..2³²−1, each ``randn(z_dim)`` of its own generator.

    That is ``torch.Generator().manual_seed(seed)``, on the CPU.
    """
    return _draw(seeds, z_dim)


def motion(seeds: Sequence[int], w_dim: int) -> Tensor:
    """z_motion [B, w_dim]: as :func:`content`, from ``seed ^ 0x6D6F7469``."""
    return _draw([seed ^ _MOTION for seed in seeds], w_dim)


def spherical(first: Tensor, last: Tensor, fractions: Tensor) -> Tensor:
    """[S, D] between two vectors [D] at fractions [S], along the great circle, which preserves lengths.

    A straight line between two normal vectors passes through shorter ones than any that a
    network was trained on.  Parallel and opposite vectors are joined by a line.
    """
    fractions = fractions.unsqueeze(1)
    cosine = torch.nn.functional.cosine_similarity(first, last, dim=0)
    if not bool(cosine.abs() < 1 - 1e-6):
        return torch.lerp(first, last, fractions)
    angle = cosine.acos()
    weights = ((1 - fractions) * angle).sin(), (fractions * angle).sin()
    return (weights[0] * first + weights[1] * last) / angle.sin()


def _draw(seeds: Sequence[int], dim: int) -> Tensor:
    if any(not 0 <= seed < 2**32 for seed in seeds):
        raise ValueError(f"seeds: {list(seeds)}, expected numbers from 0 to 2**32 - 1")
    rows = [torch.randn(dim, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    return torch.stack(rows) if rows else torch.empty(0, dim)
