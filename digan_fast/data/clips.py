"""Pairs of frames from the clips of a packed file, or whole clips, as training sees them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy
import torch
from torch import Tensor

from digan_fast.data.packed import Pack
from digan_fast.data.sampling import Sampler
from digan_fast.data.sources import Source

_Numbers = numpy.ndarray[Any, Any]


class Batch(NamedTuple):
    """Pairs as they are read: uint8 [B, 2, 3, R, R], Δt [B] in [0, 1], the number of each pair's class [B].

    Whole clips are uint8 [B, T, 3, R, R], with no Δt: [0].
    """

    pixels: Tensor
    gaps: Tensor
    labels: Tensor

    def on(self, device: torch.device, c_dim: int) -> tuple[Tensor, Tensor]:
        """``(pairs [B, 7, R, R], labels [B, c_dim])``: two frames in [−1, 1] and a plane of Δt; one-hot labels.

        Instead of pairs, whole clips [B, T, 3, R, R] in [−1, 1].
        """
        pixels = self.pixels.to(device, non_blocking=True).to(torch.float32).div_(127.5).sub_(1)
        one_hot = torch.zeros(len(self.labels), c_dim)
        if c_dim:
            one_hot.scatter_(1, self.labels[:, None], 1.0)
        if not len(self.gaps):
            return pixels, one_hot.to(device)
        pixels = pixels.flatten(1, 2)
        plane = self.gaps.to(device).view(-1, 1, 1, 1).expand(-1, 1, *pixels.shape[2:])
        return torch.cat((pixels, plane), dim=1), one_hot.to(device)


class Clips:
    """The clips of some videos of a packed file, of which a :class:`Sampler` draws pairs; it may be pickled.

    videos: their numbers in the file; None is all.  frames: which frames of each to use.  conditional: whether pairs
    have labels, the videos' classes.  whole: batches are of whole clips.  The other arguments are the sampler's.

    Videos without a clip are not drawn; ``left_out`` has a line about them.  Raises ValueError if no video has one, or
    one to be drawn has no class and ``conditional`` asks for it.
    """

    def __init__(
        self,
        pack: Pack,
        length: int = 16,
        stride: int = 1,
        frames: slice | None = None,
        clips: str = "every",
        mirror: bool = True,
        conditional: bool = False,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
        videos: Sequence[int] | None = None,
        whole: bool = False,
    ) -> None:
        self.pack = pack
        self.whole = whole
        self.part = slice(None) if frames is None else frames
        self._first = self.part.start or 0
        self.videos = list(range(len(pack.videos)) if videos is None else videos)
        entries = [pack.videos[number] for number in self.videos]
        counts = [len(range(entry.frames)[self.part]) for entry in entries]
        span = (length - 1) * stride + 1
        if max(counts, default=0) < span:
            apart = f"{length}, {stride} apart"
            raise ValueError(f"data: no video has the {span} frames of a clip ({apart}) among those to use")
        self.sampler = Sampler(counts, length, stride, clips, mirror, seed, rank, world)
        self.classes = sorted({str(entry.label) for entry in entries}) if conditional else []
        unnamed = next((entry.name for entry in entries if conditional and entry.label is None), None)
        if unnamed is not None:
            raise ValueError(f"conditional: {unnamed} of {pack.path} has no class; pack the data with --conditional")
        self._labels = [self.classes.index(str(entry.label)) if conditional else 0 for entry in entries]
        without = [entry.name for place, entry in enumerate(entries) if not self.sampler.clips_of(place)]
        self.left_out = [f"{len(without)} without a clip of {span} frames, such as {without[0]}"] if without else []

    def __len__(self) -> int:
        """The number of clips, of which mirrored ones count as others."""
        return len(self.sampler) * (2 if self.sampler.mirror else 1)

    @property
    def c_dim(self) -> int:
        """The size of a label: the number of classes, 0 if unconditional."""
        return len(self.classes)

    @property
    def frame_count(self) -> int:
        """The frames of the videos that have a clip."""
        return sum(count for video, count in enumerate(self.sampler.counts) if self.sampler.clips_of(video))

    @property
    def used(self) -> list[Source]:
        """The videos that have a clip."""
        sources = self.pack.sources()
        return [sources[number] for place, number in enumerate(self.videos) if self.sampler.clips_of(place)]

    def batch(self, seen: int, batch: int) -> Batch:
        """The pairs of the step after ``seen`` pairs of the run; see :meth:`Sampler.draw`.

        Raises what :meth:`Pack.frames` raises.
        """
        if self.whole:
            clips = self.sampler.draw_clips(seen, batch)
            return self._read(clips.videos, clips.frames, clips.mirrored, torch.empty(0))
        pairs = self.sampler.draw(seen, batch)
        gaps = torch.from_numpy((pairs.gaps / (self.sampler.length - 1)).astype(numpy.float32))
        return self._read(pairs.videos, numpy.stack((pairs.first, pairs.second), axis=1), pairs.mirrored, gaps)

    def _read(self, videos: _Numbers, frames: _Numbers, mirrored: _Numbers, gaps: Tensor) -> Batch:
        """The frames [B, T] of the videos [B], those of which ``mirrored`` [B] is true mirrored."""
        side = self.pack.resolution
        pixels = torch.empty((*frames.shape, 3, side, side), dtype=torch.uint8)
        for place, (video, numbers, is_mirrored) in enumerate(zip(videos, frames, mirrored, strict=True)):
            clip = self.pack.frames(self.videos[video], [self._first + int(number) for number in numbers])
            pixels[place] = clip.flip(-1) if is_mirrored else clip
        return Batch(pixels, gaps, torch.tensor([self._labels[video] for video in videos]))
