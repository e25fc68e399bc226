"""Clips from a video file, a folder of frames or a tree of either, and the pairs of frames that training draws."""

from __future__ import annotations

import itertools
import os
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from digan_fast import video


@dataclass(frozen=True)
class Source:
    """One video on disk, and the name of its class where the tree has classes."""

    path: Path
    label: str | None


def find_videos(root: str | os.PathLike[str], conditional: bool = False) -> list[Source]:
    """The videos at or below ``root``: files and folders of frames, in sorted order.

    ``conditional`` takes the first folder below ``root`` as a video's class.  Raises FileNotFoundError where there is
    nothing at ``root``, ValueError where there is no video, or one outside a class.
    """
    root = Path(root)
    if not root.exists():
        raise FileNotFoundError(f"data: {root} does not exist")
    found: list[Path] = []

    def visit(path: Path) -> None:
        if video.is_video(path) or video.is_frame_folder(path):
            found.append(path)
        elif path.is_dir():
            for child in sorted(path.iterdir()):
                visit(child)

    visit(root)
    if not found:
        raise ValueError(f"data: no video file and no folder of frames at or below {root}")
    sources = []
    for path in found:
        parents = path.relative_to(root).parts[:-1]
        if conditional and not parents:
            raise ValueError(f"data: {path} lies in no class folder, which conditional training needs")
        sources.append(Source(path, parents[0] if conditional else None))
    return sources


class Clips:
    """Every clip of ``length`` frames, ``stride`` apart, of the given videos, held as uint8 [N, 3, R, R] each.

    ``mirror`` doubles the clips by x-flips.  Videos too short for a clip are left out; ValueError where all are.
    """

    def __init__(
        self,
        sources: list[Source],
        resolution: int,
        length: int = 16,
        stride: int = 1,
        frames: slice | None = None,
        crop: str = "center",
        mirror: bool = True,
        progress: bool = False,
    ) -> None:
        if length < 2 or stride < 1:
            raise ValueError(f"clip length, stride: {length}, {stride}, expected at least 2 and 1")
        part = slice(None) if frames is None else frames
        self.length = length
        self.stride = stride
        self.mirror = mirror
        self.classes = sorted({source.label for source in sources if source.label is not None})
        self.videos: list[Tensor] = []
        self.labels: list[int] = []
        starts: list[tuple[int, int]] = []
        span = (length - 1) * stride + 1
        for source in tqdm(sources, desc="reading", unit="video", disable=not progress):
            decoded = itertools.islice(video.iter_frames(source.path), part.start, part.stop, part.step)
            pixels = [video.square(frame, resolution, crop) for frame in decoded]
            if len(pixels) < span:
                continue
            starts += [(len(self.videos), start) for start in range(len(pixels) - span + 1)]
            self.videos.append(torch.stack(pixels))
            self.labels.append(0 if source.label is None else self.classes.index(source.label))
        if not starts:
            apart = f"{length}, {stride} apart"
            raise ValueError(f"data: no video has the {span} frames of a clip ({apart}) among those to use")
        self.starts = starts

    def __len__(self) -> int:
        return len(self.starts) * (2 if self.mirror else 1)

    @property
    def c_dim(self) -> int:
        """The extent of a label: the number of classes, 0 without."""
        return len(self.classes)

    def pairs(self, batch: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """``(pairs [B, 7, R, R], labels [B, c_dim])``: two frames of a clip in [−1, 1] and the plane of their Δt.

        The frames are int(Beta(2, 1)·length) and int(Beta(1, 2)·length), sorted; they may coincide.
        """
        chosen = torch.randint(len(self), (batch,), generator=generator)
        uniform = torch.rand(2, batch, generator=generator)
        # Inverse distribution functions: √u for Beta(2, 1), 1 − √u for Beta(1, 2).
        late, early = uniform[0].sqrt(), 1 - uniform[1].sqrt()
        index = (torch.stack((late, early), 1) * self.length).long().clamp(0, self.length - 1)
        index = index.sort(dim=1).values
        frames = torch.stack([self._frames(int(c), int(a), int(b)) for c, (a, b) in zip(chosen, index, strict=True)])
        pixels = frames.to(torch.float32).div_(127.5).sub_(1).flatten(1, 2)
        difference = (index[:, 1] - index[:, 0]) / (self.length - 1)
        plane = difference.view(-1, 1, 1, 1).expand(-1, 1, *pixels.shape[2:])
        labels = torch.tensor([self.labels[self.starts[int(c) % len(self.starts)][0]] for c in chosen])
        one_hot = torch.zeros(batch, self.c_dim)
        if self.c_dim:
            one_hot.scatter_(1, labels[:, None], 1.0)
        return torch.cat((pixels, plane), dim=1), one_hot

    def _frames(self, clip: int, first: int, second: int) -> Tensor:
        """Two frames of a clip, uint8 [2, 3, R, R]; clips from ``len(starts)`` on are the mirrored ones."""
        number, start = self.starts[clip % len(self.starts)]
        pixels = self.videos[number][[start + first * self.stride, start + second * self.stride]]
        return pixels.flip(-1) if clip >= len(self.starts) else pixels
