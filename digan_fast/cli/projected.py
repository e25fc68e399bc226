"""Points of a latent space: of seeds, and of clips that ``digan-fast project`` found there."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from digan_fast.inr import StoredVideo, VideoINR, tuning
from digan_fast.networks import Generator
from digan_fast.snapshot import fingerprint


@dataclass(frozen=True, eq=False)
class Points:
    """ws [S, num_ws, w_dim], z_motion [S, w_dim], and what their INRs' own tensors gain [S, …], None if nothing."""

    ws: Tensor
    z_motion: Tensor
    tuning: dict[str, Tensor] | None = None

    def __add__(self, other: Points) -> Points:
        return Points(
            torch.cat((self.ws, other.ws)),
            torch.cat((self.z_motion, other.z_motion)),
            _joined((self.tuning, len(self.ws)), (other.tuning, len(other.ws))),
        )

    def tuned(self, change: Callable[[Tensor], Tensor]) -> dict[str, Tensor] | None:
        """``change`` of every tensor of the tuning."""
        return None if self.tuning is None else {path: change(tensor) for path, tensor in self.tuning.items()}


def _joined(*parts: tuple[dict[str, Tensor] | None, int]) -> dict[str, Tensor] | None:
    """Tunings one after the other; those that are None are zeros for so many videos."""
    like = next((tuning for tuning, _ in parts if tuning is not None), None)
    if like is None:
        return None

    def part(path: str, tuning: dict[str, Tensor] | None, count: int) -> Tensor:
        return like[path].new_zeros(count, *like[path].shape[1:]) if tuning is None else tuning[path]

    return {path: torch.cat([part(path, *entry) for entry in parts]) for path in like}


def projected(generator: Generator, paths: Sequence[Path]) -> Points:
    """The points of files of ``digan-fast project``, one or more.

    Raises ValueError, naming the file, if one has no latents or those of another generator.
    """
    own = fingerprint(generator)
    points = [_point(generator, path, own) for path in paths]
    found = points[0]
    for point in points[1:]:
        found = found + point
    return found


def _point(generator: Generator, path: Path, own: str) -> Points:
    device = next(generator.parameters()).device
    name = os.fspath(path)
    video = StoredVideo.load(path, str(device))
    latents = video.latents
    if latents is None or not isinstance(video.network, VideoINR):
        raise ValueError(f"{name}: it has no latents, expected a file of digan-fast project")
    if latents.generator != own:
        raise ValueError(f"{name}: its latents are those of another snapshot, expected the one it was projected with")
    with torch.no_grad():
        made = generator.synthesis.inr(latents.ws, latents.z_motion)
    try:
        return Points(latents.ws, latents.z_motion, tuning(video.network, made))
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
