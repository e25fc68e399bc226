"""DiffAugment (arXiv 2006.10738) on pairs and clips: each transform is drawn once per pair or clip."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from digan_fast.training.draws import of_batch


def _uniform(x: Tensor) -> Tensor:
    return of_batch(lambda rows: torch.rand(rows, 1, 1, 1, 1, dtype=x.dtype, device=x.device), len(x))


def _integers(low: int, high: int, x: Tensor) -> Tensor:
    """[B, 1, 1], from low to high − 1."""
    return of_batch(lambda rows: torch.randint(low, high, [rows, 1, 1], device=x.device), len(x))


def brightness(x: Tensor) -> Tensor:
    return x + (_uniform(x) - 0.5)


def saturation(x: Tensor) -> Tensor:
    mean = x.mean(dim=2, keepdim=True)
    return (x - mean) * (_uniform(x) * 2) + mean


def contrast(x: Tensor) -> Tensor:
    mean = x.mean(dim=(2, 3, 4), keepdim=True)
    return (x - mean) * (_uniform(x) + 0.5) + mean


def translation(x: Tensor) -> Tensor:
    """Shift by up to an eighth of the side, filling with zeros: out[i] = in[i + shift]."""
    batch, _, _, height, width = x.shape
    reach_y, reach_x = int(height / 8 + 0.5), int(width / 8 + 0.5)
    shift_y = _integers(-reach_y, reach_y + 1, x)
    shift_x = _integers(-reach_x, reach_x + 1, x)
    padded = F.pad(x, (reach_x, reach_x, reach_y, reach_y))
    rows = torch.arange(height, device=x.device).view(1, -1, 1) + shift_y + reach_y
    columns = torch.arange(width, device=x.device).view(1, 1, -1) + shift_x + reach_x
    videos = torch.arange(batch, device=x.device).view(-1, 1, 1)
    return padded.permute(0, 3, 4, 1, 2)[videos, rows, columns].permute(0, 3, 4, 1, 2)


def cutout(x: Tensor) -> Tensor:
    """Zero a square of half the side, centred on a random point of the picture and clamped to it."""
    _, _, _, height, width = x.shape
    inside = None
    for extent, shape in ((height, (1, -1, 1)), (width, (1, 1, -1))):
        size = int(extent / 2 + 0.5)
        offset = _integers(0, extent + (1 - size % 2), x)
        index = torch.arange(extent, device=x.device).view(shape)
        first = (offset - size // 2).clamp(0, extent - 1)
        last = (offset - size // 2 + size - 1).clamp(0, extent - 1)
        hit = (index >= first) & (index <= last)
        inside = hit if inside is None else inside & hit
    assert inside is not None
    return x.masked_fill(inside[:, None, None], 0.0)


TRANSFORMS: dict[str, Sequence[Callable[[Tensor], Tensor]]] = {
    "color": (brightness, saturation, contrast),
    "translation": (translation,),
    "cutout": (cutout,),
}


class DiffAugment:
    """``policy``: names of :data:`TRANSFORMS`, separated by commas and applied in this order; empty for none.

    Raises ValueError for any other name, an empty one among others included.
    """

    def __init__(self, policy: str = "color,translation", img_channels: int = 3) -> None:
        names = [name.strip() for name in policy.split(",")] if policy.strip() else []
        unknown = [name for name in names if name not in TRANSFORMS]
        if unknown:
            known = ", ".join(TRANSFORMS)
            raise ValueError(f"augment: {policy!r}, expected some of {known}, separated by commas, not {unknown[0]!r}")
        self.transforms = [transform for name in names for transform in TRANSFORMS[name]]
        self.img_channels = img_channels

    def __call__(self, pairs: Tensor) -> Tensor:
        """[B, 2C + 1, H, W]: two frames and their Δt plane, which is left unchanged."""
        if not self.transforms:
            return pairs
        frames = pairs[:, : 2 * self.img_channels]
        x = self.clips(frames.unflatten(1, (2, self.img_channels)))
        return torch.cat((x.flatten(1, 2), pairs[:, 2 * self.img_channels :]), dim=1)

    def clips(self, x: Tensor) -> Tensor:
        """[B, T, C, H, W]."""
        for transform in self.transforms:
            x = transform(x)
        return x
