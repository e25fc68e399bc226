"""The pixels of one step of a fit: windows of frames for an INR, points for a coordinate MLP."""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor

from digan_fast.fitting.clips import GivenClip, colours
from digan_fast.inr import VideoINR, VideoMLP
from digan_fast.levels import Window

# Windows of a step where a frame has more pixels than it: more are more diverse, fewer are faster.
_WINDOWS: Final = 4


class Windows:
    """Random rectangles of random frames, in which every pixel is equally likely."""

    def __init__(self, clip: GivenClip, pixels: int) -> None:
        self._clip = clip
        frames, _, height, width = clip.frames.shape
        if height * width <= pixels:
            self._parts, self._frames = 1, min(frames, pixels // (height * width))
            self._height, self._width = height, width
        else:
            self._parts, self._frames = _WINDOWS, 1
            self._width = min(width, max(1, pixels // _WINDOWS))
            self._height = min(height, max(1, pixels // _WINDOWS // self._width))
        self._scale = 1 / (self._parts * self._frames * 3 * self._height * self._width)

    def backward(self, network: VideoINR, precision: str, generator: torch.Generator) -> float:
        """The mean squared error of colours in [−1, 1] over a sample; adds its gradients."""
        frames, _, height, width = self._clip.frames.shape
        side = network.img_resolution
        total = 0.0
        for _ in range(self._parts):
            chosen = torch.randperm(frames, generator=generator)[: self._frames]
            top, rows = _part(height, self._height, generator)
            left, columns = _part(width, self._width, generator)
            window: Window = ((side - height) // 2 + top, (side - width) // 2 + left, rows, columns)
            found = network.render(self._clip.times[chosen], window=window, precision=precision)[0]
            expected = self._clip.frames[chosen, :, top : top + rows, left : left + columns]
            loss = (found - colours(expected).to(found.device)).square().sum() * self._scale
            loss.backward()
            total += float(loss.detach())
        return total


class Points:
    """Points of the clip, drawn independently."""

    def __init__(self, clip: GivenClip, pixels: int) -> None:
        self._clip = clip
        self._pixels = pixels

    def backward(self, network: VideoMLP, precision: str, generator: torch.Generator) -> float:
        """The mean squared error of colours in [−1, 1] over a sample; adds its gradients."""
        coordinates, expected = self.draw(network, generator)
        loss = (network.at(coordinates, precision) - expected).square().mean()
        loss.backward()
        return float(loss.detach())

    def draw(self, network: VideoMLP, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Coordinates and colours, [N, 3] each."""
        frames, _, height, width = self._clip.frames.shape

        def below(count: int) -> Tensor:
            return torch.randint(count, (self._pixels,), generator=generator)

        frame, row, column = below(frames), below(height), below(width)
        coordinates = network.coordinates(row.double(), column.double(), self._clip.times.double()[frame])
        expected = colours(self._clip.frames[frame, :, row, column])
        device = network.weights[0].device
        return coordinates.to(device), expected.to(device)


def _part(extent: int, length: int, generator: torch.Generator) -> tuple[int, int]:
    """Start and extent of one cell of a random partition of ``extent`` into cells of this length; ends are cut."""
    if length == extent:
        return 0, extent
    cells = math.ceil((extent + length - 1) / length)
    while True:
        shift, cell = (int(torch.randint(most, (), generator=generator)) for most in (length, cells))
        first, last = max(0, cell * length - shift), min(extent, (cell + 1) * length - shift)
        if first < last:
            return first, last - first
