"""Smaller clips for a discriminator of motion: the φ of DVD-GAN (arXiv 1907.06571, section 3)."""

from __future__ import annotations

from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

# The factor by which each divides the side.
REDUCTIONS: Final = {"pool2": 2, "pool4": 4, "none": 1, "crop": 2, "render": 2}


def side_of(reduction: str, resolution: int) -> int:
    """The side of reduced frames.  Raises ValueError for an unknown reduction or a side below 2."""
    if reduction not in REDUCTIONS:
        raise ValueError(f"reduction: {reduction!r}, expected one of {', '.join(REDUCTIONS)}")
    side = resolution // REDUCTIONS[reduction]
    if side < 2:
        raise ValueError(f"reduction: {reduction!r} leaves {resolution}² no 2² pixels")
    return side


def reduced(clips: Tensor, reduction: str, offsets: Tensor | None = None) -> Tensor:
    """φ(clips): [B, T, C, R, R] to [B, T, C, S, S].

    ``pool2``, ``pool4``: means of 2×2 or 4×4 pixels.  ``render``: as ``pool2``, for real clips; an INR's frames are not
    reduced but rendered at the smaller side.  ``none``: as they are.  ``crop``: a square of half the side, whose top
    and left are offsets [B, 2] in [0, R/2], the same for all frames of a clip.
    """
    if reduction == "none":
        return clips
    if reduction == "crop":
        side = side_of(reduction, clips.shape[-1])
        if offsets is None:
            raise ValueError("offsets: None, expected [B, 2] for a crop")
        places = torch.arange(side, device=clips.device)
        rows, columns = (offsets[:, axis, None].to(clips.device) + places for axis in (0, 1))
        videos = torch.arange(len(clips), device=clips.device).view(-1, 1, 1)
        # [B, S, S, T, C]: the indexed dimensions come first.
        return clips.permute(0, 3, 4, 1, 2)[videos, rows[:, :, None], columns[:, None]].permute(0, 3, 4, 1, 2)
    return F.avg_pool2d(clips.flatten(0, 1), REDUCTIONS[reduction]).unflatten(0, clips.shape[:2])
