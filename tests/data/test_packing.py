"""Packed files: what they hold, that interruptions and workers change nothing, what is left out."""

from __future__ import annotations

import errno
import itertools
import os
import pickle
import signal
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import data_sets
import pytest
import torch
from PIL import Image
from small_runs import frame_folder

from digan_fast import video
from digan_fast.data import packing
from digan_fast.data.finding import find_videos
from digan_fast.data.layouts import Layout
from digan_fast.data.packed import MAGIC, Pack
from digan_fast.data.packing import Preparation
from digan_fast.data.sources import fingerprint, name_of


def pack(root: Path, out: Path, layout: str = "folder", part: str | None = None, **options: Any) -> Pack:
    chosen = Layout(layout, part)
    how = Preparation(**{"resolution": 8, **{k: v for k, v in options.items() if k not in ("workers", "strict")}})
    rest = {k: v for k, v in options.items() if k in ("workers", "strict")}
    return packing.pack(root, chosen.find(root), how, chosen.record(), out, progress=False, **rest)


def test_raw_frames_are_those_of_the_videos(tmp_path: Path) -> None:
    root = data_sets.ucf101(tmp_path / "UCF-101")
    packed = pack(root, tmp_path / "ucf.pack", "ucf101", "both", first=2, stop=19)
    assert [(v.name, v.label, v.part, v.frames, v.first) for v in packed.videos] == [
        ("Archery/v_Archery_g01_c01.avi", "Archery", "test", 17, 0),
        ("Archery/v_Archery_g02_c01.avi", "Archery", "train", 17, 17),
        ("YoYo/v_YoYo_g01_c01.avi", "YoYo", "train", 17, 34),
    ]
    assert packed.classes == ["Archery", "YoYo"]
    assert [(v.width, v.height, v.rate) for v in packed.videos] == [(24, 16, 25.0)] * 3
    for number, entry in enumerate(packed.videos):
        frames = itertools.islice(video.iter_frames(root / entry.name), 2, 19)
        expected = torch.stack([video.square(frame, 8) for frame in frames])
        assert torch.equal(packed.frames(number, range(17)), expected)
        assert torch.equal(packed.frames(number, [16, 3, 3]), expected[[16, 3, 3]])
        assert torch.equal(torch.stack(list(packed.sources()[number].frames())), expected)
    assert packed.record["set"] == "ucf101"
    assert any("in none of the lists" in line for line in packed.left_out)
    again = pickle.loads(pickle.dumps(packed))
    assert torch.equal(again.frames(2, [0]), packed.frames(2, [0]))
    with pytest.raises(IndexError, match="frame 17 of Archery"):
        packed.frames(0, [17])


def test_jpeg_frames_are_close_and_random(tmp_path: Path) -> None:
    """A smooth picture at quality 95 is within a few levels; frames are read in any order."""
    y, x = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    frames = [torch.stack((4 * x, 4 * y, 4 * x + 2 * t)).to(torch.uint8) for t in range(20)]
    video.write(tmp_path / "v", iter(frames))
    packed = pack(tmp_path / "v", tmp_path / "v.pack", resolution=32, encoding="jpeg")
    assert packed.record["frames"]["quality"] == 95
    order = [19, 0, 7, 7]
    error = (packed.frames(0, order).int() - torch.stack([frames[n] for n in order]).int()).abs()
    assert error.max() <= 8
    assert error.float().mean() < 1.5
    raw = pack(tmp_path / "v", tmp_path / "raw.pack", resolution=32)
    assert packed.path.stat().st_size < raw.path.stat().st_size / 2


@pytest.mark.parametrize("encoding", ["raw", "jpeg"])
def test_broken_and_short_videos_are_listed_and_skipped(tmp_path: Path, encoding: str) -> None:
    root = data_sets.sky(tmp_path / "sky")
    (root / "sky_train" / "xyz" / "xyz_1" / "00020.png").write_bytes(b"no picture")
    packed = pack(root, tmp_path / "sky.pack", "sky", "both", shortest=16, encoding=encoding)
    assert [v.name for v in packed.videos] == ["sky_train/-abc/-abc_1", "sky_test/qq/qq_1"]
    levels = packed.frames(1, range(16))[:, 0, 0, 7]
    assert (levels - torch.arange(0, 64, 4)).abs().max() <= (0 if encoding == "raw" else 2)
    assert any("00020.png" in line for line in packed.left_out)
    assert any("shorter than the 16 frames of a clip" in line and "-abc_2 (2)" in line for line in packed.left_out)
    assert not list(tmp_path.glob(".*"))
    with pytest.raises(ValueError, match=r"data: .*00020\.png"):
        pack(root, tmp_path / "strict.pack", "sky", "both", strict=True)
    with pytest.raises(ValueError, match=r"data: no video has the 99 frames of a clip.*1 of 4 cannot be read: .*00020"):
        pack(root, tmp_path / "none.pack", "sky", "both", shortest=99)
    assert not list(tmp_path.glob("none*")) + list(tmp_path.glob(".none*"))


def test_zip_files_and_packed_files_are_packed(tmp_path: Path) -> None:
    archive = data_sets.zipped_frames(tmp_path / "v.zip", {"a": 20, "b": 17})
    zipped = pack(archive, tmp_path / "zip.pack", "stylegan-v")
    folder = pack(tmp_path / "v", tmp_path / "folder.pack", "stylegan-v")
    again = pack(zipped.path, tmp_path / "again.pack", "packed", resolution=4)
    for number in range(2):
        frames = zipped.frames(number, range(17))
        assert torch.equal(frames, folder.frames(number, range(17)))
        assert torch.equal(again.frames(number, range(17)), torch.stack([video.square(f, 4) for f in frames]))


@pytest.mark.parametrize("is_packed", [False, True])
def test_a_relative_path_names_the_same_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_packed: bool) -> None:
    path = tmp_path / "videos"
    for name in ("a", "b"):
        frame_folder(path / name, 17)
    if is_packed:
        path = pack(path, tmp_path / "videos.pack").path
    whole = find_videos(path)
    monkeypatch.chdir(tmp_path)
    near = find_videos(path.name)
    assert fingerprint(Path(path.name), near) == fingerprint(path, whole)
    names = [name_of(source, path) for source in whole]
    assert [name_of(source, Path(path.name)) for source in near] == names


def test_zipped_pictures_are_turned_as_viewers_show_them(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = Image.new("RGBA", (16, 8), (200, 100, 0, 128))
    picture.paste((0, 200, 0, 255), (0, 0, 8, 8))
    (tmp_path / "v").mkdir()
    picture.save(tmp_path / "v" / "0.png", exif=exif)
    with zipfile.ZipFile(tmp_path / "v.zip", "w") as archive:
        archive.write(tmp_path / "v" / "0.png", "v/0.png")
    frame = pack(tmp_path / "v.zip", tmp_path / "v.pack", "stylegan-v").frames(0, [0])[0]
    assert frame[:, 1, 4].tolist() == [0, 200, 0]
    assert (frame[:, 6, 4] - torch.tensor([100, 50, 0])).abs().max() <= 1
    assert torch.equal(frame, video.square(video.read(tmp_path / "v")[0][0], 8))


def test_a_full_disk_is_named_and_nothing_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for index in range(3):
        frame_folder(tmp_path / "v" / str(index), 5)
    monkeypatch.setattr(packing, "_JOURNAL", 0.0)
    kept = packing._kept

    def full(frames: Any, journal: Any, pending: Any) -> None:
        if Path(frames.name).stat().st_size > 1500:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        kept(frames, journal, pending)

    monkeypatch.setattr(packing, "_kept", full)
    with pytest.raises(OSError, match=r"v\.pack: not written, no space left on device"):
        pack(tmp_path / "v", tmp_path / "v.pack")
    monkeypatch.setattr(packing, "_kept", kept)
    assert len((tmp_path / ".v.pack.packing" / "journal").read_text().splitlines()) == 3
    assert pack(tmp_path / "v", tmp_path / "v.pack").frame_count == 15


@pytest.mark.parametrize("encoding", ["raw", "jpeg"])
@pytest.mark.parametrize("stop", [1, 4])
def test_an_interrupted_packing_goes_on_to_the_same_bytes(
    tmp_path: Path, encoding: str, stop: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for index in range(6):
        frame_folder(tmp_path / "v" / str(index), 5 + index)
    monkeypatch.setattr(packing, "_JOURNAL", 0.0)
    whole = pack(tmp_path / "v", tmp_path / "whole.pack", encoding=encoding, shortest=6)
    decoded, done = packing._decoded, []

    def stopping(task: Any, **rest: Any) -> Any:
        if len(done) == stop:
            raise KeyboardInterrupt
        done.append(task[0])
        return decoded(task, **rest)

    monkeypatch.setattr(packing, "_decoded", stopping)
    out = tmp_path / "parts.pack"
    with pytest.raises(KeyboardInterrupt):
        pack(tmp_path / "v", out, encoding=encoding, shortest=6)
    assert not out.exists()
    (work,) = tmp_path.glob(".parts.pack.*")
    with open(work / "frames", "ab") as frames:
        frames.write(b"what was not journalled")
    with open(work / "journal", "a") as journal:
        journal.write('{"frames": 3')
    with pytest.raises(ValueError, match=r"out: .*packing holds \d videos of another packing"):
        pack(tmp_path / "v", out, encoding=encoding, shortest=6, crop="left")
    done.clear()
    monkeypatch.setattr(packing, "_decoded", decoded)
    again = pack(tmp_path / "v", out, encoding=encoding, shortest=6)
    assert out.read_bytes() == whole.path.read_bytes()
    assert [v.frames for v in again.videos] == [6, 7, 8, 9, 10]
    inode = out.stat().st_ino
    pack(tmp_path / "v", out, encoding=encoding, shortest=6)
    assert out.stat().st_ino == inode
    with pytest.raises(ValueError, match="exists with other contents"):
        pack(tmp_path / "v", out, encoding=encoding, shortest=5)


def test_killed_with_workers_it_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    for index in range(40):
        frame_folder(tmp_path / "v" / f"{index:02d}", 40, size=(64, 64))
    whole = pack(tmp_path / "v", tmp_path / "whole.pack", resolution=32, encoding="jpeg")
    out = tmp_path / "killed.pack"
    words = ["data", "pack", str(tmp_path / "v"), "--set", "folder", "--resolution", "32", "--encoding", "jpeg"]
    words += ["--shortest", "1", "--workers", "1", "--out", str(out)]
    killing = (
        "import os, signal, sys; from digan_fast.cli import main; from digan_fast.data import packing\n"
        "class Bar(packing.tqdm):\n"
        "    def update(self, n=1):\n"
        "        super().update(n)\n"
        "        if self.n == 4: os.kill(os.getpid(), signal.SIGKILL)\n"
        "packing.tqdm = Bar; sys.exit(main(sys.argv[1:]))"
    )
    killed = subprocess.run([sys.executable, "-c", killing, *words], capture_output=True)
    assert killed.returncode == -signal.SIGKILL
    work = tmp_path / ".killed.pack.packing"
    assert not out.exists()
    assert work.exists()
    subprocess.run([sys.executable, "-m", "digan_fast", *words], check=True, capture_output=True)
    assert out.read_bytes() == whole.path.read_bytes()
    assert not work.exists()


def test_damaged_files_are_named(tmp_path: Path) -> None:
    frame_folder(tmp_path / "v", 20)
    good = pack(tmp_path / "v", tmp_path / "v.pack").path
    content = good.read_bytes()
    bad = tmp_path / "bad.pack"
    for damaged, expected in (
        (b"", "not a packed file"),
        (MAGIC, "incomplete"),
        (content[:-1], "incomplete or cut off"),
        (content[: len(content) // 2], "incomplete or cut off"),
        (content[:-100] + b"x" + content[-99:], "its index has another checksum"),
    ):
        bad.write_bytes(damaged)
        with pytest.raises(ValueError, match=rf"bad\.pack: .*{expected}"):
            Pack(bad)
    bad.write_bytes(content[:100] + bytes([content[100] ^ 1]) + content[101:])
    with pytest.raises(ValueError, match=r"bad\.pack/v: frame 0 is damaged: it has another checksum than recorded$"):
        list(Pack(bad).sources()[0].frames())


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc")
def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    """Peak memory while 100 MB are packed, read from end to end, and drawn from: within 8 MB of that for 2 MB."""
    code = """
import sys, torch
from dataclasses import dataclass
from pathlib import Path
from digan_fast.data import packing
from digan_fast.data.finding import find_videos
from digan_fast.data.clips import Clips
from digan_fast.data.finding import Findings
from digan_fast.data.sources import Source

@dataclass(frozen=True)
class Made(Source):
    frame_count: int = 0
    def frames(self, fps=None):
        return (torch.full((3, 64, 64), index % 256, dtype=torch.uint8) for index in range(self.frame_count))
    def rate(self):
        return None
    def files(self):
        return []

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024

def work(count):
    root = Path(sys.argv[1])
    found = Findings([Made(root / f"{count}", None, frame_count=count)])
    how = packing.Preparation(64)
    packed = packing.pack(root, found, how, {}, root / f"{count}.pack", progress=False)
    for frame in packed.sources()[0].frames():
        pass
    Clips(packed).batch(0, 64)
    return packed.path.stat().st_size

work(200)
before = peak()
assert work(8000) > 98e6
print(peak() - before)
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 8e6


def test_a_second_packing_of_the_same_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frame_folder(tmp_path / "v", 20)
    decoded = packing._decoded

    def meanwhile(task: Any, **rest: Any) -> Any:
        with pytest.raises(ValueError, match="out: another process packs"):
            pack(tmp_path / "v", tmp_path / "v.pack")
        return decoded(task, **rest)

    monkeypatch.setattr(packing, "_decoded", meanwhile)
    assert pack(tmp_path / "v", tmp_path / "v.pack").frame_count == 20
