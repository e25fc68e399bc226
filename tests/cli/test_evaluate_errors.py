"""Bad input of ``digan-fast evaluate``: an error that names the file and what was expected, before the work begins."""

from __future__ import annotations

import os
from pathlib import Path

import numpy
import pytest
import torch
from PIL import Image
from test_evaluate import COUNTS, write_videos

from digan_fast import snapshot
from digan_fast.metrics import extraction


@pytest.fixture
def refused(run, snapshots, tmp_path, monkeypatch):
    """A function that runs a command that must fail before any feature is stored, and returns its last line."""

    def never(self):
        raise AssertionError("the work began")

    monkeypatch.setattr(extraction.RealFeatures, "compute", never)

    def call(data: Path, *words: object, code: int = 1) -> str:
        found, out, err = run("evaluate", snapshots["plain"], data, *words, "--out", tmp_path / "result.json")
        assert (found, out) == (code, ""), err
        assert not (tmp_path / "result.json").exists()
        return err.splitlines()[-1]

    return call


def test_too_few_videos(refused, tmp_path) -> None:
    data = write_videos(tmp_path / "data")
    err = refused(data, "--protocol", "digan")
    assert f"{data}: 15 clips of 16 frames in 3 videos, expected 2048 for the protocol digan" in err
    assert "--real takes fewer" in err
    one = write_videos(tmp_path / "one", videos=1)
    assert "1 clips of 16 frames in 1 video, expected 2" in refused(one, "--protocol", "stylegan-v")


def test_short_clips(refused, tmp_path) -> None:
    data = write_videos(tmp_path / "data", frames=12)
    assert f"{data}: the longest of 3 videos has 12 frames to use, expected 16 or more" in refused(data, *COUNTS)
    long = write_videos(tmp_path / "long", frames=30)
    err = refused(long, *COUNTS, "--clip-stride", 4)
    assert "expected 61 or more for clips of 16 frames, 4 apart" in err


def test_a_features_file_of_another_network(refused, tmp_path) -> None:
    data = write_videos(tmp_path / "data")
    torch.save({"fc.weight": torch.ones(3, 2)}, tmp_path / "resnet.pt")
    err = refused(data, *COUNTS, "--features", tmp_path / "resnet.pt")
    assert f"{tmp_path / 'resnet.pt'}: 1 tensors (fc.weight [3, 2], …), expected the weights of I3D" in err
    err = refused(data, *COUNTS, "--metrics", "fvd", code=2)
    assert "--features: random3d, seed 0 (random3d), expected a file of i3d for fvd" in err
    assert "does not download" in err
    assert "expected some of fvd, kvd" in refused(data, *COUNTS, "--metrics", "fvd,lpips", code=2)


def test_mixed_sizes(refused, tmp_path) -> None:
    data = write_videos(tmp_path / "data")
    write_videos(data / "more", videos=1, side=24)
    err = refused(data, *COUNTS)
    assert f"{data / 'more' / 'video0'}: a frame of 24×24, expected 16×16, the resolution of plain.safetensors" in err
    assert "--crop center" in err
    # One frame among others.
    data = write_videos(tmp_path / "frame")
    Image.new("RGB", (20, 16)).save(data / "video0" / "009.png")
    assert "a frame of 20×16" in refused(data, *COUNTS)


def test_a_snapshot_of_another_resolution(refused, tmp_path) -> None:
    data = write_videos(tmp_path / "data", side=32)
    assert "a frame of 32×32, expected 16×16" in refused(data, *COUNTS)
    small = write_videos(tmp_path / "small", side=8)
    err = refused(small, *COUNTS, "--crop", "center")
    assert f"{small / 'video0'}: a frame of 8×8, which would be enlarged, expected 16×16" in err


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (0.0, 255.0)])
def test_colours_in_another_range(refused, tmp_path, monkeypatch, low, high) -> None:
    data = write_videos(tmp_path / "data")
    before = extraction.generate

    def scaled(*arguments):
        pictures = before(*arguments)
        span = pictures.max() - pictures.min()
        return (pictures - pictures.min()) / span * (high - low) + low

    monkeypatch.setattr(extraction, "generate", scaled)
    err = refused(data, *COUNTS)
    assert f"plain.safetensors: its first videos have colours from 0 to {high:g}, as if in [0, {high:g}]" in err
    assert "expected [−1, 1]" in err


def test_real_pictures_of_zeros_and_ones(refused, tmp_path) -> None:
    data = write_videos(tmp_path / "data")
    for path in data.rglob("*.png"):
        Image.fromarray((numpy.asarray(Image.open(path)) > 127).astype(numpy.uint8)).save(path)
    assert "hold no byte but 0 and 1: pictures in [0, 1] saved as bytes?" in refused(data, *COUNTS)


def test_pictures_that_are_not_finite(run, snapshots, tmp_path) -> None:
    data = write_videos(tmp_path / "data")
    generator = snapshot.load_generator(snapshots["plain"])
    with torch.no_grad():
        next(generator.synthesis.parameters()).fill_(torch.nan)
    snapshot.save(tmp_path / "broken.safetensors", {"G_ema": generator})
    code, out, err = run("evaluate", tmp_path / "broken.safetensors", data, *COUNTS)
    assert (code, out) == (1, "")
    assert "broken.safetensors, seed 0: its pictures are not finite" in err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--real", 1), "--real: 1, expected 2 to 4194304"),
        (("--fake", 10**10), "--fake: 10000000000, expected 2 to 4194304"),
        (("--trials", 0), "--trials: 0, expected 1 to 1000"),
        (("--features", "randon3d"), "--features: randon3d: no such file, expected a file of weights, or random3d or"),
        (("--out", "x.txt"), "--out: x.txt, expected the suffix .json"),
        (("--frames", "5"), "--frames: '5', expected START:STOP"),
        (("--fps", 0), "--fps: 0, expected 0.01 to 10000"),
        (("--seed", -1), "--seed: -1, expected 0 to"),
        (("--device", "tpu"), "--device: 'tpu' cannot be used"),
    ],
)
def test_invalid_options(failing, snapshots, tmp_path, words, expected) -> None:
    data = write_videos(tmp_path / "data")
    assert expected in failing(2, "evaluate", snapshots["plain"], data, *COUNTS, *words)


def test_a_snapshot_that_is_not_there(failing, tmp_path) -> None:
    data = write_videos(tmp_path / "data")
    (tmp_path / "run").mkdir()
    for given, missing in (("shiped", "shiped"), (tmp_path / "run", tmp_path / "run" / "snapshot.safetensors")):
        err = failing(1, "evaluate", given, data, *COUNTS)
        assert f"snapshot: {missing} does not exist, expected a snapshot, a published pickle, the folder of a" in err


def test_a_result_in_the_place_of_a_folder(failing, snapshots, tmp_path) -> None:
    data = write_videos(tmp_path / "data")
    folder = tmp_path / "result.json"
    folder.mkdir()
    err = failing(2, "evaluate", snapshots["plain"], data, *COUNTS, "--out", folder)
    assert f"--out: {folder} is a folder, where a file is to be written" in err
    err = failing(2, "evaluate", snapshots["plain"], data, *COUNTS, "--out", data / "video0" / "000.png" / "a.json")
    assert "--out: " in err
    assert "expected a folder" in err


def test_a_cache_that_cannot_be_written_to(refused, tmp_path, monkeypatch) -> None:
    data = write_videos(tmp_path / "data")
    (tmp_path / "file").write_text("")
    err = refused(data, *COUNTS, "--cache", tmp_path / "file")
    assert "features of real clips cannot be kept there: Not a directory; --cache names another folder" in err
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != data and real(path, mode))
    err = refused(data, *COUNTS)
    assert f"{data / '.digan_fast' / 'random3d-'}" in err
    assert "cannot be kept there: Permission denied; --cache names another folder" in err


def test_the_generator_is_tried_before_the_data_is_decoded(refused, tmp_path, monkeypatch) -> None:
    data = write_videos(tmp_path / "data")

    def not_finite(*arguments):
        raise ValueError("not finite")

    monkeypatch.setattr(extraction, "generate", not_finite)
    monkeypatch.setattr(extraction, "survey_frames", None)
    assert "not finite" in refused(data, *COUNTS)


def test_more_rows_than_a_covariance_adds_exactly(refused, tmp_path, monkeypatch) -> None:
    data = write_videos(tmp_path / "data")
    monkeypatch.setattr(extraction, "MOST_ROWS", 5)
    err = refused(data, *COUNTS)
    assert "fake: 6 clips of 1 rows of features each, expected at most 5 rows" in err
    err = refused(data, *COUNTS, "--fake", 3)
    assert "real: 6 clips of 1 rows of features each, expected at most 5 rows" in err
