"""The levels of an INR as data, shared by the INR, its files, the ops, their references and the kernels."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, Protocol

from torch import Tensor

# (top, left, height, width) in pixels of a picture; it may extend beyond the picture.
Window = tuple[int, int, int, int]


@dataclass(frozen=True, eq=False)
class Layer:
    """``clamp(act(W·x + b)·gain, ±clamp)``: weight [B, O, I], one per video; bias [O]."""

    weight: Tensor
    bias: Tensor
    activation: str = "lrelu"
    gain: float = math.sqrt(2)
    clamp: float | None = None

    @property
    def options(self) -> tuple[str, float, float | None]:
        """Activation, gain and clamp, in the order in which the ops take them."""
        return self.activation, self.gain, self.clamp


class Phases(Protocol):
    """Provides the phases of a level's sinusoids at any time."""

    def phase(self, times: Tensor) -> Tensor:
        """[B, T, K] radians at times [B, T]."""

    def videos(self, part: slice) -> Phases:
        """The same for some of the videos."""


@dataclass(frozen=True, eq=False)
class Coordinates:
    """A level's sinusoids: ``frequency`` [B, K, 2] in radians per unit of (x, y), and their phases.

    ``motion`` provides the phases at any time; for a rendering it is the phases at its times, [B, T, K].
    """

    frequency: Tensor
    motion: Phases | Tensor


@dataclass(frozen=True, eq=False)
class Level:
    """One resolution: ``side`` of its grid, its sinusoids if it has any, its layers, its to-RGB layer.

    The side is that of the whole picture's grid: at scale 1 for a VideoINR, at the given size for a rendering.  The
    input of the first layer of a level with coordinates is [the level below, upsampled; sines; cosines].
    """

    side: int
    coordinates: Coordinates | None
    layers: tuple[Layer, ...]
    to_rgb: Layer

    @property
    def frequency(self) -> Tensor | None:
        """[B, K, 2], None without sinusoids."""
        return None if self.coordinates is None else self.coordinates.frequency

    @property
    def phase(self) -> Tensor | None:
        """[B, T, K], of a level at given times; None without sinusoids."""
        if self.coordinates is None:
            return None
        assert isinstance(self.coordinates.motion, Tensor)
        return self.coordinates.motion

    def at(self, times: Tensor, side: int) -> Level:
        """The level at times [B, T] on a grid of this side."""
        coordinates = self.coordinates
        if coordinates is not None:
            assert not isinstance(coordinates.motion, Tensor)
            coordinates = Coordinates(coordinates.frequency, coordinates.motion.phase(times))
        return Level(side, coordinates, self.layers, self.to_rgb)

    def frames(self, part: slice) -> Level:
        """A level at given times, for some of them."""
        if self.coordinates is None or self.phase is None:
            return self
        return replace(self, coordinates=Coordinates(self.coordinates.frequency, self.phase[:, part]))

    def videos(self, part: slice) -> Level:
        """The level for some of the videos."""

        def of(layer: Layer) -> Layer:
            return replace(layer, weight=layer.weight[part])

        coordinates = self.coordinates
        if coordinates is not None:
            motion = coordinates.motion
            own = motion[part] if isinstance(motion, Tensor) else motion.videos(part)
            coordinates = Coordinates(coordinates.frequency[part], own)
        return Level(self.side, coordinates, tuple(map(of, self.layers)), of(self.to_rgb))


def walk(node: Any, path: str, visit: Callable[[str, Tensor], Any]) -> Any:
    """A copy of nested dataclasses and sequences, each tensor replaced by ``visit(path, tensor)``."""
    if isinstance(node, Tensor):
        return visit(path, node)
    if isinstance(node, tuple | list):
        return type(node)(walk(item, f"{path}.{index}", visit) for index, item in enumerate(node))
    if is_dataclass(node) and not isinstance(node, type):
        parts = {f.name: walk(getattr(node, f.name), f"{path}.{f.name}", visit) for f in fields(node)}
        return replace(node, **parts)
    return node


def assembled(
    frequencies: Sequence[Tensor],
    phases: Sequence[Tensor],
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    sides: Sequence[int],
    layers: Sequence[int],
    activations: Sequence[str],
    gains: Sequence[float],
    clamps: Sequence[float],
) -> list[Level]:
    """Levels from lists: ``layers[i]`` entries for the layers of level i, and one more for its to-RGB."""
    limits = [clamp if clamp < math.inf else None for clamp in clamps]
    entries = map(Layer, weights, biases, activations, gains, limits)
    levels = []
    for frequency, phase, side, count in zip(frequencies, phases, sides, layers, strict=True):
        own = tuple(next(entries) for _ in range(count))
        coordinates = Coordinates(frequency, phase) if frequency.shape[1] > 0 else None
        levels.append(Level(side, coordinates, own, next(entries)))
    return levels


def flattened(levels: Sequence[Level]) -> tuple[list[Any], ...]:
    """The lists of :func:`assembled`."""
    like = levels[0].phase
    assert like is not None
    nothing = like.new_empty((like.shape[0], 0, 2)), like.new_empty((*like.shape[:2], 0))
    frequencies = [nothing[0] if level.frequency is None else level.frequency for level in levels]
    phases = [nothing[1] if level.phase is None else level.phase for level in levels]
    entries = [entry for level in levels for entry in (*level.layers, level.to_rgb)]
    return (
        frequencies,
        phases,
        [entry.weight for entry in entries],
        [entry.bias for entry in entries],
        [level.side for level in levels],
        [len(level.layers) for level in levels],
        [entry.activation for entry in entries],
        [entry.gain for entry in entries],
        [math.inf if entry.clamp is None else entry.clamp for entry in entries],
    )
