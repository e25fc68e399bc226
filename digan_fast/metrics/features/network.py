"""What a feature network is, and the checks on what goes in and comes out."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class FeatureNetwork(nn.Module):
    """Features of clips; subclasses define ``rows`` and the attributes.

    ``name``: in metrics' names and files; ``described``: one line; ``shortest``: frames that a clip needs at least.
    ``sha256``: of the file of weights, or of the weights if there is no file.  ``source``: the file's path, or a word.
    """

    name: ClassVar[str]
    described: ClassVar[str]
    resize: ClassVar[str]
    shortest: ClassVar[int] = 1
    is_offline: ClassVar[bool] = False

    def __init__(self) -> None:
        super().__init__()
        self.sha256 = ""
        self.source = ""

    def rows(self, clips: Tensor) -> Tensor:
        """float32 [B, R, D] of clips, float32 [B, T, 3, H, W] in [−1, 1]: R rows of D features per clip."""
        raise NotImplementedError

    @torch.no_grad()
    def forward(self, clips: Tensor, names: Sequence[str] | None = None) -> Tensor:
        """float32 [B, R, D] on the CPU, of clips, uint8 [B, T, 3, H, W].

        names: what to call each clip in an error.  Raises ValueError for other clips, naming what was expected, and
        for features that are not finite, naming the clip.
        """
        if clips.ndim != 5 or clips.shape[2] != 3 or clips.dtype != torch.uint8:
            extent = ""
            if clips.is_floating_point() and clips.numel():
                extent = f" with values from {float(clips.min()):g} to {float(clips.max()):g}"
            raise ValueError(
                f"clips: {clips.dtype} {list(clips.shape)}{extent}, expected torch.uint8 [B, T, 3, H, W] from 0 to 255 "
                "(digan_fast.video.to_uint8 converts colours in [−1, 1])"
            )
        if clips.shape[1] < self.shortest:
            raise ValueError(f"clips: {clips.shape[1]} frames, expected {self.shortest} or more for {self.name}")
        device = next(self.parameters()).device
        found = self.rows(clips.to(device).float() / 127.5 - 1).float().cpu()
        finite = found.isfinite().flatten(1).all(1)
        if not bool(finite.all()):
            index = int((~finite).nonzero()[0])
            name = f"clip {index}" if names is None else names[index]
            raise ValueError(f"{name}: its {self.name} features are not finite")
        return found


def state_sha256(state: Mapping[str, Tensor]) -> str:
    """Of a network's weights: names and bytes in order of names."""
    found = hashlib.sha256()
    for name in sorted(state):
        found.update(name.encode())
        found.update(state[name].detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def resized(frames: Tensor, height: int, width: int) -> Tensor:
    """Frames [..., 3, H, W], bilinear without antialiasing, pixel centres aligned (``align_corners=False``)."""
    if frames.shape[-2:] == (height, width):
        return frames
    flat = frames.flatten(0, -4)
    found = F.interpolate(flat, (height, width), mode="bilinear", align_corners=False)
    return found.view(*frames.shape[:-2], height, width)


def same_padding(x: Tensor, kernel: Sequence[int], stride: Sequence[int]) -> Tensor:
    """Zeros around the last dimensions so that ⌈n/stride⌉ outputs remain, the odd one at the end."""
    pad: list[int] = []
    for extent, size, step in zip(reversed(x.shape[-len(kernel) :]), reversed(kernel), reversed(stride), strict=True):
        total = max(0, (-(-extent // step) - 1) * step + size - extent)
        pad += [total // 2, total - total // 2]
    return F.pad(x, pad) if any(pad) else x
