from __future__ import annotations

from pathlib import Path

import pytest
import torch
from small_runs import frame_folder

from digan_fast import video
from digan_fast.data.clips import Clips, find_videos


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    frame_folder(tmp_path / "cats" / "a", 20)
    frame_folder(tmp_path / "cats" / "b", 5)
    frame_folder(tmp_path / "dogs" / "c", 18)
    video.write(tmp_path / "dogs" / "d.mp4", (torch.full((3, 16, 16), 200, dtype=torch.uint8) for _ in range(17)))
    return tmp_path


def test_videos_of_a_tree(tree: Path) -> None:
    sources = find_videos(tree)
    assert [source.path.name for source in sources] == ["a", "b", "c", "d.mp4"]
    assert {source.label for source in sources} == {None}
    assert [s.label for s in find_videos(tree, conditional=True)] == ["cats", "cats", "dogs", "dogs"]
    assert [s.path for s in find_videos(tree / "cats" / "a")] == [tree / "cats" / "a"]
    assert [s.path for s in find_videos(tree / "dogs" / "d.mp4")] == [tree / "dogs" / "d.mp4"]


def test_unusable_data_is_named(tree: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="missing"):
        find_videos(tmp_path / "missing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no video file"):
        find_videos(tmp_path / "empty")
    with pytest.raises(ValueError, match="lies in no class folder"):
        find_videos(tree / "cats", conditional=True)


def test_clips_are_counted_and_short_videos_are_left_out(tree: Path) -> None:
    clips = Clips(find_videos(tree, True), 8, length=16, mirror=False)
    assert len(clips) == (20 - 15) + (18 - 15) + (17 - 15)
    assert clips.classes == ["cats", "dogs"]
    assert clips.c_dim == 2
    assert len(Clips(find_videos(tree), 8, length=16, mirror=True)) == 2 * len(clips)
    strided = Clips(find_videos(tree), 8, length=4, stride=5, mirror=False)
    assert len(strided) == 5 + 3 + 2
    ranged = Clips(find_videos(tree), 8, length=16, frames=slice(2, 19), mirror=False)
    assert len(ranged) == 2 + 1
    with pytest.raises(ValueError, match="no video has the 151 frames"):
        Clips(find_videos(tree), 8, length=16, stride=10)


def test_a_video_without_a_frame_in_the_range_is_left_out(tree: Path) -> None:
    frame_folder(tree / "cats" / "e", 4)
    clips = Clips(find_videos(tree), 8, length=4, frames=slice(4, None), mirror=False)
    assert len(clips) == (16 - 3) + (14 - 3) + (13 - 3)
    with pytest.raises(ValueError, match="no video has the 16 frames of a clip") as caught:
        Clips(find_videos(tree), 8, frames=slice(100, None))
    assert "slice" not in str(caught.value)


def test_pairs_are_two_frames_of_a_clip_and_their_difference(tmp_path: Path) -> None:
    frame_folder(tmp_path / "v", 31, size=(8, 8))
    clips = Clips(find_videos(tmp_path / "v"), 8, length=16, stride=2, mirror=False)
    assert len(clips) == 1
    pairs, labels = clips.pairs(64, torch.Generator().manual_seed(0))
    assert pairs.shape == (64, 7, 8, 8)
    assert labels.shape == (64, 0)
    levels = (pairs[:, :6, 0, -1] * 127.5 + 127.5).round()
    first, second = levels[:, 0] / 4, levels[:, 3] / 4
    assert set((first % 2).tolist()) == {0.0}
    torch.testing.assert_close(pairs[:, 6, 0, 0], (second - first) / 2 / 15)
    assert (second >= first).all()
    assert len(first.unique()) > 5


def test_pair_times_are_beta_distributed(tmp_path: Path) -> None:
    """The mean difference of 4,000 pairs' sorted times, within 4 standard errors of that of 20,000 draws by torch."""
    frame_folder(tmp_path / "v", 16, size=(4, 4))
    clips = Clips(find_videos(tmp_path / "v"), 4, mirror=False)
    found = clips.pairs(4000, torch.Generator().manual_seed(1))[0][:, 6, 0, 0]
    late = (torch.distributions.Beta(2.0, 1.0).sample((20000,)) * 16).int()
    early = (torch.distributions.Beta(1.0, 2.0).sample((20000,)) * 16).int()
    expected = (late - early).abs() / 15
    assert abs(found.mean() - expected.mean()) < 4 * expected.std() * (1 / 4000 + 1 / 20000) ** 0.5


def test_flips_mirror_both_frames(tmp_path: Path) -> None:
    frame_folder(tmp_path / "v", 16, size=(8, 8))
    clips = Clips(find_videos(tmp_path / "v"), 8, mirror=True)
    pairs, _ = clips.pairs(64, torch.Generator().manual_seed(0))
    bright_left = pairs[:, 0, 0, 0] > pairs[:, 0, 0, -1]
    assert torch.equal(bright_left, pairs[:, 3, 0, 0] > pairs[:, 3, 0, -1])
    assert bright_left.any()
    assert not bright_left.all()


def test_labels_follow_their_clips(tree: Path) -> None:
    clips = Clips(find_videos(tree, True), 8, length=16)
    pairs, labels = clips.pairs(50, torch.Generator().manual_seed(0))
    assert (labels.sum(1) == 1).all()
    from_mp4 = (pairs[:, 0].mean((1, 2)) * 127.5 + 127.5 - 200).abs() < 3
    assert from_mp4.any()
    assert (labels[from_mp4, 1] == 1).all()


def test_the_same_generator_draws_the_same_pairs(tree: Path) -> None:
    clips = Clips(find_videos(tree), 8)
    draws = [clips.pairs(5, torch.Generator().manual_seed(3))[0] for _ in range(2)]
    assert torch.equal(*draws)
