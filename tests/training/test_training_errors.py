"""What training refuses, how a run stops, and that a resumed log is the uninterrupted one."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from clips_of import clips_of
from small_runs import SMALL, frame_folder, words

from digan_fast import Discriminator, Generator
from digan_fast.cli import main
from digan_fast.networks.config import coordinate_config
from digan_fast.training import run as run_module
from digan_fast.training.comparing import described, differences
from digan_fast.training.config import TrainConfig
from digan_fast.training.loop import train
from digan_fast.training.run import Run


@pytest.fixture
def config(tmp_path: Path) -> TrainConfig:
    data = frame_folder(tmp_path / "data" / "video", 20).parent
    return TrainConfig(data=data, out=tmp_path / "run", **SMALL)  # type: ignore[arg-type]


def log(config: TrainConfig) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (config.out / "log.jsonl").read_text().splitlines()]
    return [
        {name: value for name, value in line.items() if name not in ("seconds", "seconds_left", "waiting")}
        for line in lines
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"resolution": 24}, "--resolution: 24, expected a power of two"),
        ({"resolution": 4}, "--resolution: 4,"),
        ({"resolution": 0}, "--resolution: 0,"),
        ({"grid": 32}, "--grid: 32, expected a power of two from 4 to the resolution, 8"),
        ({"grid": 6}, "--grid: 6,"),
        ({"grid": 0}, "--grid: 0,"),
        ({"batch": 6}, "--batch: 6, expected 1, 2, 3, or a multiple of 4"),
        ({"batch": 0}, "--batch: 0,"),
        ({"batch": -4}, "--batch: -4,"),
        ({"channel_base": 4}, "--channel-base: 4, expected the resolution, 8, or more"),
        ({"d_channel_base": 0}, "--d-channel-base: 0,"),
        ({"channel_max": 0}, "--channel-max: 0,"),
        ({"d_channel_max": -1}, "--d-channel-max: -1,"),
        ({"z_dim": 0}, "--z-dim: 0,"),
        ({"w_dim": 0}, "--w-dim: 0,"),
        ({"sinusoids": 0}, "--sinusoids: 0,"),
        ({"rank": 0}, "--rank: 0,"),
        ({"clip_length": 1}, "--clip-length: 1, expected 2 to"),
        ({"clip_stride": 0}, "--clip-stride: 0,"),
        ({"frames": "1:2:3"}, "--frames: '1:2:3', expected START:STOP"),
        ({"frames": "4:2"}, "--frames: '4:2', expected START:STOP with 0 ≤ START < STOP"),
        ({"frames": "0:-2"}, "--frames: '0:-2',"),
        ({"kimg": 0}, "--kimg: 0.0, expected 0.001 to"),
        ({"kimg": -1}, "--kimg: -1.0,"),
        ({"kimg": "nan"}, "--kimg: nan,"),
        ({"kimg": "1e308"}, "--kimg: 1e+308,"),
        ({"lr": 0}, "--lr: 0.0,"),
        ({"r1_gamma": -1}, "--r1-gamma: -1.0,"),
        ({"r1_gamma": "nan"}, "--r1-gamma: nan,"),
        ({"style_mixing": 1.5}, "--style-mixing: 1.5, expected 0 to 1"),
        ({"path_length": -1}, "--path-length: -1.0,"),
        ({"ema_kimg": -1}, "--ema-kimg: -1.0,"),
        ({"seed": -1}, "--seed: -1,"),
        ({"tick_kimg": "inf"}, "--tick-kimg: inf,"),
        ({"snapshot_kimg": -1}, "--snapshot-kimg: -1.0,"),
        ({"threads": 0}, "--threads: 0,"),
        ({"augment": "blur"}, "--augment: 'blur', expected some of color, translation, cutout, separated by commas"),
        ({"augment": "color,,"}, "--augment: 'color,,', expected some of color, translation, cutout"),
        ({"d_frames": 4}, "--d-frames: 4 needs --discriminator dvd-gan"),
        ({"d_reduction": "none"}, "--d-reduction: 'none' needs --discriminator dvd-gan"),
        ({"evaluate_count": 4}, "--evaluate-count: 4 needs --evaluate-kimg"),
        ({"evaluate_features": "i3d.pt"}, "--evaluate-features: 'i3d.pt' needs --evaluate-kimg"),
        ({"evaluate_protocol": "digan"}, "--evaluate-protocol: 'digan' needs --evaluate-kimg"),
        ({"preset": "ucf"}, "invalid choice 'ucf' for argument '--preset'. Expected one of ('"),
        ({"device": "meta"}, "--device: 'meta' cannot be used: "),
        ({"device": "no_such"}, "--device: 'no_such' cannot be used: "),
    ],
)
def test_options_that_do_not_fit(
    config: TrainConfig, changes: dict[str, Any], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(config, **changes)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"digan-fast train: error: {message}")
    assert err.count("\n") == 1
    assert "None" not in err
    assert not config.out.exists()


def test_what_the_networks_refuse_is_said_before_the_videos_are_read(
    config: TrainConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A configuration whose grid is larger than the picture, and one whose fmaps leave no channel."""
    for name, change in (("grid", {"input": {"type": "coords", "resolution": 32}}), ("fmaps", {"fmaps": 1e-4})):
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump({**coordinate_config(4, 4, 2), **change}))
        assert main(words(config, grid=None, channel_base=None, generator_config=path)) == 1
        err = capsys.readouterr().err
        assert err.count("\n") == 1
        assert {"grid": "input.resolution: 32", "fmaps": "--channel-base: 3"}[name] in err
        assert not config.out.exists()


def test_a_file_in_place_of_the_folder(config: TrainConfig) -> None:
    config.out.write_text("kept")
    with pytest.raises(ValueError, match="is a file, expected a folder"):
        train(config)
    assert config.out.read_text() == "kept"


def test_the_grid_is_no_larger_than_the_picture() -> None:
    for resolution, side in ((8, 8), (16, 16), (32, 32), (128, 32)):
        cfg = TrainConfig(Path(), resolution=resolution).generator_kwargs(0)["cfg"]
        assert cfg["input"]["resolution"] == side
    assert TrainConfig(Path(), grid=16).generator_kwargs(0)["cfg"]["input"]["resolution"] == 16


@pytest.mark.parametrize("resolution", [8, 16, 512])
def test_the_defaults_make_networks_of_any_resolution(resolution: int) -> None:
    config = TrainConfig(Path(), resolution=resolution)
    config.check()
    with torch.device("meta"):
        G = Generator(**config.generator_kwargs(0))
        D = Discriminator(**config.discriminator_kwargs(0))
    assert G.synthesis.why_not_inr() is None
    assert D.init_kwargs["conv_clamp"] == 256


def test_a_run_with_the_default_grid(config: TrainConfig) -> None:
    train(replace(config, grid=None, resolution=16, kimg=0.004))
    assert (config.out / "snapshot.safetensors").exists()


def test_channels_follow_the_configuration_unless_given(tmp_path: Path) -> None:
    path = tmp_path / "half.yaml"
    path.write_text(yaml.safe_dump({"generator": {**coordinate_config(8, 4, 2), "fmaps": 0.5}}))

    def base(**changes: Any) -> int:
        kwargs = TrainConfig(Path(), **changes).generator_kwargs(0)
        found: int = kwargs["synthesis_kwargs"]["channel_base"]
        return found

    assert base() == 32768
    assert base(generator_config=path) == 16384
    assert base(generator_config=path, channel_base=1024) == 1024
    path.write_text(yaml.safe_dump({**coordinate_config(8, 4, 2), "fmaps": "many"}))
    with pytest.raises(ValueError, match=r"half\.yaml: fmaps: 'many'"):
        base(generator_config=path)


def test_what_was_left_to_the_schedule_equals_what_it_gives() -> None:
    automatic = TrainConfig(Path(), resolution=16)
    given = replace(automatic, grid=16, channel_base=32768, batch=32, lr=0.0025, ema_kimg=10.0)
    for one, other in ((automatic, given), (given, automatic)):
        assert differences(one, json.loads(other.to_json())) == {}
    found = differences(automatic, json.loads(replace(given, grid=8, batch=16).to_json()))
    assert found == {"grid": (8, 16), "batch": (16, 32)}
    assert described(found) == "grid (8, now 16), batch (16, now 32)"


def test_an_average_starts_with_the_network_and_counts_the_pairs_before_a_step(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    betas: list[float] = []
    update = run_module.update_average
    monkeypatch.setattr(run_module, "update_average", lambda *args: (betas.append(args[2]), update(*args)))
    run = Run(config, clips_of(config.data, 8))
    run.step()
    for mean, value in zip(run.G_ema.parameters(), run.G.parameters(), strict=True):
        assert torch.equal(mean, value)
    run.step()
    assert betas == [0.0, 0.5 ** (4 / (0.05 * 4))]


def test_penalties_are_reported_by_the_steps_that_computed_them(config: TrainConfig) -> None:
    run = Run(config, clips_of(config.data, 8))
    assert "r1/motion" in run.step()
    report = run.step()
    assert "loss/D_real" in report
    assert "r1/motion" not in report


@pytest.fixture
def interrupted(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """``interrupted(step, times, number)`` sends a signal, SIGINT by default, so often at the end of that step."""

    def at(step: int, times: int = 1, number: int = signal.SIGINT) -> None:
        take = Run.step

        def stepping(run: Run) -> dict[str, float]:
            report = take(run)
            for _ in range(times if run.steps == step else 0):
                os.kill(os.getpid(), number)
            return report

        monkeypatch.setattr(Run, "step", stepping)

    return at


@pytest.mark.parametrize("step", [1, 5, 9])
def test_a_resumed_log_is_the_uninterrupted_one(
    config: TrainConfig, interrupted: Callable[[int], None], step: int
) -> None:
    """Step 1 computes the penalty, 5 is the first after a snapshot, each within a line of the log."""
    whole = replace(config, out=config.out.with_name("whole"))
    train(whole)
    interrupted(step)
    with pytest.raises(KeyboardInterrupt, match="stopped and saved; go on with --resume"):
        train(config)
    assert torch.load(config.out / "state.pt", weights_only=True)["steps"] == step
    train(replace(config, resume=True))
    assert log(config) == log(whole)
    assert [("r1/motion" in line) for line in log(config)] == [True, False, False, False, False]


def test_an_interrupt_on_the_command_line(
    config: TrainConfig, interrupted: Callable[[int], None], capsys: pytest.CaptureFixture[str]
) -> None:
    handler = signal.getsignal(signal.SIGINT)
    interrupted(2)
    assert main(words(config)) == 130
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[-1].startswith("digan-fast: stopped and saved; go on with --resume")
    assert signal.getsignal(signal.SIGINT) is handler
    assert main([*words(config), "--resume"]) == 0


def test_a_second_interrupt_stops_at_once(
    config: TrainConfig, interrupted: Callable[[int, int], None], capsys: pytest.CaptureFixture[str]
) -> None:
    interrupted(7, 2)
    assert main(words(config)) == 130
    assert capsys.readouterr().err.splitlines()[-1] == "digan-fast: stopped at once; what was saved before remains"
    # The last one saved is that of the snapshot at 20 pairs.
    assert torch.load(config.out / "state.pt", weights_only=True)["steps"] == 5
    assert [path.name for path in config.out.iterdir() if ".part" in path.name] == []


def test_an_interrupt_of_the_last_step_is_none(config: TrainConfig, interrupted: Callable[[int], None]) -> None:
    interrupted(10)
    assert train(config).exists()


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def without_networks(path: Path) -> None:
    torch.save({"steps": 1}, path)


def other_networks(path: Path) -> None:
    state = torch.load(path, weights_only=True)
    torch.save({**state, "G": state["D"]}, path)


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("state.pt", lambda path: path.write_bytes(b"")),
        ("state.pt", lambda path: path.write_bytes(b"junk" * 100)),
        ("state.pt", lambda path: path.write_bytes(os.urandom(1000))),
        ("state.pt", truncated),
        ("state.pt", without_networks),
        ("state.pt", other_networks),
        ("state.pt", lambda path: torch.save([1], path)),
        ("config.json", lambda path: path.unlink()),
        ("config.json", lambda path: path.write_text("{")),
        ("config.json", lambda path: path.write_text("[]")),
        ("config.json", lambda path: path.write_bytes(b"\xff\xfe")),
        ("log.jsonl", lambda path: path.write_text("junk\n")),
        ("log.jsonl", lambda path: path.write_text("{}\n")),
    ],
)
def test_damaged_runs_are_named(
    config: TrainConfig, name: str, damage: Callable[[Path], object], capsys: pytest.CaptureFixture[str]
) -> None:
    short = replace(config, kimg=0.004)
    train(short)
    damage(config.out / name)
    before = {path: path.read_bytes() for path in config.out.rglob("*") if path.is_file()}
    capsys.readouterr()
    assert main([*words(config), "--resume"]) == 1
    message = capsys.readouterr().err.splitlines()[-1]
    assert f"error: {config.out / name}: not a state to resume from: " in message
    assert len(message) < 400
    assert "weights_only" not in message
    assert before == {path: path.read_bytes() for path in config.out.rglob("*") if path.is_file()}


def test_a_generator_without_an_inr_trains_in_float32_alone(
    config: TrainConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "noise.yaml"
    path.write_text(yaml.safe_dump({**coordinate_config(4, 4, 2), "use_noise": True}))
    options = {"grid": None, "channel_base": None, "generator_config": path}
    assert main(words(config, **options, g_precision="bfloat16")) == 1
    err = capsys.readouterr().err
    assert "--g-precision: 'bfloat16', but this generator has no INR: use_noise is true" in err
    assert err.count("\n") == 1
    assert not config.out.exists()


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_repeated_end_of_a_job_saves(
    config: TrainConfig, interrupted: Callable[[int, int, int], None], name: str
) -> None:
    """A scheduler ends every process of a job, and torchrun among them ends its own again."""
    number = getattr(signal, name)
    previous = signal.signal(number, signal.SIG_DFL)  # These tests may run under nohup.
    interrupted(7, 2, number)
    try:
        with pytest.raises(KeyboardInterrupt, match="stopped and saved"):
            train(config)
    finally:
        signal.signal(number, previous)
    assert torch.load(config.out / "state.pt", weights_only=True)["steps"] == 7
