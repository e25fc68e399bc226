"""Clips from a video file, a folder of frames or a tree of either, and the pairs of frames that training draws."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor
from tqdm import tqdm

from digan_fast import video
from digan_fast.data.finding import Source, find_videos
from digan_fast.data.frames import Frames

__all__ = ["Clips", "Source", "find_videos"]


class Clips:
    """Every clip of ``length`` frames, ``stride`` apart, of the given videos, each held as uint8 [N, 3, R, R].

    ``mirror`` doubles the clips with horizontal flips.  ``fps`` resamples videos by time.  Videos that are damaged (an
    error if ``strict``) or too short for a clip are left out, with a line in ``left_out``; ValueError if all are.
    ``classes`` are the names of all classes of the sources.
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
        fps: float | None = None,
        strict: bool = False,
    ) -> None:
        if length < 2 or stride < 1:
            raise ValueError(f"clip length, stride: {length}, {stride}, expected at least 2 and 1")
        part = slice(None) if frames is None else frames
        self.length = length
        self.stride = stride
        self.mirror = mirror
        self.classes = sorted({source.label for source in sources if source.label is not None})
        self.videos: list[Tensor] = []
        self.used: list[Source] = []
        self.labels: list[int] = []
        self.left_out: list[str] = []
        starts: list[tuple[int, int]] = []
        span = (length - 1) * stride + 1
        short: list[str] = []
        for source in tqdm(sources, desc="reading", unit="video", disable=not progress):
            pixels = Frames(resolution, resolution)
            try:
                # Folders of frames have no timestamps.
                moving = {} if fps is None or source.path.is_dir() else {"fps": fps}
                decoded = video.iter_frames(source.path, **moving)
                for frame in itertools.islice(decoded, part.start, part.stop, part.step):
                    pixels.append(video.square(frame, resolution, crop))
            except (ValueError, OSError) as error:
                reason = str(error) if str(source.path) in str(error) else f"{source.path}: {error}"
                if strict:
                    raise ValueError(f"data: {reason}") from error
                self.left_out.append(reason)
                continue
            if len(pixels) < span:
                short.append(f"{source.path} ({len(pixels)})")
                continue
            starts += [(len(self.videos), start) for start in range(len(pixels) - span + 1)]
            self.videos.append(pixels.tensor())
            self.used.append(source)
            self.labels.append(0 if source.label is None else self.classes.index(source.label))
        damaged = len(self.left_out)
        if short:
            more = f" and {len(short) - 3} more" if len(short) > 3 else ""
            listed = ", ".join(short[:3])
            self.left_out.append(f"{len(short)} shorter than the {span} frames of a clip: {listed}{more}")
        if not starts:
            apart = f"{length}, {stride} apart"
            reason = f"no video has the {span} frames of a clip ({apart}) among those to use"
            if damaged:
                reason = f"{reason}; {damaged} of {len(sources)} cannot be read: {self.left_out[0]}"
            raise ValueError(f"data: {reason}")
        self.starts = starts

    def __len__(self) -> int:
        return len(self.starts) * (2 if self.mirror else 1)

    @property
    def c_dim(self) -> int:
        """The size of a label: the number of classes, 0 if unconditional."""
        return len(self.classes)

    def pairs(self, batch: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """``(pairs [B, 7, R, R], labels [B, c_dim])``: two frames of a clip in [−1, 1] and a plane of their Δt.

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
