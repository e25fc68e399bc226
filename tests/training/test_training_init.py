"""Runs that start from another snapshot's networks."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from clips_of import clips_of
from golden import DATA
from small_runs import SMALL, frame_folder

from digan_fast import load, snapshot
from digan_fast.cli import main
from digan_fast.training.config import TrainConfig
from digan_fast.training.initial import load_initial, start_from
from digan_fast.training.loop import train
from digan_fast.training.run import Run

PUBLISHED = DATA / "snapshot.pkl"


@pytest.fixture
def config(tmp_path: Path) -> TrainConfig:
    data = frame_folder(tmp_path / "data" / "video", 20).parent
    shorter = {**SMALL, "resolution": 16, "kimg": 0.008, "tick_kimg": 0.004, "snapshot_kimg": 0.004}
    return TrainConfig(data=data, out=tmp_path / "run", seed=3, **shorter)  # type: ignore[arg-type]


@pytest.fixture
def smaller(config: TrainConfig, tmp_path: Path) -> Path:
    """The snapshot of a run at half the resolution."""
    return train(replace(config, out=tmp_path / "smaller", resolution=8, seed=0))


def fresh(config: TrainConfig) -> Run:
    return Run(config, clips_of(config.data, config.resolution, config.clip_length))


def line(error: str, start: str) -> str:
    (found,) = (text for text in error.splitlines() if text.startswith(start))
    return found


def test_what_matches_is_copied_and_the_rest_is_fresh(config: TrainConfig, smaller: Path) -> None:
    found = load(smaller)
    run, same_seed = fresh(config), fresh(config)
    told = start_from(load_initial(smaller), run.networks)
    for name, network in run.networks.items():
        source = getattr(found, name).state_dict()
        own = same_seed.networks[name].state_dict()
        matching = {k for k, v in own.items() if k in source and source[k].shape == v.shape}
        assert {"G": "synthesis.b8.conv1.weight", "G_ema": "mapping.fc0.weight", "D": "imageD.b4.fc.weight"}[
            name
        ] in matching
        assert 0 < len(matching) < len(own)
        for key, tensor in network.state_dict().items():
            assert torch.equal(tensor, source[key] if key in matching else own[key]), f"{name}.{key}"
        parameters = [key for key, _ in network.named_parameters()]
        assert f"{len(matching & set(parameters))} of {len(parameters)} parameters of {name}" in told
    assert torch.equal(run.G.mapping.w_avg, found.G.mapping.w_avg)
    assert not any(optimiser.state for optimiser in run.optimisers.values())
    assert all(p.requires_grad for p in run.G.parameters())
    assert run.G.training
    assert not run.G_ema.training


def test_a_shape_that_differs_stays_fresh(config: TrainConfig, smaller: Path) -> None:
    wide = replace(config, resolution=8, sinusoids=6)
    run, same_seed = fresh(wide), fresh(wide)
    start_from(load_initial(smaller), run.networks)
    found, own = load(smaller).G.state_dict(), same_seed.G.state_dict()
    kept = run.G.state_dict()
    assert found["synthesis.b4.conv1.weight"].shape != own["synthesis.b4.conv1.weight"].shape
    assert torch.equal(kept["synthesis.b4.conv1.weight"], own["synthesis.b4.conv1.weight"])
    assert torch.equal(kept["synthesis.b4.torgb.weight"], found["synthesis.b4.torgb.weight"])


def test_only_the_average(config: TrainConfig, smaller: Path, tmp_path: Path) -> None:
    path = tmp_path / "ema.safetensors"
    snapshot.convert(smaller, path, only_ema=True)
    run, same_seed = fresh(config), fresh(config)
    told = start_from(load_initial(path), run.networks)
    average = load(path).G_ema.state_dict()
    for network in (run.G, run.G_ema):
        assert torch.equal(network.state_dict()["mapping.fc0.weight"], average["mapping.fc0.weight"])
    for kept, own in zip(run.D.parameters(), same_seed.D.parameters(), strict=True):
        assert torch.equal(kept, own)
    assert "parameters of G (those of G_ema)" in told
    assert "D starts afresh, the snapshot has none" in told
    assert told.endswith("parameters of G_ema")


def test_a_generator_without_its_average(config: TrainConfig, smaller: Path, tmp_path: Path) -> None:
    path = tmp_path / "raw.safetensors"
    snapshot.save(path, {"G": load(smaller).G})
    run = fresh(config)
    assert start_from(load_initial(path), run.networks).endswith("parameters of G_ema (those of G)")
    assert torch.equal(run.G_ema.mapping.fc0.weight, run.G.mapping.fc0.weight)


def test_a_published_pickle(config: TrainConfig) -> None:
    """Its coordinates and mapping have other extents; this run has those of its last level's colours."""
    kwargs = load(PUBLISHED).G.init_kwargs
    options = kwargs["synthesis_kwargs"]
    same = replace(
        config,
        resolution=32,
        z_dim=kwargs["z_dim"],
        w_dim=kwargs["w_dim"],
        channel_base=options["channel_base"],
        channel_max=options["channel_max"],
    )
    run = fresh(same)
    start_from(load_initial(PUBLISHED), run.networks)
    found = load(PUBLISHED).G.state_dict()
    assert torch.equal(run.G.state_dict()["synthesis.b32.torgb.weight"], found["synthesis.b32.torgb.weight"])


def words(config: TrainConfig, *more: object) -> list[str]:
    options = {
        name: value
        for name, value in json.loads(config.to_json()).items()
        if value != getattr(TrainConfig, name, None) and name != "data"
    }
    pairs = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    return ["train", str(config.data), *pairs, *map(str, more)]


def test_on_the_command_line_and_resumed(
    config: TrainConfig, smaller: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Resuming needs neither the option nor its file, and is the uninterrupted run."""
    whole = replace(config, out=tmp_path / "whole")
    assert main(words(whole, "--init", smaller)) == 0
    out, err = capsys.readouterr()
    assert out.strip() == str(whole.out / "snapshot.safetensors")
    told = line(err, "init: ")
    assert all(f"parameters of {name}" in told for name in ("G", "D", "G_ema"))
    assert json.loads((whole.out / "config.json").read_text())["init"] == str(smaller)

    parts = replace(config, out=tmp_path / "parts", kimg=0.004)
    train(replace(parts, init=smaller))
    smaller.unlink()
    capsys.readouterr()
    longer = replace(parts, kimg=0.008)
    assert main(words(longer, "--resume")) == 0
    assert "init: " not in capsys.readouterr().err
    for name in snapshot.NETWORKS:
        resumed = getattr(load(parts.out / "snapshot.safetensors"), name).state_dict()
        expected = getattr(load(whole.out / "snapshot.safetensors"), name).state_dict()
        assert all(torch.equal(resumed[key], value) for key, value in expected.items())
    assert json.loads((parts.out / "config.json").read_text())["init"] == str(smaller)
    # The option may be repeated, though its file is gone.
    train(replace(longer, init=smaller, resume=True, kimg=0.012))
    assert "init: " not in capsys.readouterr().err


def test_without_the_option_nothing_is_said(config: TrainConfig, capsys: pytest.CaptureFixture[str]) -> None:
    train(replace(config, kimg=0.004))
    assert "init" not in capsys.readouterr().err


def test_files_that_cannot_be_started_from(
    config: TrainConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    junk = tmp_path / "junk.safetensors"
    junk.write_bytes(b"junk" * 100)
    torch.save({"G": 1}, tmp_path / "state.pt")
    for path, message in (
        (tmp_path / "missing.safetensors", f"init: {tmp_path / 'missing.safetensors'} does not exist"),
        (junk, f"init: {junk}: it begins with b'junkjunk'"),
        (tmp_path / "state.pt", f"init: {tmp_path / 'state.pt'}: a zip file, as torch.save writes"),
        (tmp_path, f"init: {tmp_path / 'snapshot.safetensors'} does not exist"),
    ):
        with pytest.raises(ValueError, match=r"^init: ") as error:
            train(replace(config, init=path))
        assert str(error.value).startswith(message)
        assert main(words(config, "--init", path)) == 1
        assert capsys.readouterr().err.startswith(f"digan-fast train: error: --{message}")
    assert not config.out.exists()


def test_networks_with_nothing_in_common(config: TrainConfig, smaller: Path) -> None:
    other = replace(config, z_dim=6, w_dim=6, sinusoids=6, channel_max=6, d_channel_max=6, init=smaller)
    run, same_seed = fresh(other), fresh(other)
    with pytest.raises(ValueError, match="init: no weight of the snapshot"):
        start_from(load_initial(smaller), run.networks)
    for name, network in run.networks.items():
        own = same_seed.networks[name].state_dict()
        assert all(torch.equal(tensor, own[key]) for key, tensor in network.state_dict().items())
    with pytest.raises(ValueError, match="init: no weight of the snapshot"):
        train(other)
    assert [path.name for path in config.out.iterdir()] == ["data.pack"]
