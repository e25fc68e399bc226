"""Clips of packed videos, and the pairs drawn of them."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from clips_of import clips_of
from small_runs import frame_folder

from digan_fast import video
from digan_fast.data.finding import find_videos
from digan_fast.data.frames import frame_range

CPU = torch.device("cpu")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    frame_folder(root / "cats" / "a", 20)
    frame_folder(root / "cats" / "b", 5)
    frame_folder(root / "dogs" / "c", 18)
    video.write(root / "dogs" / "d.mp4", (torch.full((3, 16, 16), 200, dtype=torch.uint8) for _ in range(17)))
    return root


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
    clips = clips_of(tree, 8, conditional=True, mirror=False)
    assert len(clips) == (20 - 15) + (18 - 15) + (17 - 15)
    assert clips.classes == ["cats", "dogs"]
    assert clips.c_dim == 2
    assert clips.left_out == ["1 without a clip of 16 frames, such as cats/b"]
    assert [source.path.name for source in clips.used] == ["a", "c", "d.mp4"]
    assert len(clips_of(tree, 8, mirror=True)) == 2 * len(clips)
    assert len(clips_of(tree, 8, length=4, stride=5, mirror=False)) == 5 + 3 + 2
    assert len(clips_of(tree, 8, frames=slice(2, 19), mirror=False)) == 2 + 1
    with pytest.raises(ValueError, match="no video has the 151 frames"):
        clips_of(tree, 8, stride=10)
    with pytest.raises(ValueError, match="no video has the 16 frames of a clip"):
        clips_of(tree, 8, frames=slice(100, None))


def test_frame_ranges() -> None:
    assert frame_range("3:9") == slice(3, 9)
    for text in ("3", "9:3", "-1:2", "a:b"):
        with pytest.raises(ValueError, match="frames: "):
            frame_range(text)


def test_pairs_are_two_frames_of_a_clip_and_their_difference(tmp_path: Path) -> None:
    root = frame_folder(tmp_path / "v", 33, size=(8, 8))
    clips = clips_of(root, 8, stride=2, frames=slice(2, None), mirror=False)
    assert len(clips) == 1
    pairs, labels = clips.batch(0, 64).on(CPU, 0)
    assert pairs.shape == (64, 7, 8, 8)
    assert labels.shape == (64, 0)
    levels = (pairs[:, :6, 0, -1] * 127.5 + 127.5).round()
    first, second = levels[:, 0] / 4 - 2, levels[:, 3] / 4 - 2
    assert set((first % 2).tolist()) == {0.0}
    assert first.min() >= 0
    torch.testing.assert_close(pairs[:, 6, 0, 0], (second - first) / 2 / 15)
    assert (second >= first).all()
    assert len(first.unique()) > 5


def test_flips_mirror_both_frames(tmp_path: Path) -> None:
    pairs, _ = clips_of(frame_folder(tmp_path / "v", 16, size=(8, 8)), 8).batch(0, 64).on(CPU, 0)
    bright_left = pairs[:, 0, 0, 0] > pairs[:, 0, 0, -1]
    assert torch.equal(bright_left, pairs[:, 3, 0, 0] > pairs[:, 3, 0, -1])
    assert bright_left.any()
    assert not bright_left.all()


def test_labels_follow_their_clips(tree: Path) -> None:
    clips = clips_of(tree, 8, conditional=True)
    pairs, labels = clips.batch(0, 50).on(CPU, clips.c_dim)
    assert (labels.sum(1) == 1).all()
    from_mp4 = (pairs[:, 0].mean((1, 2)) * 127.5 + 127.5 - 200).abs() < 3
    assert from_mp4.any()
    assert (labels[from_mp4, 1] == 1).all()


def test_some_videos_of_a_file(tree: Path) -> None:
    whole = clips_of(tree, 8, conditional=True)
    clips = clips_of(tree, 8, conditional=True, videos=[3])
    assert clips.classes == ["dogs"]
    assert [source.path.name for source in clips.used] == ["d.mp4"]
    assert ((clips.batch(0, 20).pixels.float() - 200).abs() < 3).all()
    again = pickle.loads(pickle.dumps(whole))
    assert torch.equal(again.batch(8, 20).pixels, whole.batch(8, 20).pixels)
    unlabelled = clips_of(tree, 4)
    with pytest.raises(ValueError, match=r"conditional: cats/a of .* has no class"):
        type(unlabelled)(unlabelled.pack, conditional=True)
