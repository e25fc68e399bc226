"""Data and caches that are damaged in places: found before the work begins, and left out or computed again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from test_evaluate import numbers, write_videos

from digan_fast import video
from digan_fast.metrics import decoding, extraction

COUNTS = ("--protocol", "digan-proxy", "--real", 12, "--fake", 6, "--trials", 2)


def write_truncated(path: Path, frames: int = 40) -> None:
    """A video whose index comes first and promises more than is there, as an interrupted download leaves it."""
    av = pytest.importorskip("av")
    whole = path.with_name(f".{path.name}")
    pictures = torch.randint(0, 256, (3, 16, 16 + frames), dtype=torch.uint8)
    video.write(whole, [pictures[:, :, shift : shift + 16] for shift in range(frames)])
    with av.open(str(whole)) as old, av.open(str(path), "w", options={"movflags": "faststart"}) as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(old.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                new.mux(packet)
    whole.unlink()
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 4])
    assert video.frame_count(path) > 16
    next(iter(video.iter_frames(path)))


def damage_a_frame(folder: Path, index: int) -> Path:
    path = sorted(folder.iterdir())[index]
    path.write_bytes(path.read_bytes()[:90])
    return path


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    """Three sound videos, one truncated, and a folder with a broken picture in the middle."""
    data = write_videos(tmp_path / "data")
    write_truncated(data / "cut.mp4")
    write_videos(data / "frames", videos=1, frames=40)
    damage_a_frame(data / "frames" / "video0", 25)
    return data


def test_videos_damaged_further_in_are_left_out_before_the_work(run, snapshots, damaged, tmp_path, monkeypatch) -> None:
    out, sound = tmp_path / "result.json", write_videos(tmp_path / "sound")
    assert run("evaluate", snapshots["plain"], sound, *COUNTS, "--out", out)[0] == 0
    expected = numbers(out)

    class SoundOnly(decoding.ClipReader):
        def __init__(self, source, *others):
            assert source.path.parent == damaged
            assert source.path.name != "cut.mp4"
            super().__init__(source, *others)

    for module in (decoding, extraction):
        monkeypatch.setattr(module, "ClipReader", SoundOnly)
    for _ in range(2):  # the second time from the cache
        code, _, err = run("evaluate", snapshots["plain"], damaged, *COUNTS, "--out", out)
        assert code == 0, err
        left = json.loads(out.read_text())["data"]["left_out"]
        assert [line.partition(": ")[0] for line in left] == [
            str(damaged / "cut.mp4"),
            str(damaged / "frames" / "video0" / "025.png"),
        ]
        assert "damaged" in left[0]
        assert "damaged" in left[1]
        assert all(f"data: left out: {line}" in err for line in left)
        # The clips are those that are drawn where these files never were.
        assert numbers(out) == expected


def test_videos_are_drawn_again_until_all_are_sound(run, snapshots, tmp_path) -> None:
    """What is drawn in place of a damaged video may be damaged as well."""
    data = write_videos(tmp_path / "data", videos=12)
    for number in range(0, 12, 2):
        damage_a_frame(data / f"video{number}", 18)
    words = ("--protocol", "stylegan-v", "--real", 5, "--fake", 5)
    code, shown, err = run("evaluate", snapshots["plain"], data, *words, "--out", tmp_path / "result.json")
    assert code == 0, err
    left = json.loads((tmp_path / "result.json").read_text())["data"]["left_out"]
    assert 0 < len(left) <= 6
    assert all("018.png: damaged" in line for line in left)
    assert "5 real, 5 generated" in shown


def test_too_few_sound_videos(run, snapshots, tmp_path, monkeypatch) -> None:
    data = write_videos(tmp_path / "data")
    broken = [damage_a_frame(data / f"video{number}", 10) for number in range(3)]
    monkeypatch.setattr(extraction.RealFeatures, "compute", None)
    code, _, err = run("evaluate", snapshots["plain"], data, *COUNTS, "--out", tmp_path / "result.json")
    assert code == 1
    assert f"3 cannot be read: {broken[0]}: damaged" in err
    assert not (data / ".digan_fast").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_video_that_ends_early_counts_the_frames_there_are(run, snapshots, tmp_path, monkeypatch) -> None:
    data, out = write_videos(tmp_path / "data"), tmp_path / "result.json"
    assert run("evaluate", snapshots["plain"], data, *COUNTS, "--out", out, "--cache", tmp_path / "one")[0] == 0
    expected = numbers(out)
    count = video.frame_count
    more = {"video1": 40, "video2": 3}
    monkeypatch.setattr(video, "frame_count", lambda path: count(path) + more.get(Path(path).name, 0))
    # Every clip is drawn, so that the order alone is another.
    code, _, err = run("evaluate", snapshots["plain"], data, *COUNTS, "--out", out, "--cache", tmp_path / "two")
    assert code == 0, err
    line = f"2 with fewer frames than their index promises, such as {data / 'video1'} (20 of 60)"
    assert json.loads(out.read_text())["data"]["left_out"] == [line]
    assert f"data: left out: {line}" in err
    assert numbers(out) == expected


def test_a_frame_of_another_size_further_in(run, snapshots, tmp_path, monkeypatch) -> None:
    data = write_videos(tmp_path / "data")
    Image.new("RGB", (20, 16)).save(data / "video2" / "019.png")
    monkeypatch.setattr(extraction.RealFeatures, "compute", None)
    words = ("--protocol", "digan-proxy", "--real", 15, "--fake", 6)
    code, _, err = run("evaluate", snapshots["plain"], data, *words, "--out", tmp_path / "result.json")
    assert code == 1
    assert f"{data / 'video2'}: a frame of 20×16, expected 16×16" in err


@pytest.mark.parametrize("kind", ["cut short", "not a number", "fewer clips"])
def test_damaged_features_are_computed_again(run, snapshots, tmp_path, kind) -> None:
    data, out = write_videos(tmp_path / "data"), tmp_path / "result.json"
    assert run("evaluate", snapshots["plain"], data, *COUNTS, "--out", out)[0] == 0
    expected = numbers(out)
    (block,) = data.rglob("0*.safetensors")
    content = block.read_bytes()
    if kind == "fewer clips":
        block.write_bytes(content.replace(b"[15,1,224]", b"[ 5,3,224]"))
        assert block.read_bytes() != content
    else:
        block.write_bytes(content[:500] if kind == "cut short" else content[:-8] + b"\xff" * 8)
    code, _, err = run("evaluate", snapshots["plain"], data, *COUNTS, "--out", out)
    assert code == 0, err
    assert numbers(out) == expected
    assert block.read_bytes() == content
