"""Which files of a tree are used as data, which are left out, and how that is reported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from small_runs import frame_folder

from digan_fast import video
from digan_fast.data.finding import find_videos, survey


def clip(path: Path, frames: int = 20, level: int = 100) -> Path:
    video.write(path, (torch.full((3, 16, 16), level, dtype=torch.uint8) for _ in range(frames)))
    return path


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (16, 16), (255, 0, 0)).save(path)
    return path


def names(root: Path, **options: object) -> list[str]:
    return [str(source.path.relative_to(root)) for source in find_videos(root, **options)]  # type: ignore[arg-type]


def test_hidden_files_and_macos_resource_forks_are_ignored(tmp_path: Path) -> None:
    clip(tmp_path / "a.mp4")
    (tmp_path / "._a.mp4").write_bytes(b"\x00\x05\x16\x07" + bytes(4000))
    frame_folder(tmp_path / ".thumbnails" / "x", 20)
    frame_folder(tmp_path / "__MACOSX" / "x", 20)
    clip(tmp_path / ".hidden" / "b.mp4")
    frame_folder(tmp_path / "frames", 20)
    (tmp_path / "frames" / "._00000.png").write_bytes(b"junk")
    assert names(tmp_path) == ["a.mp4", "frames"]
    assert len(video.read(tmp_path / "frames")[0]) == 20


@pytest.mark.parametrize("pictures", [1, 3, 30])
def test_pictures_beside_videos_are_left_out_and_named(tmp_path: Path, pictures: int) -> None:
    for index in range(3):
        clip(tmp_path / "in" / f"v{index}.mp4")
    for index in range(pictures):
        picture(tmp_path / "in" / f"v{index}.jpg")
    assert names(tmp_path) == ["in/v0.mp4", "in/v1.mp4", "in/v2.mp4"]
    (line,) = survey(tmp_path).left_out
    assert f"{pictures} picture" in line
    assert str(tmp_path / "in") in line
    assert names(tmp_path, take="frames") == ["in"]


def test_pictures_above_videos_are_ambiguous(tmp_path: Path) -> None:
    frame_folder(tmp_path / "v", 20)
    frame_folder(tmp_path / "v" / "thumbnails", 20)
    with pytest.raises(ValueError, match=r"take: .*20 pictures.*--take frames.*--take videos"):
        find_videos(tmp_path)
    assert names(tmp_path, take="frames") == ["v"]
    assert names(tmp_path, take="videos") == ["v/thumbnails"]
    with pytest.raises(ValueError, match="take: 'all'"):
        find_videos(tmp_path, take="all")


def test_one_cover_above_folders_is_left_out(tmp_path: Path) -> None:
    picture(tmp_path / "cover.jpg")
    frame_folder(tmp_path / "v", 20)
    assert names(tmp_path) == ["v"]
    assert "1 picture beside folders of videos" in survey(tmp_path).left_out[0]


def test_parts_of_a_data_set_are_not_classes(tmp_path: Path) -> None:
    for part in ("train", "test"):
        clip(tmp_path / part / "cat" / "1.mp4")
        clip(tmp_path / part / "dog" / "2.mp4")
    for conditional in (False, True):
        with pytest.raises(ValueError, match=r"split: .*test, train.*--split test.*--split all"):
            find_videos(tmp_path, conditional)
    found = survey(tmp_path, True, "train")
    assert [source.label for source in found.sources] == ["cat", "dog"]
    assert found.left_out == ["test: other parts of the set"]
    assert {source.label for source in find_videos(tmp_path, True, "all")} == {"test", "train"}
    with pytest.raises(ValueError, match=r"split: 'eval', but .* holds test, train"):
        find_videos(tmp_path, split="eval")


def test_the_only_part_of_a_data_set_is_entered(tmp_path: Path) -> None:
    clip(tmp_path / "train" / "cat" / "1.mp4")
    (tmp_path / "readme.txt").touch()
    assert [source.label for source in find_videos(tmp_path, True)] == ["cat"]


@pytest.mark.parametrize("beside", ["b.mp4", "other/b.mp4", "eval/b.mp4"])
def test_a_part_of_a_data_set_beside_videos_is_ambiguous(tmp_path: Path, beside: str) -> None:
    clip(tmp_path / "train" / "a.mp4")
    clip(tmp_path / beside)
    with pytest.raises(ValueError, match=r"split: .*holds train and more beside it.*--split train.*--split all"):
        find_videos(tmp_path)
    assert names(tmp_path, split="all") == sorted([beside, "train/a.mp4"])


def test_nested_parts_of_a_data_set_are_ambiguous(tmp_path: Path) -> None:
    clip(tmp_path / "UCF" / "train" / "a.mp4")
    clip(tmp_path / "UCF" / "test" / "b.mp4")
    for conditional in (False, True):
        with pytest.raises(ValueError, match=r"split: .*UCF holds test, train.*name .*UCF as the data.*--split all"):
            find_videos(tmp_path, conditional)
    assert names(tmp_path, split="all") == ["UCF/test/b.mp4", "UCF/train/a.mp4"]
    assert names(tmp_path / "UCF", split="test") == ["test/b.mp4"]


def test_symbolic_link_loops_duplicate_nothing(tmp_path: Path) -> None:
    clip(tmp_path / "a" / "1.mp4")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "b").symlink_to(tmp_path / "a")
    found = survey(tmp_path)
    assert [source.path for source in found.sources] == [tmp_path / "a" / "1.mp4"]
    assert len(found.left_out) == 2
    assert all("symbolic link" in line for line in found.left_out)


def test_links_to_files_and_dangling_links(tmp_path: Path) -> None:
    clip(tmp_path / "a" / "1.mp4")
    (tmp_path / "b.mp4").symlink_to(tmp_path / "a" / "1.mp4")
    (tmp_path / "c.mp4").symlink_to(tmp_path / "nothing.mp4")
    (tmp_path / "self").symlink_to(tmp_path / "self")
    found = survey(tmp_path)
    assert [source.path for source in found.sources] == [tmp_path / "a" / "1.mp4"]
    assert found.left_out == [
        f"{tmp_path / 'b.mp4'}: the same file as another, through a symbolic link",
        f"{tmp_path / 'c.mp4'}: a link that leads nowhere, expected a file",
        f"{tmp_path / 'self'}: a link that leads nowhere, expected a file",
    ]
    os.link(tmp_path / "a" / "1.mp4", tmp_path / "d.mp4")
    assert "d.mp4" in names(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_pipes_do_not_block(tmp_path: Path) -> None:
    clip(tmp_path / "a.mp4")
    frame_folder(tmp_path / "frames", 20)
    os.mkfifo(tmp_path / "b.mp4")
    os.mkfifo(tmp_path / "frames" / "99999.png")
    (tmp_path / "frames" / "more.png").mkdir()
    found = survey(tmp_path)
    assert [source.path.name for source in found.sources] == ["a.mp4", "frames"]
    assert f"{tmp_path / 'b.mp4'}: a pipe or a device, expected a file" in found.left_out
    assert video.frame_count(tmp_path / "frames") == len(video.read(tmp_path / "frames")[0]) == 20


def test_skipped_files_are_counted(tmp_path: Path) -> None:
    clip(tmp_path / "a.mp4")
    for name in ("b.zip", "c.zip", "LICENSE", ".DS_Store", "._a.mp4"):
        (tmp_path / name).write_bytes(b"x")
    picture(tmp_path / "@eaDir" / "a.mp4" / "SYNOPHOTO.jpg")
    frame_folder(tmp_path / "thumbs", 20)
    found = survey(tmp_path)
    assert [source.path.name for source in found.sources] == ["a.mp4"]
    assert found.left_out == [
        f"{tmp_path / 'thumbs'}: thumbnails beside videos",
        "3 hidden or system files and folders",
        "3 files that are no videos or pictures: .zip (2), no suffix (1)",
    ]


def test_a_run_inside_the_data_is_ignored(tmp_path: Path) -> None:
    clip(tmp_path / "a.mp4")
    run = tmp_path / "runs" / "mine"
    for index in range(20):
        picture(run / "samples" / f"{index:09d}.png")
    for name in ("config.json", "log.jsonl"):
        (run / name).write_text("{}")
    picture(run / "curves.png")
    assert names(tmp_path) == ["a.mp4"]
    (run / "log.jsonl").unlink()
    assert [source.path for source in survey(tmp_path, but=[run]).sources] == [tmp_path / "a.mp4"]


def test_a_folder_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip(tmp_path / "a.mp4")
    (tmp_path / "b").mkdir()
    scandir = os.scandir

    def refusing(path: str) -> object:
        if Path(path).name == "b":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    found = survey(tmp_path)
    assert [source.path.name for source in found.sources] == ["a.mp4"]
    assert found.left_out == [f"{tmp_path / 'b'}: it cannot be read: Permission denied"]


def test_animations_are_videos_and_still_pictures_are_not(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (16, 16), (i * 12, 0, 0)) for i in range(20)]
    for name in ("a.webp", "b.png"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], duration=50)
    picture(tmp_path / "c.png")
    assert names(tmp_path) == ["a.webp", "b.png"]
    assert all(len(video.read(tmp_path / name)[0]) == 20 for name in ("a.webp", "b.png"))
    with pytest.raises(ValueError, match="a single picture"):
        video.read(tmp_path / "c.png")


def test_folders_named_like_files(tmp_path: Path) -> None:
    frame_folder(tmp_path / "x.mp4", 20)
    clip(tmp_path / "y.mp4").rename(tmp_path / "y.gif")
    assert names(tmp_path) == ["x.mp4", "y.gif"]
    assert len(video.read(tmp_path / "y.gif")[0]) == 20


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc")
def test_frames_are_held_in_memory_once() -> None:
    """Growth of the peak memory of a process while it reads 4,000 frames of 48 KiB."""
    code = (
        "import torch\nfrom digan_fast.data.frames import Frames\n"
        "def read(count):\n"
        "    frames = Frames(128, 128)\n"
        "    for _ in range(count):\n        frames.append(torch.zeros(3, 128, 128, dtype=torch.uint8))\n"
        "    return frames.tensor()\n"
        "def peak():\n    lines = open('/proc/self/status').read().splitlines()\n"
        "    return int(next(line for line in lines if line.startswith('VmHWM')).split()[1])\n"
        "read(4); before = peak(); pixels = read(4000)\n"
        "print((peak() - before) * 1024 / pixels.nbytes)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 0.9 < float(done.stdout) < 1.3
