"""``digan-fast data check`` and ``digan-fast data pack``."""

from __future__ import annotations

import re
from pathlib import Path

import data_sets
import pytest

from digan_fast.cli import main
from digan_fast.data.packed import Pack


def test_check_prints_what_a_set_holds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = data_sets.ucf101(tmp_path / "UCF-101")
    (root / "YoYo" / "v_YoYo_g02_c01.avi").write_bytes(b"no video")
    assert main(["data", "check", str(root), "--set", "ucf101", "--workers", "0"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[:5] == [
        "videos: 3 of 3 can be used: train (2), test (1)",
        "frames: 60; a video has 20 to 20, the median 20",
        "sizes: 24×16 (3)",
        "rates: 25/s (3)",
        "classes: 2: Archery (2), YoYo (1)",
    ]
    assert out[-1].startswith("file list: sha256 ")
    assert main(["data", "check", str(root), "--set", "folder", "--workers", "0"]) == 3
    out = capsys.readouterr().out.splitlines()
    assert "broken: 1" in out
    assert f"  {root / 'YoYo' / 'v_YoYo_g02_c01.avi'}" in out[out.index("broken: 1") + 1]


@pytest.mark.parametrize("decode", [False, True])
def test_the_exit_status_of_check(tmp_path: Path, capsys: pytest.CaptureFixture[str], decode: bool) -> None:
    """Short videos are no damage; damage after the first frame is found by decoding."""
    root = data_sets.sky(tmp_path / "sky")
    words = ["data", "check", str(root), "--set", "sky", "--workers", "0", *["--decode"] * decode]
    assert main(words) == 0
    assert "shorter than 16 frames: 1" in capsys.readouterr().out
    (root / "sky_train" / "xyz" / "xyz_1" / "00003.png").write_bytes(b"no picture")
    assert main(words) == (3 if decode else 0)
    (root / "sky_train" / "xyz" / "xyz_1" / "00000.png").write_bytes(b"no picture")
    assert main(words) == 3
    assert main(["data", "check", "--help"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "The exit status is 0 if every video can be read, 3 if some cannot" in told


@pytest.mark.parametrize("encoding", ["raw", "jpeg"])
def test_check_finds_damage_of_a_packed_file(tmp_path: Path, capsys: pytest.CaptureFixture[str], encoding: str) -> None:
    root = data_sets.sky(tmp_path / "sky")
    out = tmp_path / "sky.pack"
    packing = ["data", "pack", str(root), "--set", "sky", "--resolution", "8", "--encoding", encoding]
    assert main([*packing, "--out", str(out), "--workers", "0"]) == 0
    found = Pack(out)
    at = found._span(found.videos[1].first + 7, found.frame_count)[0] + 5
    content = bytearray(out.read_bytes())
    content[at] ^= 1
    out.write_bytes(content)
    capsys.readouterr()
    assert main(["data", "check", str(out), "--set", "packed", "--decode", "--workers", "0"]) == 3
    lines = capsys.readouterr().out.splitlines()
    assert "broken: 1" in lines
    why = "frame 7 is damaged: it has another checksum than recorded"
    assert lines[lines.index("broken: 1") + 1] == f"  {out / found.videos[1].name}: {why}"


def test_errors_of_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data_sets.sky(tmp_path)
    words = ["data", "check", str(tmp_path), "--workers", "0"]
    for more, code, expected in (
        (["--set", "taichi"], 1, "error: --split: .* has no folder train for train"),
        (["--set", "sky", "--shortest", "99"], 1, "error: data: none of 4 videos can be used"),
        (["--set", "sky", "--shortest", "0"], 2, "error: --shortest: 0, expected 1 to"),
        (["--set", "sky", "--conditional"], 2, "error: --conditional: the set sky has"),
        (["--set", "ucf102"], 2, "ucf102"),
        ([], 2, "--set"),
    ):
        assert main([*words, *more]) == code
        _, _, line = capsys.readouterr().err.strip().rpartition("\n")
        assert re.search(expected, line), line


def test_data_alone_lists_its_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data"]) == 0
    assert "data check" in capsys.readouterr().out
    assert main(["data", "chek"]) == 2
    assert "'data chek' is no command, expected one of data check, data pack" in capsys.readouterr().err


def test_pack_lists_what_it_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = data_sets.sky(tmp_path / "sky")
    out = tmp_path / "sky.pack"
    words = ["data", "pack", str(root), "--set", "sky", "--split", "train", "--out", str(out), "--workers", "0"]
    assert main([*words, "--resolution", "8", "--encoding", "jpeg"]) == 0
    told = capsys.readouterr()
    assert told.out.splitlines() == ["2 videos, 53 frames, 0 MiB", str(out)]
    assert "left out: 1 shorter than the 16 frames of a clip" in told.err
    packed = Pack(out)
    assert packed.record["set"] == "sky"
    assert packed.record["frames"]["quality"] == 95
    assert main(["data", "check", str(out), "--set", "packed", "--decode", "--workers", "0"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [
        "videos: 2 of 2 can be used: train (2)",
        "frames: 53; a video has 20 to 33, the median 33",
    ]
    for more, code, expected in (
        (["--resolution", "0"], 2, "--resolution: 0, expected 1 to"),
        (["--resolution", "8", "--quality", "0"], 2, "--quality: 0, expected 1 to 100"),
        (["--resolution", "8", "--frames", "3"], 2, "--frames: '3', expected START:STOP"),
        (["--resolution", "16"], 1, r"--out: .*sky\.pack exists with other contents"),
    ):
        assert main([*words, *more]) == code
        assert re.search(expected, capsys.readouterr().err)
