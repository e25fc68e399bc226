"""Networks to fit: their random beginnings, and the widths that a file of a given size allows."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor

from digan_fast.inr import Clip, Coordinates, Layer, Level, Motion, StoredVideo, VideoINR, VideoMLP
from digan_fast.tensor_files import file_size

NETWORKS: Final = ("inr", "siren", "fourier")
# Standard deviations of the frequencies of a picture of _SIDE pixels, in radians per unit, and of the phases' slopes
# over a clip of _FRAMES frames: those of an INR's sinusoids run from 0, for what stands still, to the steepest.
# Frequencies grow with the root of the side, as pictures have less power in higher ones.
_SIDE: Final = 128
_FRAMES: Final = 64
_COARSE, _FINE, _SLOPE = 15.0, 50.0, 30.0
_STEEPEST: Final = 60.0
_FOURIER_SLOPE: Final = 2.0
_WIDTHS: Final = range(8, 4097, 4)
_OMEGA: Final = 30.0
_LAYERS: Final = 4
# A factor that lets every colour begin near grey.
_GREY: Final = 0.1
_LRELU_SLOPE: Final = 0.2


class _Random:
    """Draws from a generator of its own."""

    def __init__(self, seed: int) -> None:
        self._generator = torch.Generator().manual_seed(seed)

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self._generator)

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        return torch.rand(*shape, generator=self._generator) * (high - low) + low


def initial(network: str, clip: Clip, width: int, seed: int) -> StoredVideo:
    """A network that knows nothing of the clip but its extents."""
    builders: dict[str, Callable[[Clip, int, _Random], VideoINR | VideoMLP]]
    builders = {"inr": _inr, "siren": _siren, "fourier": _fourier}
    build = builders[network]
    return StoredVideo(build(clip, width, _Random(seed)), clip)


def stored_bytes(video: StoredVideo, storage: str) -> int:
    """The size of the video's file."""
    return file_size(*video.contents(storage))


def widest(network: str, clip: Clip, kilobytes: float, storage: str, seed: int) -> StoredVideo:
    """The widest network whose file has at most this many times 1000 bytes.

    Raises ValueError, its message beginning with ``size_kb``, if the narrowest is larger.
    """

    def size(index: int) -> int:
        return stored_bytes(initial(network, clip, _WIDTHS[index], seed), storage)

    limit = kilobytes * 1000
    smallest = size(0)
    if smallest > limit:
        raise ValueError(f"size_kb: {kilobytes:g}, expected {smallest / 1000:.1f} or more for this network and storage")
    index = _last(lambda index: size(index) <= limit, len(_WIDTHS))
    return initial(network, clip, _WIDTHS[index], seed)


def _last(fits: Callable[[int], bool], count: int) -> int:
    """The largest index below ``count`` that fits, where all below it do and 0 does."""
    step = 1
    while step < count and fits(step):
        step *= 2
    low, high = step // 2, min(step, count)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _inr(clip: Clip, width: int, random: _Random) -> VideoINR:
    """Two levels, the coarse one on a grid of half the side."""
    side = -(-max(clip.height, clip.width) // 2)
    scale = math.sqrt(2 * side / _SIDE)
    slope = min(_STEEPEST, _SLOPE * clip.frames / _FRAMES)
    fine = max(4, 2 * width // 3)
    coarse = _level(random, side, 0, width, [width] * 3, _COARSE * scale, slope)
    return VideoINR((coarse, _level(random, 2 * side, width, max(4, width // 2), [fine] * 2, _FINE * scale, slope)))


def _level(
    random: _Random, side: int, below: int, sinusoids: int, widths: list[int], frequency: float, slope: float
) -> Level:
    slopes = torch.linspace(0, 1, sinusoids).square() * (slope / math.sqrt(sinusoids * (1 + _LRELU_SLOPE**2)))
    # The hidden units of the motion bend at moments spread over the clip, so that phases are free curves of time.
    motion = Motion(
        offset=random.uniform(-math.pi, math.pi, 1, sinusoids),
        velocity=torch.ones(1, sinusoids),
        weight0=torch.eye(sinusoids),
        bias0=-random.uniform(0, 1, sinusoids),
        weight1=random.normal(sinusoids, sinusoids) * slopes[:, None],
        bias1=torch.zeros(sinusoids),
    )
    layers, inputs = [], below + 2 * sinusoids
    for outputs in widths:
        layers.append(Layer(random.normal(1, outputs, inputs) / math.sqrt(inputs), torch.zeros(outputs)))
        inputs = outputs
    colours = Layer(random.normal(1, 3, inputs) * (_GREY / math.sqrt(inputs)), torch.zeros(3), "linear", 1.0)
    return Level(side, Coordinates(random.normal(1, sinusoids, 2) * frequency, motion), tuple(layers), colours)


def _siren(clip: Clip, width: int, random: _Random) -> VideoMLP:
    """Sines with ω = 30 and the initial weights of SIREN (arXiv 2006.09661, theorem 1.8 and section 3.2)."""
    extents = [3, *[width] * _LAYERS, 3]
    weights, biases = [], []
    for index, (inputs, outputs) in enumerate(itertools.pairwise(extents)):
        bound = 1 / inputs if index == 0 else math.sqrt(6 / inputs) / _OMEGA
        weights.append(random.uniform(-bound, bound, 1, outputs, inputs))
        biases.append(random.uniform(-bound, bound, 1, outputs))
    return VideoMLP(clip.height, clip.width, tuple(weights), tuple(biases), "sine", _OMEGA)


def _fourier(clip: Clip, width: int, random: _Random) -> VideoMLP:
    """Random Fourier features (arXiv 2006.10739) below layers of ReLUs."""
    scale = _FINE * math.sqrt(max(clip.height, clip.width) / _SIDE) / 2
    slope = _FOURIER_SLOPE * min(clip.frames / _FRAMES, 3)
    frequency = random.normal(1, width, 3) * torch.tensor([scale, scale, slope])
    extents = [2 * width, *[width] * (_LAYERS - 1), 3]
    weights, biases = [], []
    for inputs, outputs in itertools.pairwise(extents):
        weights.append(random.normal(1, outputs, inputs) * math.sqrt(2 / inputs))
        biases.append(torch.zeros(1, outputs))
    weights[-1] = weights[-1] * _GREY
    return VideoMLP(clip.height, clip.width, tuple(weights), tuple(biases), "relu", 1.0, frequency)
