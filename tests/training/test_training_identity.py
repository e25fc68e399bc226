"""A run does not go on with other data unnoticed; a copy elsewhere is the same data."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_runs import SMALL, frame_folder, words

from digan_fast.cli import main
from digan_fast.data import packing
from digan_fast.data.layouts import Layout
from digan_fast.data.packed import Pack
from digan_fast.data.packing import Preparation
from digan_fast.training.config import TrainConfig
from digan_fast.training.loop import train


def packed(root: Path, out: Path) -> Path:
    layout = Layout("folder")
    return packing.pack(root, layout.find(root), Preparation(8), layout.record(), out, progress=False).path


@pytest.fixture(params=["folder", "pack"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> TrainConfig:
    """A run of eight pairs."""
    data = frame_folder(tmp_path / "data" / "v", 20).parent
    if request.param == "pack":
        data = packed(data, tmp_path / "v.pack")
    config = TrainConfig(data=data, out=tmp_path / "run", **{**SMALL, "kimg": 0.008})  # type: ignore[arg-type]
    train(config)
    return config


def others(run: TrainConfig) -> Path:
    """Data of the same kind with one frame more."""
    folder = frame_folder(run.data.parent / "others" / "v", 21).parent
    return folder if run.data.is_dir() else packed(folder, run.data.parent / "others.pack")


def test_other_data_are_refused_unless_they_are_meant(run: TrainConfig, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path.name: path.read_bytes() for path in run.out.iterdir() if path.is_file()}
    more = replace(run, data=others(run), kimg=0.012)
    what = "list of files" if run.data.is_dir() else "frames"
    named = [rf"{re.escape(str(data))} \(sha256 of its {what}: [0-9a-f]{{64}}\)" for data in (run.data, more.data)]
    for last in ([], ["--dry-run"]):
        capsys.readouterr()
        assert main([*words(more), "--resume", *last]) == 1
        told = capsys.readouterr().err.strip().splitlines()[-1]
        assert re.fullmatch(rf".*--resume: the run read {named[0]}, not {named[1]}; --other-data goes on .*", told), (
            told
        )
    assert {path.name: path.read_bytes() for path in run.out.iterdir() if path.is_file()} == before
    assert main([*words(more), "--resume", "--other-data"]) == 0
    assert re.search(rf"resume: the run read {named[0]}, from here on it reads {named[1]}", capsys.readouterr().err)
    train(replace(more, resume=True, kimg=0.016))
    with pytest.raises(ValueError, match="resume: the run read"):
        train(replace(run, resume=True, kimg=0.02))


def test_a_copy_elsewhere_is_the_same_data(run: TrainConfig) -> None:
    moved = run.data.with_name("moved")
    if run.data.is_dir():
        shutil.copytree(run.data, moved)
    else:
        shutil.copy(run.data, moved)
    assert train(replace(run, data=moved, resume=True, kimg=0.012)).exists()


@pytest.mark.parametrize("run", ["pack"], indirect=True)
def test_the_same_frames_packed_again_are_the_same_data(run: TrainConfig) -> None:
    again = shutil.copytree(run.data.parent / "data", run.data.parent / "later" / "data", copy_function=shutil.copyfile)
    new = packed(again, run.data.parent / "again.pack")
    assert Pack(new).index_sha256 != Pack(run.data).index_sha256
    train(replace(run, data=new, resume=True, kimg=0.012))


def test_states_without_a_record_of_the_data_go_on(run: TrainConfig) -> None:
    state = torch.load(run.out / "state.pt", weights_only=True)
    assert Path(state.pop("data")["path"]) == run.data
    torch.save(state, run.out / "state.pt")
    train(replace(run, data=others(run), resume=True, kimg=0.012))
    assert "data" in torch.load(run.out / "state.pt", weights_only=True)


def test_other_data_need_a_run(run: TrainConfig, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words(run), "--other-data"]) == 2
    assert "--other-data: only a run that is resumed" in capsys.readouterr().err
