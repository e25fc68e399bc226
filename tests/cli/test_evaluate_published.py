"""FVD, KVD, FID and IS with files of seeded weights: which network serves which metric, and what is printed."""

from __future__ import annotations

import json
from pathlib import Path

import independent_i3d
import numpy
import pytest
import torch
from test_evaluate import write_videos

from digan_fast.metrics.features.c3d import C3D
from digan_fast.metrics.features.inception import Inception


@pytest.fixture
def measure(run, snapshots, tmp_path):
    """A function that evaluates with files of features, and returns the output and the scores by metric."""
    data = write_videos(tmp_path / "data", frames=24)

    def call(*words: object) -> tuple[str, dict[str, dict]]:
        out = tmp_path / "result.json"
        code, shown, err = run("evaluate", snapshots["plain"], data, *words, "--out", out)
        assert code == 0, err
        return shown, {score["metric"]: score for score in json.loads(out.read_text())["scores"]}

    return call


def test_fvd_and_kvd_share_features(measure, tmp_path: Path) -> None:
    torch.save(independent_i3d.weights(), tmp_path / "i3d.pt")
    words = ("--protocol", "stylegan-v", "--clips", "disjoint", "--fake", 2, "--features", tmp_path / "i3d.pt")
    shown, scores = measure(*words)
    assert list(scores) == ["FVD", "KVD"]
    assert scores["FVD"]["protocol"]["network"] == "i3d"
    assert scores["FVD"]["real_clips"] == 3
    assert scores["FVD"]["real_against_real"] is None
    title = "stylegan-v, changed: fake 2, clips disjoint"
    assert f"\nFVD [{title}]: " in shown
    assert "3 real, 2 generated; too few clips for real against real" in shown
    assert all(line.startswith(("FVD [", "KVD [", "metric")) for line in shown.splitlines() if "VD" in line)


def test_the_inception_score_and_fid(measure, tmp_path: Path) -> None:
    torch.manual_seed(0)
    state = {name: torch.randn_like(values) * 0.02 for name, values in C3D().state_dict().items() if name != "mean"}
    numpy.savez(
        tmp_path / "c3d.npz",
        **{name.replace(".weight", "/W").replace(".bias", "/b"): values.numpy() for name, values in state.items()},
    )
    numpy.savez(tmp_path / "mean2.npz", mean=numpy.full((3, 16, 128, 171), 100, numpy.float32))
    torch.save(Inception().state_dict(), tmp_path / "inception.pth")
    words = ("--protocol", "digan", "--real", 10, "--fake", 10)
    files = ("--features", tmp_path / "c3d.npz", "--features", tmp_path / "inception.pth")
    shown, scores = measure(*words, *files)
    assert list(scores) == ["FID", "IS"]
    assert 1 <= scores["IS"]["mean"] <= 101
    assert scores["IS"]["protocol"]["splits"] == 10
    assert "IS [digan, changed: real 10, fake 10]: " in shown
    assert "real clips " in shown
    assert scores["FID"]["protocol"]["length"] == 1
    assert scores["FID"]["mean"] > 0
