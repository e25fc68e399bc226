from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from clips_of import clips_of
from small_runs import frame_folder, log
from waiting import LIMIT, until

from digan_fast import load
from digan_fast.networks import Discriminator, Generator
from digan_fast.networks.config import coordinate_config
from digan_fast.training import augment, loop
from digan_fast.training import run as run_module
from digan_fast.training.comparing import differences
from digan_fast.training.config import TrainConfig
from digan_fast.training.loop import train
from digan_fast.training.loss import Loss
from digan_fast.training.run import Run, lazy_adam, sanitise_gradients, update_average


def test_a_run_leaves_its_files(config: TrainConfig) -> None:
    path = train(config)
    assert path == config.out / "snapshot.safetensors"
    names = {p.relative_to(config.out).as_posix() for p in config.out.rglob("*") if p.is_file()}
    assert names == {
        "config.json",
        "data.pack",
        "log.jsonl",
        "samples/000000020.png",
        "samples/000000040.png",
        "snapshot.safetensors",
        "state.1.pt",
        "state.pt",
    }
    lines = log(config)
    assert [line["pairs"] for line in lines] == [8, 16, 24, 32, 40]
    assert {
        "loss/G",
        "loss/D_fake",
        "loss/D_real",
        "r1/motion",
        "r1/image",
        "seconds",
        "seconds_left",
        "waiting",
    } <= lines[0].keys()
    snapshot = load(path)
    assert snapshot.G is not None
    assert snapshot.D is not None
    assert snapshot.G_ema(torch.randn(1, 8), timesteps=3)[0].shape == (3, 3, 8, 8)
    assert differences(config, json.loads((config.out / "config.json").read_text())) == {}


def test_a_resumed_run_is_the_uninterrupted_one(config: TrainConfig) -> None:
    whole = load(train(replace(config, path_length=2.0))).G_ema.state_dict()
    parts = replace(config, out=config.out.with_name("parts"), path_length=2.0)
    train(replace(parts, kimg=0.02))
    # A line and a half that a kill left behind the last state.
    with open(parts.out / "log.jsonl", "a") as file:
        file.write('{"pairs": 24, "seconds": 1}\n{"pairs": 2')
    resumed = load(train(replace(parts, resume=True))).G_ema.state_dict()
    assert all(torch.equal(resumed[name], value) for name, value in whole.items())
    own = [{k: v for k, v in line.items() if k not in ("seconds", "seconds_left", "waiting")} for line in log(parts)]
    assert [line["pairs"] for line in own] == [8, 16, 20, 24, 32, 40]


def test_resuming_needs_the_same_options(config: TrainConfig) -> None:
    train(replace(config, kimg=0.008))
    with pytest.raises(ValueError, match="already holds a run"):
        train(config)
    with pytest.raises(ValueError, match=r"started with another w_dim \(8, now 16\), r1_gamma \(1, now 2\)$"):
        train(replace(config, resume=True, w_dim=16, r1_gamma=2.0))
    train(replace(config, resume=True, kimg=0.012))


def test_an_interrupt_saves_and_a_kill_leaves_the_last_state(config: TrainConfig) -> None:
    script = (
        "import sys, json; from pathlib import Path; from digan_fast.training.config import TrainConfig;"
        "from digan_fast.training.loop import train; o = json.loads(sys.argv[1]);"
        "o['data'] = Path(o['data']); o['out'] = Path(o['out']); train(TrainConfig(**o))"
    )
    long = replace(config, kimg=1000)

    def start(**changes: object) -> subprocess.Popen[bytes]:
        options = json.dumps({**json.loads(long.to_json()), **changes})
        return subprocess.Popen([sys.executable, "-c", script, options], stderr=subprocess.PIPE)

    def wait_for(pairs: int) -> None:
        path = config.out / "log.jsonl"
        until(lambda: path.exists() and f'"pairs": {pairs},' in path.read_text(), run)

    run = start()
    wait_for(40)
    run.send_signal(signal.SIGINT)
    _, errors = run.communicate(timeout=LIMIT)
    assert b"stopped and saved" in errors
    state = torch.load(config.out / "state.pt", weights_only=True)
    assert state["pairs"] >= 40

    run = start(resume=True)
    wait_for(int(state["pairs"]) // 8 * 8 + 40)
    run.send_signal(signal.SIGKILL)
    run.wait(timeout=LIMIT)
    if run.stderr:
        run.stderr.close()
    train(replace(config, resume=True, kimg=1))
    assert [p.name for p in config.out.iterdir() if ".part" in p.name] == []


def test_conditional_training_learns_labels(config: TrainConfig) -> None:
    frame_folder(config.data / "other" / "video", 20)
    snapshot = load(train(replace(config, conditional=True, kimg=0.008)))
    assert snapshot.G_ema.c_dim == 2
    assert snapshot.D.c_dim == 2


def test_bad_options_write_nothing(config: TrainConfig) -> None:
    for change, message in (
        ({"frames": "1:2:3"}, "frames: '1:2:3'"),
        ({"augment": "blur"}, "augment: 'blur', expected some of color"),
        ({"resolution": 24}, "resolution: 24"),
        ({"clip_length": 1}, "clip_length"),
    ):
        with pytest.raises(ValueError, match=message):
            train(replace(config, **change))  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError):
        train(replace(config, data=config.data / "missing"))
    assert not config.out.exists()


def test_the_automatic_schedule() -> None:
    assert TrainConfig(Path(), resolution=128).schedule() == (32, 0.0025, 10.0, 4)
    assert TrainConfig(Path(), resolution=1024).schedule() == (4, 0.002, 1.25, 4)
    assert TrainConfig(Path(), batch=2, lr=0.1, ema_kimg=3).schedule() == (2, 0.1, 3, 2)


def test_lazy_adam_rescales() -> None:
    parameter = torch.nn.Parameter(torch.zeros(1))
    group = lazy_adam(iter([parameter]), 0.002, 16).param_groups[0]
    assert group["lr"] == pytest.approx(0.002 * 16 / 17)
    assert group["betas"] == (0.0, pytest.approx(0.99 ** (16 / 17)))


def test_the_average_moves_and_buffers_are_copied() -> None:
    mean, network = torch.nn.BatchNorm1d(2), torch.nn.BatchNorm1d(2)
    torch.nn.init.constant_(network.weight, 3.0)
    network.running_mean.fill_(5.0)
    update_average(mean, network, 0.75)
    assert mean.weight.tolist() == [1.5, 1.5]
    assert mean.running_mean.tolist() == [5.0, 5.0]


def test_gradients_are_made_finite() -> None:
    layer = torch.nn.Linear(3, 1)
    layer.weight.grad = torch.tensor([[float("nan"), float("inf"), -float("inf")]])
    sanitise_gradients(layer)
    assert layer.weight.grad.tolist() == [[0.0, 1e5, -1e5]]


def test_path_length_is_one_for_each_video(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against the definition: the gradient of each video's own noisy sum by its own ws."""
    cfg = coordinate_config(4, 4, 2)
    G = Generator(8, 0, 8, 8, synthesis_kwargs={"channel_base": 64, "channel_max": 8}, cfg=cfg)
    D = Discriminator(0, 8, channel_base=64, channel_max=8)
    loss = Loss(G.mapping, G.synthesis, D, w_dim=8, pl_weight=2.0, pl_batch_shrink=1)
    z, c = torch.randn(3, 8), torch.zeros(3, 0)
    torch.manual_seed(5)
    value = loss._path_length(z, c)
    torch.manual_seed(5)
    pairs, ws = loss._fakes(z, c)
    noise = torch.randn_like(pairs[:, :-1]) / (2 * 8 * 8) ** 0.5
    lengths = []
    for video in range(3):
        (g,) = torch.autograd.grad((pairs[video, :-1] * noise[video]).sum(), ws, retain_graph=True)
        assert g[[v for v in range(3) if v != video]].abs().sum() == 0
        lengths.append(g[video].square().sum(1).mean().sqrt())
    found = torch.stack(lengths)
    mean = found.mean() * 0.01
    torch.testing.assert_close(value, (found - mean).square().mean() * 2)
    value.backward()


@pytest.mark.parametrize("policy", ["color", "translation", "cutout", "color,translation,cutout"])
def test_augmentation_is_the_same_for_both_frames(policy: str) -> None:
    frame = torch.rand(6, 3, 16, 16)
    pairs = torch.cat((frame, frame, torch.full((6, 1, 16, 16), 0.25)), 1).requires_grad_()
    out = augment.DiffAugment(policy)(pairs)
    assert torch.equal(out[:, :3], out[:, 3:6])
    assert torch.equal(out[:, 6:], pairs[:, 6:])
    assert not torch.equal(out, pairs)
    out.sum().backward()


def test_translation_moves_whole_pixels_and_fills_zeros() -> None:
    x = torch.arange(1.0, 65).view(1, 1, 1, 8, 8).expand(50, 2, 1, 8, 8)
    moved = augment.translation(x)
    for one in moved[:, 0, 0]:
        inside = [one[j, i] - x[0, 0, 0, j, i] for j in range(1, 7) for i in range(1, 7)]
        assert len({float(v) for v in inside}) == 1
        assert float(inside[0]) in {8.0 * dy + dx for dy in (-1, 0, 1) for dx in (-1, 0, 1)}
    assert (moved == 0).any()


def test_cutout_zeroes_a_square() -> None:
    holes = augment.cutout(torch.ones(200, 1, 1, 8, 8)) == 0
    counts = holes.sum((1, 2, 3, 4))
    assert counts.max() == 16
    assert counts.min() >= 4


def test_an_unknown_phase_is_named() -> None:
    loss = Loss(torch.nn.Identity(), torch.nn.Identity(), torch.nn.Identity(), w_dim=1)
    with pytest.raises(ValueError, match="phase: 'Gfoo'"):
        loss.accumulate_gradients("Gfoo", *[torch.zeros(1)] * 4)


def test_a_state_from_elsewhere_is_not_executed(config: TrainConfig) -> None:
    train(replace(config, kimg=0.008))

    class Hostile:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, ("touch " + str(config.out / "owned"),)

    torch.save({"steps": Hostile()}, config.out / "state.pt")
    with pytest.raises(Exception, match=r"(?i)weights.only|unsupported"):
        train(replace(config, resume=True))
    assert not (config.out / "owned").exists()


def test_due_counts_multiples() -> None:
    class Run:
        batch, pairs = 16, 0

    hits = []
    for step in range(1, 11):
        Run.pairs = step * 16
        if loop.due(Run, 0.04):  # type: ignore[arg-type]
            hits.append(Run.pairs)
    assert hits == [48, 80, 128, 160]


def started(config: TrainConfig) -> Run:
    return Run(config, clips_of(config.data, config.resolution, config.clip_length, config.conditional))


@pytest.mark.parametrize("path_length", [0.0, 2.0])
@pytest.mark.parametrize("r1_gamma", [0.0, 1.0])
def test_phases_of_33_steps(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch, path_length: float, r1_gamma: float
) -> None:
    """Their order and gains; each trains its own network, from gradients of its own."""
    run = started(replace(config, path_length=path_length, r1_gamma=r1_gamma))
    seen: list[tuple[str, float]] = []
    latents: list[torch.Tensor] = []

    def spy(
        phase: str, real: torch.Tensor, real_c: torch.Tensor, z: torch.Tensor, c: torch.Tensor, gain: float = 1.0
    ) -> None:
        seen.append((phase, gain))
        latents.append(z)
        assert (real.shape, z.shape) == ((4, 7, 8, 8), (4, 8))
        trained, other = (run.G, run.D) if phase.startswith("G") else (run.D, run.G)
        assert all(p.requires_grad for p in trained.parameters())
        assert not any(p.requires_grad for p in other.parameters())
        for parameter in trained.parameters():
            assert parameter.grad is None
            parameter.grad = torch.zeros_like(parameter)

    monkeypatch.setattr(run.loss, "accumulate_gradients", spy)
    for step in range(33):
        seen.clear()
        run.step()
        expected: list[tuple[str, float]] = [("Gmain", 1)]
        expected += [("Greg", 4)] if step % 4 == 0 and path_length else []
        expected += [("Dmain", 1)]
        expected += [("Dreg", 16)] if step % 16 == 0 and r1_gamma else []
        assert seen == expected
    assert len({tuple(z.flatten().tolist()) for z in latents}) == len(latents)
    assert (run.steps, run.pairs) == (33, 132)


def test_optimisers_are_those_of_their_networks(config: TrainConfig) -> None:
    run = started(replace(config, lr=0.01))
    for name, network, interval in (("G", run.G, 4), ("D", run.D, 16)):
        (group,) = run.optimisers[name].param_groups
        assert [id(p) for p in group["params"]] == [id(p) for p in network.parameters()]
        ratio = interval / (interval + 1)
        assert group["lr"] == pytest.approx(0.01 * ratio)
        assert group["betas"] == (0.0, pytest.approx(0.99**ratio))
        assert group["eps"] == 1e-8
        assert {phase.optimiser for phase in run.phases if phase.network is network} == {run.optimisers[name]}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_step_survives_gradients_that_are_not_finite(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    """NaN leaves a parameter; an infinite gradient moves it by the learning rate, as Adam's first step does."""
    run = started(replace(config, lr=0.01))
    accumulate = run.loss.accumulate_gradients

    def poisoned(*arguments: object) -> None:
        accumulate(*arguments)  # type: ignore[arg-type]
        for network in (run.G, run.D):
            for parameter in network.parameters():
                if parameter.grad is not None:
                    parameter.grad.fill_(value)

    monkeypatch.setattr(run.loss, "accumulate_gradients", poisoned)
    before = {name: p.clone() for name, p in run.G.named_parameters()}
    run.step()
    for network in (run.G, run.D, run.G_ema):
        assert all(p.isfinite().all() for p in network.parameters())
    for name, parameter in run.G.named_parameters():
        moved = (before[name] - parameter).detach()
        # Differences of float32: up to 2⁻²³ of the larger weights, mapping's of some 300.
        atol = 2.0**-23 * float(before[name].detach().abs().max())
        expected = torch.full_like(moved, 0.0 if value != value else 0.01 * 4 / 5)
        torch.testing.assert_close(moved, expected, rtol=1e-4, atol=atol)


@pytest.mark.parametrize(("ema_kimg", "cap"), [(0.0005, 0.5), (None, 1250.0)])
def test_the_average_s_window_grows_with_the_pairs_seen_before(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch, ema_kimg: float | None, cap: float
) -> None:
    run = started(replace(config, ema_kimg=ema_kimg))
    betas: list[float] = []

    def spy(average: torch.nn.Module, network: torch.nn.Module, beta: float) -> None:
        assert (average, network) == (run.G_ema, run.G)
        betas.append(beta)

    monkeypatch.setattr(run_module, "update_average", spy)
    monkeypatch.setattr(run.loss, "accumulate_gradients", lambda *arguments: None)
    for _ in range(6):
        run.step()
    expected = [0.5 ** (4 / max(min(cap, 0.05 * 4 * step), 1e-8)) for step in range(6)]
    assert expected[0] == 0
    assert betas == pytest.approx(expected, rel=1e-9, abs=0)


def test_the_average_starts_as_the_generator_and_takes_its_buffers(config: TrainConfig) -> None:
    run = started(config)
    assert not run.G_ema.training
    assert not any(p.requires_grad for p in run.G_ema.parameters())
    assert all(torch.equal(a, b) for a, b in zip(run.G.parameters(), run.G_ema.parameters(), strict=True))
    run.step()
    run.step()
    assert run.G.mapping.w_avg.any()
    assert torch.equal(run.G.mapping.w_avg, run.G_ema.mapping.w_avg)
    assert not any(p.requires_grad for p in run.G_ema.parameters())
