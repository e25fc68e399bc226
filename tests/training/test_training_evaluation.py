"""Evaluations in the course of a run: logged, recorded, drawn, and without effect on the run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from small_runs import log

from digan_fast.training.config import TrainConfig
from digan_fast.training.curves import _panels, plot
from digan_fast.training.loop import train

TITLE = "digan-proxy, changed: real 4, fake 4"


@pytest.fixture
def evaluated(config: TrainConfig) -> TrainConfig:
    return replace(config, evaluate_kimg=0.02, evaluate_count=4)


def measured(config: TrainConfig) -> list[dict[str, float]]:
    return [line for line in log(config) if any(name.startswith("evaluation/") for name in line)]


def test_they_are_logged_recorded_and_drawn(evaluated: TrainConfig) -> None:
    train(evaluated)
    lines = measured(evaluated)
    assert [line["pairs"] for line in lines] == [20, 40]
    names = [f"{metric}-random3d [{TITLE}]" for metric in ("FD", "KD")]
    for line in lines:
        kept = json.loads((evaluated.out / "evaluations" / f"{line['pairs']:09d}.json").read_text())
        for name, score in zip(names, kept["scores"], strict=True):
            assert line[f"evaluation/{name}"] == score["mean"]
            assert score["protocol"]["size"] == 8
        assert kept["scores"][0]["protocol"]["at_most"]
        assert kept["pairs"] == line["pairs"]
        assert kept["data"]["left_out"] == []
    assert lines[0][f"evaluation/{names[0]}"] != lines[1][f"evaluation/{names[0]}"]
    panels = _panels(log(evaluated))
    assert list(panels)[-2:] == names
    with Image.open(plot(evaluated.out)) as picture:
        assert picture.width > 1500


def test_the_run_is_the_same_without_them(config: TrainConfig, evaluated: TrainConfig, tmp_path: Path) -> None:
    train(evaluated)
    plain = replace(config, out=tmp_path / "plain")
    train(plain)
    states = [torch.load(each.out / "state.pt", weights_only=True) for each in (evaluated, plain)]
    for name in ("G", "D", "G_ema"):
        assert all(torch.equal(states[0][name][key], states[1][name][key]) for key in states[0][name])
    losses = [[line for line in log(each) if "loss/G" in line] for each in (evaluated, plain)]
    assert [line["loss/G"] for line in losses[0]] == [line["loss/G"] for line in losses[1]]


def test_a_resumed_run_measures_the_same(evaluated: TrainConfig, tmp_path: Path) -> None:
    train(evaluated)
    whole = measured(evaluated)
    half = replace(evaluated, out=tmp_path / "half", kimg=0.02)
    train(half)
    assert len(measured(half)) == 1
    rest = replace(half, kimg=0.04, resume=True)
    train(rest)
    values = [
        {name: line[name] for name in line if name not in ("seconds", "seconds_left", "waiting")} for line in whole
    ]
    assert [
        {name: line[name] for name in line if name not in ("seconds", "seconds_left", "waiting")}
        for line in measured(rest)
    ] == values


def test_a_wrong_file_is_refused_before_the_data_are_read(evaluated: TrainConfig, tmp_path: Path) -> None:
    torch.save({"a": torch.ones(1)}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match=r"evaluate_features: .*other\.pt: 1 tensors .* expected the weights of I3D"):
        train(replace(evaluated, evaluate_features=str(tmp_path / "other.pt")))
    with pytest.raises(ValueError, match="evaluate_count: 1, expected 2 to"):
        train(replace(evaluated, evaluate_count=1))
    assert not evaluated.out.exists()
