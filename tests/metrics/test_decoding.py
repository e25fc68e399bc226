"""Clips of videos: the frames that they name, each video decoded once."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from digan_fast.data.finding import Source
from digan_fast.metrics.decoding import ClipDecoder, ClipReader
from digan_fast.metrics.protocols import Protocol
from digan_fast.metrics.real import Listing, Reading, draw

COUNTS = [300, 12, 60]


class Numbered(Reading):
    """Videos whose frames hold their numbers, and how many of them were decoded."""

    def decoded(self, source: Source) -> Iterator[torch.Tensor]:
        path = source.path
        for index in range(COUNTS[int(path.name)]):
            decoded.append(path.name)
            yield torch.tensor([int(path.name), index // 256, index % 256], dtype=torch.uint8)[:, None, None]


decoded: list[str] = []


def number(clips: torch.Tensor) -> torch.Tensor:
    """Frame numbers [N, T]."""
    values = clips[..., 0, 0].long()
    return values[:, :, 1] * 256 + values[:, :, 2]


@pytest.mark.parametrize("stride", [1, 3])
@pytest.mark.parametrize("every", [1, 2])
@pytest.mark.parametrize("workers", [1, 4])
def test_each_video_is_decoded_once_in_blocks(stride: int, every: int, workers: int) -> None:
    """Of several processes, each has every n-th block."""
    decoded.clear()
    protocol = Protocol("test", "fd", "random3d", length=4, stride=stride, real=200)
    listing = Listing([Source(Path(str(video)), None) for video in range(len(COUNTS))], COUNTS)
    drawn = draw(listing, protocol, "data")
    blocks = drawn.clips.split(16)[::every]
    with ThreadPoolExecutor(workers) as pool:
        decoder = ClipDecoder(pool, listing, drawn, protocol, Numbered(1))
        tasks = [decoder.submit(block.tolist()) for block in blocks]
        pixels = [torch.cat([task.result() for task in block]) for block in tasks]
    for block, clips in zip(blocks, pixels, strict=True):
        assert clips[:, :, 0, 0, 0].tolist() == [[video] * 4 for video in block[:, 0].tolist()]
        assert torch.equal(number(clips), block[:, 1, None] + torch.arange(4) * stride)
    assert len(blocks) >= 8 // every
    for video, count in enumerate(COUNTS):
        assert decoded.count(str(video)) <= count


def test_a_reader_keeps_no_frame_before_the_clips_to_come() -> None:
    protocol = Protocol("test", "fd", "random3d", length=4, stride=2)
    reader = ClipReader(Source(Path("0"), None), range(200), protocol, Numbered(1))
    for start in range(200):
        assert number(reader.read([start])).tolist() == [[start, start + 2, start + 4, start + 6]]
        assert len(reader._frames) <= protocol.span


def test_a_video_that_ends_early_is_an_error() -> None:
    protocol = Protocol("test", "fd", "random3d", length=4)
    reader = ClipReader(Source(Path("1"), None), [0, 9], protocol, Numbered(1))
    reader.read([0])
    with pytest.raises(ValueError, match="1: it ends before frame 12, which was there when the videos were checked"):
        reader.read([9])
