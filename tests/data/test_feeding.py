"""Batches read ahead by worker processes."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import torch
from clips_of import clips_of
from small_runs import frame_folder

from digan_fast.data import feeding, packing
from digan_fast.data.clips import Batch, Clips
from digan_fast.data.feeding import Feed, workers_for
from digan_fast.data.finding import survey
from digan_fast.data.packing import Preparation


@pytest.fixture
def clips(tmp_path: Path) -> Clips:
    for index in range(3):
        frame_folder(tmp_path / "v" / str(index), 20 + index)
    return clips_of(tmp_path / "v", 8, seed=3)


def taken(feed: Feed, count: int) -> list[Batch]:
    found = [feed.next() for _ in range(count)]
    feed.close()
    return found


def test_workers_change_nothing_and_signals_do_not_end_them(clips: Clips) -> None:
    """SIGINT, SIGTERM and SIGHUP reach a whole process group; the run that catches them still needs its batches."""
    before = torch.get_rng_state()
    alone = taken(Feed(clips, 0, 4, workers=0), 9)
    feed = Feed(clips, 0, 4, workers=2)
    found = [feed.next()]
    workers = feed._batches._workers  # type: ignore[attr-defined]
    for worker in workers:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(worker.pid, number)
    found += taken(feed, 8)
    for mine, theirs in zip(alone, found, strict=True):
        assert all(map(torch.equal, mine, theirs))
    assert feed.waited > 0
    assert torch.equal(torch.get_rng_state(), before)
    assert not any(worker.is_alive() for worker in workers)


def test_it_goes_on_after_any_step(clips: Clips) -> None:
    whole = taken(Feed(clips, 0, 4, workers=0), 5)
    rest = taken(Feed(clips, 12, 4, workers=0), 2)
    for mine, theirs in zip(whole[3:], rest, strict=True):
        assert all(map(torch.equal, mine, theirs))


def test_ranks_share_a_batch(clips: Clips) -> None:
    whole = taken(Feed(clips, 0, 8, workers=0), 3)
    for rank in range(2):
        shared = Clips(clips.pack, seed=3, rank=rank, world=2)
        for mine, theirs in zip(whole, taken(Feed(shared, 0, 4, workers=0), 3), strict=True):
            assert all(torch.equal(each[rank::2], other) for each, other in zip(mine, theirs, strict=True))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_frame_is_named(tmp_path: Path, workers: int) -> None:
    folder = frame_folder(tmp_path / "v", 20)
    out = tmp_path / "v.pack"
    packing.pack(folder, survey(folder), Preparation(8, encoding="jpeg"), {}, out, progress=False)
    content = bytearray(out.read_bytes())
    content[64:10_000] = bytes(len(content[64:10_000]))
    out.write_bytes(content)
    feed = Feed(Clips(feeding.Pack(out)), 0, 4, workers)
    with pytest.raises(ValueError, match=r"v\.pack/v: frame \d+ is damaged: it has another checksum than recorded"):
        feed.next()
    feed.close()


@pytest.mark.parametrize("change", ["replaced", "cut off"])
def test_a_worker_says_that_the_file_is_another(clips: Clips, change: str) -> None:
    path = clips.pack.path
    feed = Feed(clips, 0, 4, workers=1)
    if change == "replaced":
        other = frame_folder(path.parent / "other", 30)
        packing.pack(other, survey(other), Preparation(8), {}, path, progress=False, replace=True)
    else:
        os.truncate(path, 1000)
    with pytest.raises((ValueError, OSError), match=rf"{path}.*(another packed file than before|cut off)"):
        taken(feed, 1)
    feed.close()


def test_default_workers(clips: Clips, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeding, "default_workers", lambda: 16)
    assert workers_for(clips.pack, torch.device("cuda")) == 0
    clips.pack.encoding = "jpeg"
    assert workers_for(clips.pack, torch.device("cuda")) == 4
    assert workers_for(clips.pack, torch.device("cpu")) == 0
