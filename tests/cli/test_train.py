"""``digan-fast train`` and ``curves``, and the recipe of the shipped snapshot."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
import torch
import tyro

from digan_fast import load, snapshot, video
from digan_fast.cli.presentation import presented
from digan_fast.training.comparing import differences
from digan_fast.training.config import TrainConfig

ROOT = Path(__file__).resolve().parents[2]
SMALL = {
    "resolution": 8,
    "z-dim": 8,
    "w-dim": 8,
    "grid": 4,
    "sinusoids": 4,
    "rank": 2,
    "channel-base": 64,
    "channel-max": 8,
    "d-channel-base": 64,
    "d-channel-max": 8,
    "batch": 4,
    "tick-kimg": 0.008,
    "kimg": 0.016,
}
OPTIONS = [word for name, value in SMALL.items() for word in (f"--{name}", str(value))]


def test_from_a_video_file_to_curves_and_a_new_video(run, tmp_path):
    frames = (torch.randint(0, 255, (3, 16, 24), dtype=torch.uint8) for _ in range(20))
    video.write(tmp_path / "clip.mp4", frames)
    out = tmp_path / "run"
    code, printed, errors = run("train", tmp_path / "clip.mp4", "--out", out, "--no-mirror", *OPTIONS)
    assert code == 0, errors
    assert printed.strip() == str(out / "snapshot.safetensors")
    code, printed, errors = run("curves", out)
    assert code == 0, errors
    assert Path(printed.strip()).stat().st_size > 1000
    for given, name in ((out / "snapshot.safetensors", "new.gif"), (out, "same.gif")):
        code, _, errors = run("generate", given, "--out", tmp_path / name, "--frames", 3)
        assert code == 0, errors
    assert video.read(tmp_path / "new.gif")[0].shape == (3, 3, 8, 8)
    assert (tmp_path / "same.gif").read_bytes() == (tmp_path / "new.gif").read_bytes()
    code, _, errors = run("train", tmp_path / "clip.mp4", "--out", out, "--no-mirror", *OPTIONS, "--resume")
    assert code == 0, errors
    assert "resume: the run is finished, after 16 pairs; a larger --kimg goes on with it" in errors
    code, _, errors = run("train", tmp_path / "clip.mp4", "--out", tmp_path / "next", "--init", out, *OPTIONS)
    assert code == 0, errors
    assert "parameters of G" in errors


def test_a_folder_that_is_no_run_is_named(run, tmp_path):
    code, _, errors = run("generate", tmp_path, "--out", tmp_path / "x.gif")
    assert code == 1
    assert str(tmp_path / "snapshot.safetensors") in errors


def test_errors_are_one_line(run, tmp_path):
    code, _, errors = run("train", tmp_path / "nothing")
    assert (code, errors.strip()) == (1, f"digan-fast train: error: data: {tmp_path / 'nothing'} does not exist")
    assert run("train", tmp_path, "--crop", "middle")[0] == 2
    code, _, errors = run("curves", tmp_path)
    assert code == 1
    assert "log.jsonl" in errors


def test_the_shipped_snapshot_matches_its_page():
    path = snapshot.shipped()
    assert path.stat().st_size <= 8e6
    shipped = load(path)
    assert shipped.G is not None
    assert shipped.G_ema is not None
    for own, average in zip(shipped.G.parameters(), shipped.G_ema.parameters(), strict=True):
        assert torch.equal(own, average)
    assert shipped.D is None
    assert "CC-BY 3.0" in shipped.metadata["attribution"]
    page = (ROOT / "docs" / "rabbit.md").read_text()
    command = re.search(r"^digan-fast train ((?:.*\\\n)*.*)", page, re.MULTILINE)
    assert command is not None
    words = shlex.split(command[1].replace("\\\n", " "))
    config = tyro.cli(presented(TrainConfig), args=words, config=(tyro.conf.FlagCreatePairsOff,))
    recorded = json.loads((ROOT / "digan_fast" / "assets" / "rabbit.json").read_text())
    assert differences(config, recorded) == {}
    assert config.kimg == recorded["kimg"]
    assert shipped.G_ema.init_kwargs == json.loads(json.dumps({**config.generator_kwargs(0), "ours": True}))


@pytest.mark.parametrize("seed", [0, 5])
def test_the_shipped_snapshot_moves(seed):
    """A rabbit that gets up: pixels change by 0.27 on average between the first and last frame, of a range of 2."""
    G = load(snapshot.shipped()).G_ema
    generator = torch.Generator().manual_seed(seed)
    z, motion = torch.randn(2, 1, G.z_dim, generator=generator).unbind()
    frames = G.inr(z, z_motion=motion).render([0.0, 1.0])
    assert (frames[:, 0] - frames[:, 1]).abs().mean() > 0.2


def test_errors_name_the_option(tmp_path, failing):
    video.write_image(tmp_path / "data" / "0.png", torch.zeros(3, 8, 8, dtype=torch.uint8))
    file = tmp_path / "file"
    file.write_text("")
    assert "error: --out: " in failing(1, "train", tmp_path / "data", "--out", file / "run")
