"""Every layout with a video that is broken, one that is too short and a file that is no video: checked and packed."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import data_sets
import pytest
from data_sets import moving
from small_runs import frame_folder

from digan_fast.cli import main
from digan_fast.data.packed import Pack

JUNK = b"no video, no picture"


@dataclass(frozen=True)
class Damaged:
    """Data as given on the command line; how many of its videos can be used, and names of the others."""

    root: Path
    layout: str
    usable: int
    broken: str
    short: str
    other: str = "files that are no videos or pictures: .txt ("
    options: tuple[str, ...] = ()


def _ucf101(folder: Path, lists: Path | None, options: tuple[str, ...] = ()) -> Damaged:
    root = data_sets.ucf101(folder / "UCF-101", lists)
    moving(root / "YoYo" / "v_YoYo_g03_c01.avi", 5)
    (root / "YoYo" / "v_YoYo_g04_c01.avi").write_bytes(JUNK)
    (root / "YoYo" / "notes.txt").write_bytes(JUNK)
    with open((root / "ucfTrainTestlist" if lists is None else lists) / "trainlist01.txt", "a") as training:
        training.write("YoYo/v_YoYo_g03_c01.avi 2\nYoYo/v_YoYo_g04_c01.avi 2\n")
    return Damaged(root, "ucf101", 3, "YoYo/v_YoYo_g04_c01.avi", "YoYo/v_YoYo_g03_c01.avi", options=options)


def ucf101_with_lists_inside(folder: Path) -> Damaged:
    return _ucf101(folder, None)


def ucf101_with_lists_beside(folder: Path) -> Damaged:
    return _ucf101(folder, folder / "ucfTrainTestlist")


def ucf101_with_lists_elsewhere(folder: Path) -> Damaged:
    lists = folder / "some" / "where"
    return _ucf101(folder, lists, ("--lists", str(lists)))


def sky(folder: Path) -> Damaged:
    root = data_sets.sky(folder / "sky")
    frame_folder(root / "sky_train" / "xyz" / "xyz_2", 20)
    (root / "sky_train" / "xyz" / "xyz_2" / "00000.png").write_bytes(JUNK)
    (root / "sky_train" / "notes.txt").write_bytes(JUNK)
    return Damaged(root, "sky", 3, "sky_train/xyz/xyz_2", "sky_train/-abc/-abc_2")


def taichi(folder: Path) -> Damaged:
    """A clip spans 15 · 4 + 1 frames."""
    root = data_sets.taichi(folder / "taichi")
    moving(root / "train" / "id#0101.mp4", 60)
    (root / "train" / "id#0102.mp4").write_bytes(JUNK)
    (root / "test" / "notes.txt").write_bytes(JUNK)
    return Damaged(root, "taichi", 3, "train/id#0102.mp4", "train/id#0101.mp4")


def kinetics_food(folder: Path) -> Damaged:
    root = data_sets.kinetics(folder / "kinetics")
    moving(root / "val" / "eating cake" / "d_000001_000011.mp4", 15)
    (root / "train" / "baking cookies" / "e_000001_000011.mp4").write_bytes(JUNK)
    (root / "train" / "baking cookies" / "notes.txt").write_bytes(JUNK)
    broken, short = "train/baking cookies/e_000001_000011.mp4", "val/eating cake/d_000001_000011.mp4"
    return Damaged(root, "kinetics-food", 3, broken, short)


def any_folder(folder: Path) -> Damaged:
    root = folder / "any"
    frame_folder(root / "a" / "frames", 16)
    moving(root / "b" / "video.mp4", 16)
    moving(root / "b" / "short.mp4", 15)
    (root / "a" / "broken.mkv").write_bytes(JUNK)
    (root / "notes.txt").write_bytes(JUNK)
    return Damaged(root, "folder", 2, "a/broken.mkv", "b/short.mp4", options=("--conditional",))


def stylegan_v_zip(folder: Path) -> Damaged:
    root = data_sets.zipped_frames(folder / "frames.zip", {"a": 20, "b": 16, "short": 15})
    with zipfile.ZipFile(root, "a") as archive:
        archive.writestr("broken/00000.png", JUNK)
        archive.writestr("notes.txt", JUNK)
    return Damaged(root, "stylegan-v", 2, "broken", "short", "2 files that are no frames of a video")


@pytest.mark.parametrize(
    "made",
    [
        ucf101_with_lists_inside,
        ucf101_with_lists_beside,
        ucf101_with_lists_elsewhere,
        sky,
        taichi,
        kinetics_food,
        any_folder,
        stylegan_v_zip,
    ],
)
def test_what_cannot_be_used_is_named_and_the_rest_is_packed(
    tmp_path: Path, made: Callable[[Path], Damaged], capsys: pytest.CaptureFixture[str]
) -> None:
    data = made(tmp_path)
    words = [str(data.root), "--set", data.layout, "--workers", "0", *data.options]
    assert main(["data", "check", *words]) == 3
    report = capsys.readouterr().out.splitlines()
    shortest = 61 if data.layout == "taichi" else 16
    assert report[0].startswith(f"videos: {data.usable} of {data.usable + 2} can be used")
    assert f"{data.root / data.broken}" in report[report.index("broken: 1") + 1]
    assert report[report.index(f"shorter than {shortest} frames: 1") + 1].startswith(f"  {data.root / data.short} (")
    assert any(line.startswith("left out: ") and data.other in line for line in report)

    out = tmp_path / "made.pack"
    packing = ["data", "pack", *words, "--resolution", "8", "--out", str(out)]
    assert main([*packing, "--strict"]) == 1
    assert str(data.root / data.broken) in capsys.readouterr().err
    assert not out.exists()
    assert main(packing) == 0
    told = capsys.readouterr().err
    for left_out in (data.root / data.broken, f"{data.root / data.short} (", data.other):
        assert any(line.startswith("left out: ") and str(left_out) in line for line in told.splitlines())
    packed = Pack(out)
    assert len(packed.videos) == data.usable
    assert {data.broken, data.short}.isdisjoint(video.name for video in packed.videos)
    assert all(video.frames >= shortest for video in packed.videos)
    assert main(["data", "check", str(out), "--set", "packed", "--decode", "--workers", "0"]) == 0
