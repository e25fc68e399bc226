"""``VideoINR``: the weights of B videos, as data, and their evaluation on any rectangle of any grid at any time."""

from __future__ import annotations

import operator
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from digan_fast import transforms
from digan_fast.inr import io
from digan_fast.inr.render import checked_window, render
from digan_fast.levels import Level, Window, walk
from digan_fast.precision import MIXED, RENDER_PRECISIONS, full_precision

# Pixels of a stream rendered per call: at this size the fixed cost of a call, such as packing weights, is 2 %.
STREAM_PIXELS = 65536


@dataclass(frozen=True, eq=False)
class VideoINR:
    """B videos as networks from (x, y, t) to colour; levels coarse to fine (DIGAN, arXiv 2202.10571, section 3.1).

    Plain data that shares no memory with the network that made it: it can be saved, sent, indexed (``inr[0]``,
    ``inr[2:5]``) and rendered elsewhere.  Its tensors may carry gradients; rendering is then differentiable with
    respect to them and the times, under torch.func's transforms and in forward mode too.
    """

    levels: tuple[Level, ...]

    def __post_init__(self) -> None:
        if not self.levels or self.levels[0].coordinates is None:
            raise ValueError("levels: the first level must be there and have coordinates")
        for coarse, fine in zip(self.levels, self.levels[1:], strict=False):
            if fine.side != coarse.side * (1 if fine.coordinates is None else 2):
                raise ValueError(
                    f"levels: a level of side {fine.side} above one of side {coarse.side}; the side doubles "
                    "exactly where a level has coordinates"
                )

    def __repr__(self) -> str:
        sides = ", ".join(str(level.side) for level in self.levels)
        return f"VideoINR({len(self)} videos, levels of side {sides}, {self.dtype}, {self.device})"

    def __deepcopy__(self, memo: dict[int, Any]) -> VideoINR:
        """Values without gradient history, as in pickling."""
        copied: VideoINR = walk(
            self, "", lambda _, tensor: tensor.detach().clone().requires_grad_(tensor.requires_grad)
        )
        return copied

    def __len__(self) -> int:
        return self.videos

    @property
    def videos(self) -> int:
        """B; a symbol in a traced graph, where ``len`` would specialise it."""
        return self.levels[0].layers[0].weight.shape[0]

    def __getitem__(self, index: int | slice) -> VideoINR:
        """The INR of some of the videos; an integer keeps a batch of one."""
        if not isinstance(index, slice):
            chosen = range(len(self))[operator.index(index)]
            index = slice(chosen, chosen + 1)
        return VideoINR(tuple(level.videos(index) for level in self.levels))

    @property
    def img_resolution(self) -> int:
        """The side of the picture at scale 1."""
        return self.levels[-1].side

    @property
    def device(self) -> torch.device:
        return self.levels[0].layers[0].weight.device

    @property
    def dtype(self) -> torch.dtype:
        return self.levels[0].layers[0].weight.dtype

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor by its path, such as ``levels.0.layers.1.weight``."""
        found: dict[str, Tensor] = {}
        walk(self, "", found.setdefault)
        return {path[1:]: tensor for path, tensor in found.items()}

    def to(self, *args: Any, **kwargs: Any) -> VideoINR:
        """Every tensor converted as by ``Tensor.to``."""
        moved: VideoINR = walk(self, "", lambda _, tensor: tensor.to(*args, **kwargs))
        return moved

    def detach(self) -> VideoINR:
        """The same weights without gradient history."""
        detached: VideoINR = walk(self, "", lambda _, tensor: tensor.detach())
        return detached

    @full_precision
    def render(
        self,
        times: Tensor | Sequence[float],
        size: int | None = None,
        window: Window | None = None,
        levels: int | None = None,
        precision: str = "float32",
        checkpoint: bool = False,
    ) -> Tensor:
        """Frames [B, T, 3, H, W] in float32 (float64 from a float64 INR), nominally within [−1, 1], not clamped.

        times: [T] or [B, T]; the networks were trained on [0, 1], anything else extrapolates.
        size: the side of the whole picture, a multiple of ``img_resolution // levels[0].side``; default: scale 1.
        window: (top, left, height, width) in pixels of that picture, may extend beyond it; default: all of it.
        levels: evaluate only this many levels, coarse to fine; the picture keeps its size, by nearest upsampling.
        precision: ``bfloat16`` keeps weights and activations in bfloat16, phases and colours in float32; ``int8``
            multiplies 8-bit weights (one scale per row) by 8-bit activations (one scale and zero point per pixel),
            without gradients; phases, to-RGB and colours are float32.  Against float32, videos of the shipped
            snapshot have a PSNR of 60 dB (bfloat16) and 48 dB (int8).  int8 takes 0.57 of bfloat16's time with AVX-512
            VNNI and BF16, and 0.8 of float32's with AVX2.  A pixel that is not finite is NaN in int8.
            ``mixed``, that of the published training, is float16 at the four highest levels on a GPU and float32
            otherwise.
        checkpoint: with gradients, store no activations; the backward recomputes them, one frame at a time.

        Without gradients, rendering is tiled, so that memory beyond the result is bounded.  Raises ValueError, naming
        the argument, if one is invalid.
        """
        times = self._times(times)
        size = self._size(size)
        window = checked_window(window, size)
        chosen = self._chosen(levels, precision)
        return render(chosen, times, self.img_resolution, size, window, precision, checkpoint)

    def frames(
        self,
        times: Tensor | Sequence[float],
        size: int | None = None,
        window: Window | None = None,
        levels: int | None = None,
        precision: str = "float32",
    ) -> Iterator[Tensor]:
        """A stream of frames [B, 3, H, W], one for each time; arguments as for :meth:`render`.

        Memory does not grow with the number of frames.  Frames have no gradients; ValueError under torch.func's
        transforms and for times with a forward-mode tangent.
        """
        times = self._times(times)
        reason = transforms.why_formula([times, *self.tensors().values()])
        if reason is not None:
            raise ValueError(f"frames: a stream has values alone ({reason}); render gives what has derivatives")
        times = times.detach()
        self._chosen(levels, precision)
        _, _, height, width = checked_window(window, self._size(size))
        batch = max(1, STREAM_PIXELS // max(1, self.videos * height * width))

        def stream() -> Iterator[Tensor]:
            for first in range(0, times.shape[1], batch):
                with torch.no_grad():
                    part = self.render(times[:, first : first + batch], size, window, levels, precision)
                yield from part.unbind(1)

        return stream()

    def save(self, path: str | os.PathLike[str], storage: str = "float32") -> None:
        """Write a safetensors file, whole or not at all.

        storage: ``float32`` keeps the tensors as they are; ``float16``; ``int8`` stores matrices with a scale per row.
        Frequencies and velocities stay float32.  Loading gives float32 again.
        """
        io.save(path, self.levels, self.tensors(), storage)

    @classmethod
    def load(cls, path: str | os.PathLike[str], device: str = "cpu") -> VideoINR:
        """Read what :meth:`save` wrote.  Raises ValueError, naming the file, for anything else."""
        return io.load(path, device, cls)

    def _times(self, times: Tensor | Sequence[float]) -> Tensor:
        dtype = torch.promote_types(self.dtype, torch.float32)
        if not isinstance(times, Tensor) and not all(abs(time) <= torch.finfo(dtype).max for time in times):
            raise ValueError(f"times: {times}, expected finite numbers of {dtype}")
        times = torch.as_tensor(times, dtype=dtype, device=self.device)
        if times.ndim == 1:
            times = times.expand(self.videos, -1)
        if times.ndim != 2 or times.shape[0] != self.videos:
            raise ValueError(f"times: shape {tuple(times.shape)}, expected [T] or [{len(self)}, T]")
        return times

    @property
    def _unit(self) -> int:
        """The side, in pixels, of a cell of the coarsest grid: sizes are multiples of it."""
        return self.img_resolution // self.levels[0].side

    def _size(self, size: int | None) -> int:
        if size is None:
            return self.img_resolution
        if size not in range(self._unit, sys.maxsize, self._unit):
            raise ValueError(f"size: {size}, expected a positive multiple of {self._unit}")
        return int(size)

    def _chosen(self, levels: int | None, precision: str) -> tuple[Level, ...]:
        if levels is not None and levels not in range(1, len(self.levels) + 1):
            raise ValueError(f"levels: {levels}, expected 1 to {len(self.levels)}")
        if self.dtype not in (torch.float32, torch.float64):
            raise ValueError(f"the INR is {self.dtype}, expected float32 or float64; a lower precision is an argument")
        allowed = (*RENDER_PRECISIONS, MIXED)
        if precision not in allowed:
            raise ValueError(f"precision: {precision!r}, expected one of {', '.join(allowed)}")
        if precision == MIXED and levels not in (None, len(self.levels)):
            raise ValueError(f"levels: {levels}, expected all {len(self.levels)} in mixed precision")
        return self.levels[:levels]
