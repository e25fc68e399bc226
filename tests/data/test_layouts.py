"""The published sets, laid out as they come."""

from __future__ import annotations

from pathlib import Path

import data_sets
import pytest
import torch
from small_runs import frame_folder

from digan_fast.data.checking import census
from digan_fast.data.finding import Findings
from digan_fast.data.layouts import Layout
from digan_fast.data.sources import fingerprint, name_of


def described(root: Path, found: Findings) -> list[tuple[str, str | None, str | None]]:
    return [(name_of(source, root), source.label, source.part) for source in found.sources]


@pytest.mark.parametrize("beside", [False, True])
def test_ucf101_by_its_lists(tmp_path: Path, beside: bool) -> None:
    root = data_sets.ucf101(tmp_path / "UCF-101", tmp_path / "ucfTrainTestlist" if beside else None)
    train = Layout("ucf101", "train").find(root)
    assert described(root, train) == [
        ("Archery/v_Archery_g02_c01.avi", "Archery", "train"),
        ("YoYo/v_YoYo_g01_c01.avi", "YoYo", "train"),
    ]
    assert "1 in none of the lists: YoYo/v_YoYo_g02_c01.avi" in train.left_out
    assert "1 in the lists, but not here: YoYo/v_YoYo_g09_c01" in train.left_out
    test = Layout("ucf101", "test").find(root)
    assert described(root, test) == [("Archery/v_Archery_g01_c01.avi", "Archery", "test")]
    assert len(Layout("ucf101", "both").find(root).sources) == 3


def test_ucf101_with_the_list_of_the_part_alone(tmp_path: Path) -> None:
    lists = tmp_path / "lists"
    root = data_sets.ucf101(tmp_path / "UCF-101", lists)
    (lists / "testlist01.txt").unlink()
    train = Layout("ucf101", "train", lists=lists).find(root)
    assert [source.part for source in train.sources] == ["train", "train"]
    for part in ("test", "both"):
        with pytest.raises(ValueError, match=r"lists: .*lists has no testlist01\.txt"):
            Layout("ucf101", part, lists=lists).find(root)


def test_ucf101_without_lists(tmp_path: Path) -> None:
    data_sets.moving(tmp_path / "UCF" / "YoYo" / "a.avi")
    assert len(Layout("ucf101", "both").find(tmp_path / "UCF").sources) == 1
    with pytest.raises(ValueError, match=r"lists: no trainlist02\.txt in .*UCF.*--lists"):
        Layout("ucf101", "train", list_number=2).find(tmp_path / "UCF")
    with pytest.raises(ValueError, match=r"lists: .*nowhere has no trainlist01\.txt"):
        Layout("ucf101", "train", lists=tmp_path / "nowhere").find(tmp_path / "UCF")


def test_ucf101_with_two_sets_of_lists(tmp_path: Path) -> None:
    root = data_sets.ucf101(tmp_path / "UCF-101")
    data_sets.ucf101(tmp_path / "other", tmp_path / "ucfTrainTestlist")
    assert len(Layout("ucf101", "train").find(root).sources) == 2
    (tmp_path / "ucfTrainTestlist" / "trainlist01.txt").write_text("Archery/v_Archery_g01_c01.avi 1\n")
    with pytest.raises(ValueError, match=r"lists: .* differ; --lists"):
        Layout("ucf101", "train").find(root)
    chosen = Layout("ucf101", "train", lists=root / "ucfTrainTestlist").find(root)
    assert len(chosen.sources) == 2


def test_sky_has_two_levels(tmp_path: Path) -> None:
    root = data_sets.sky(tmp_path)
    found = Layout("sky", "both").find(root)
    assert described(root, found) == [
        ("sky_train/-abc/-abc_1", None, "train"),
        ("sky_train/-abc/-abc_2", None, "train"),
        ("sky_train/xyz/xyz_1", None, "train"),
        ("sky_test/qq/qq_1", None, "test"),
    ]
    assert [part for *_, part in described(root, Layout("sky", "test").find(root))] == ["test"]
    with pytest.raises(ValueError, match="has no folder sky_train or train for train"):
        Layout("sky", "train").find(root / "sky_test")


def test_taichi_and_kinetics(tmp_path: Path) -> None:
    root = data_sets.taichi(tmp_path / "taichi")
    assert described(root, Layout("taichi", "train").find(root)) == [
        ("train/id#0001#0064", None, "train"),
        ("train/id#0100.mp4", None, "train"),
    ]
    root = data_sets.kinetics(tmp_path / "kinetics")
    assert [label for _, label, _ in described(root, Layout("kinetics-food", "both").find(root))] == [
        "baking cookies", "eating cake", "eating cake",
    ]  # fmt: skip


def test_zipped_frames(tmp_path: Path) -> None:
    archive = data_sets.zipped_frames(tmp_path / "v.zip", {"b/x": 12, "a": 3})
    found = Layout("stylegan-v").find(archive)
    assert described(archive, found) == [("a", None, None), ("b/x", None, None)]
    folder = Layout("stylegan-v").find(tmp_path / "v")
    for zipped, plain in zip(found.sources, folder.sources, strict=True):
        assert torch.equal(torch.stack(list(zipped.frames())), torch.stack(list(plain.frames())))
        assert zipped.count() == plain.count()
    assert fingerprint(archive, found.sources)[0] == fingerprint(tmp_path / "v", folder.sources)[0]
    with pytest.raises(ValueError, match="stylegan-v has no parts"):
        Layout("stylegan-v", "train").find(archive)
    with pytest.raises(ValueError, match="no class folder"):
        Layout("stylegan-v", conditional=True).find(archive)
    broken = bytearray(archive.read_bytes())
    broken[60:90] = bytes(30)
    (tmp_path / "broken.zip").write_bytes(broken)
    (damaged,) = [s for s in Layout("stylegan-v").find(tmp_path / "broken.zip").sources if s.path.name == "x"]
    with pytest.raises(ValueError, match=r"broken\.zip/b/x/00011\.png: damaged"):
        list(damaged.frames())
    (tmp_path / "no.zip").write_bytes(b"no zip")
    with pytest.raises(ValueError, match=r"no\.zip: .*zip -s 0"):
        Layout("stylegan-v").find(tmp_path / "no.zip")


def test_a_folder_has_parts_only_on_request(tmp_path: Path) -> None:
    for part in ("train", "test"):
        frame_folder(tmp_path / part / "cat" / "v", 20)
    with pytest.raises(ValueError, match="split: "):
        Layout("folder").find(tmp_path)
    (source,) = Layout("folder", "train", conditional=True).find(tmp_path).sources
    assert (source.label, source.part) == ("cat", "train")
    assert len(Layout("folder", "both").find(tmp_path).sources) == 2
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        Layout("folder").find(tmp_path / "nowhere")


@pytest.mark.parametrize("decode", [False, True])
def test_a_census_tells_what_cannot_be_used(tmp_path: Path, decode: bool) -> None:
    root = data_sets.sky(tmp_path)
    (root / "sky_train" / "xyz" / "xyz_1" / "00020.png").write_bytes(b"no picture")
    (root / "sky_train" / "xyz" / "readme.txt").touch()
    counted = census(root, Layout("sky", "both").find(root), 16, decode, workers=0, progress=False)
    assert [source.path.name for source, _ in counted.short] == ["-abc_2"]
    assert len(counted.broken) == decode
    report = counted.report()
    usable = "2 of 4 can be used: train (1), test (1)" if decode else "3 of 4 can be used: train (2), test (1)"
    assert report[0] == f"videos: {usable}"
    assert any("-abc_2 (2)" in line for line in report)
    assert any("no videos or pictures: .txt (1)" in line for line in report)
    assert any("00020.png" in line for line in report) == decode
    assert report[-1] == f"file list: sha256 {counted.sha256}"
    with pytest.raises(ValueError, match="data: none of 4 videos can be used"):
        census(root, Layout("sky", "both").find(root), 1000, decode, workers=0, progress=False)
