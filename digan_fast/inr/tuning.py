"""What distinguishes a fitted INR from the one that a generator makes of its latents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from torch import Tensor

from digan_fast.inr.video import VideoINR
from digan_fast.levels import walk

# The tensors that belong to a video, by the ends of their paths; the others belong to the generator.
_OWN: Final = (".weight", ".frequency", ".offset", ".velocity")
_VELOCITY: Final = ".velocity"

Tuning = Mapping[str, Tensor]


def own_tensors(inr: VideoINR) -> dict[str, Tensor]:
    """The tensors [B, …] that each video has of its own, by their paths."""
    return {path: tensor for path, tensor in inr.tensors().items() if path.endswith(_OWN)}


def tuning(fitted: VideoINR, made: VideoINR) -> dict[str, Tensor]:
    """What was added to the own tensors of ``made``.  Raises ValueError for INRs of different shapes."""
    before, after = own_tensors(made), own_tensors(fitted)
    if {path: tensor.shape for path, tensor in before.items()} != {path: t.shape for path, t in after.items()}:
        raise ValueError("its INR has other shapes than this generator's")
    return {path: after[path] - before[path] for path in before}


def tuned(inr: VideoINR, added: Tuning | None) -> VideoINR:
    """The INR with these added to its own tensors; they have its batch, or a batch of one."""
    if added is None:
        return inr
    made: VideoINR = walk(inr, "", lambda path, tensor: tensor + added[path[1:]] if path[1:] in added else tensor)
    return made


def without_motion(added: Tuning) -> Tuning:
    """The tuning that fits other motion vectors: velocities belong to a motion."""
    return {path: tensor for path, tensor in added.items() if not path.endswith(_VELOCITY)}
