"""Training with a discriminator of clips: what it is shown, its losses and steps, resumption, refusals."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from clips_of import clips_of
from matplotlib.figure import Figure
from small_runs import frame_folder, log, words
from torch import Tensor

from digan_fast import load, snapshot, video
from digan_fast.cli import main
from digan_fast.inr import VideoINR
from digan_fast.networks.discriminators.dvd_gan import DVDDiscriminator
from digan_fast.networks.grid_generator import GridGenerator
from digan_fast.training import states
from digan_fast.training.clip_loss import ClipLoss
from digan_fast.training.config import TrainConfig
from digan_fast.training.curves import plot
from digan_fast.training.loop import train
from digan_fast.training.run import Run


@pytest.fixture
def clips(config: TrainConfig) -> TrainConfig:
    frame_folder(config.data / "other" / "video", 20)
    return replace(config, discriminator="dvd-gan", conditional=True, d_frames=3)


def started(config: TrainConfig) -> Run:
    return Run(config, clips_of(config.data, 8, config.clip_length, config.conditional, whole=True))


@pytest.mark.parametrize("generator", ["digan", "dvd-gan"])
def test_a_resumed_run_is_the_uninterrupted_one(clips: TrainConfig, generator: Any) -> None:
    """Weights, and the vectors of the power iterations; stopped between the two steps of the discriminators."""
    clips = replace(clips, generator=generator, clip_length=4, kimg=0.024, snapshot_kimg=0.012)
    whole = load(train(clips))
    parts = replace(clips, out=clips.out.with_name("parts"))
    train(replace(parts, kimg=0.012))
    resumed = load(train(replace(parts, resume=True)))
    for name in ("G", "D", "G_ema"):
        expected = getattr(whole, name).state_dict()
        assert (generator == "digan" and name != "D") or any(key.endswith(".u") for key in expected)
        assert all(torch.equal(tensor, expected[key]) for key, tensor in getattr(resumed, name).state_dict().items())
    assert isinstance(resumed.D, DVDDiscriminator)
    assert resumed.D.init_kwargs["frames"] == 3
    if generator == "dvd-gan":
        assert isinstance(resumed.G_ema, GridGenerator)
        assert resumed.G_ema.class_names == ["class", "other"]
        with pytest.raises(snapshot.SnapshotError, match="dvd-gan, which makes clips on a pixel grid"):
            snapshot.load_generator(parts.out / "snapshot.safetensors")


@pytest.mark.parametrize(("reduction", "side"), [("render", 4), ("pool2", 8), ("none", 8), ("crop", 8)])
def test_an_inr_renders_what_is_shown(
    clips: TrainConfig, monkeypatch: pytest.MonkeyPatch, reduction: Any, side: int
) -> None:
    rendered: list[tuple[tuple[int, ...], int]] = []
    render = VideoINR.render

    def spy(inr: VideoINR, times: Tensor, size: int | None = None, **options: Any) -> Tensor:
        rendered.append((tuple(times.shape), size or inr.img_resolution))
        return render(inr, times, size, **options)

    monkeypatch.setattr(VideoINR, "render", spy)
    run = started(replace(clips, d_reduction=reduction))
    z, c = torch.randn(4, 8), torch.eye(2)[[0, 1, 0, 1]]
    shown = run.loss._shown_fakes(z, c)
    assert rendered == [((4, 3), 8), ((4, 16), side)]
    assert shown["frame"].shape == (4, 3, 3, 8, 8)
    assert shown["clip"].shape == (4, 16, 3, *[8 if reduction == "none" else 4] * 2)
    if reduction == "render":
        torch.manual_seed(1)
        small = run.loss._shown_fakes(z, c)["clip"]
        run.D.views["clip"] = replace(run.D.views["clip"], reduction="none")
        torch.manual_seed(1)
        large = run.loss._shown_fakes(z, c)["clip"]
        # At half the side an INR is evaluated at every other pixel's coordinates.
        assert small.shape[-1] * 2 == large.shape[-1]


def test_real_frames_are_those_of_the_clip(clips: TrainConfig) -> None:
    run = started(replace(clips, d_reduction="none", mirror=False))
    real, labels = run._next().on(run.device, 2)
    assert real.shape == (4, 16, 3, 8, 8)
    assert labels.sum(1).tolist() == [1.0] * 4
    # Frame i of the folder has the grey level 4·i, so a clip's rise by 4.
    steps = (real[:, 1:] - real[:, :-1]) * 127.5
    torch.testing.assert_close(steps, torch.full_like(steps, 4.0), rtol=0, atol=1e-3)
    shown = run.loss._shown_reals(real)
    assert torch.equal(shown["clip"], real)
    for clip, chosen in zip(real, shown["frame"], strict=True):
        numbers = [next(t for t in range(16) if torch.equal(clip[t], frame)) for frame in chosen]
        assert numbers == sorted(set(numbers))
    seen = {tuple(run.loss._shown_reals(real)["frame"].flatten().tolist()) for _ in range(4)}
    assert len(seen) == 4


def test_hinge_losses(clips: TrainConfig) -> None:
    run = started(replace(clips, augment=""))
    loss = run.loss
    assert isinstance(loss, ClipLoss)
    z, c, real = torch.randn(4, 8), torch.eye(2)[[0, 1, 0, 1]], torch.randn(4, 16, 3, 8, 8)

    def judged(shown: Any, name: str) -> Tensor:
        logits: Tensor = run.D(shown[name], c, head=name).logits
        return logits

    def gradients(phase: str, network: torch.nn.Module) -> list[Tensor]:
        for each in (run.G, run.D):
            each.requires_grad_(each is network).zero_grad()
        torch.manual_seed(3)
        loss.accumulate_gradients(phase, real, c, z, c, 2.0)
        return [p.grad.clone() for p in network.parameters() if p.grad is not None]

    found = gradients("Gmain", run.G)
    run.G.zero_grad()
    torch.manual_seed(3)
    shown = loss._shown_fakes(z, c)
    (2 * sum(-judged(shown, name).mean() for name in ("frame", "clip"))).backward()
    for one, other in zip(found, [p.grad for p in run.G.parameters() if p.grad is not None], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)
    found = gradients("Dmain", run.D)
    run.D.zero_grad()
    torch.manual_seed(3)
    with torch.no_grad():
        fakes = loss._shown_fakes(z, c)
    reals = loss._shown_reals(real)
    terms = [(1 + judged(fakes, n)).relu().mean() + (1 - judged(reals, n)).relu().mean() for n in ("frame", "clip")]
    (2 * sum(terms)).backward()
    for one, other in zip(found, [p.grad for p in run.D.parameters()], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)
    assert set(loss.report) >= {"loss/G", "loss/D_real", "logits/D_real_frame", "logits/D_fake_clip"}


def test_two_steps_of_the_discriminators_for_one_of_the_generator(
    clips: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = started(replace(clips, r1_gamma=0.5))
    seen: list[tuple[str, float]] = []
    moved: list[str] = []
    monkeypatch.setattr(run.loss, "accumulate_gradients", lambda phase, *rest: seen.append((phase, rest[-1])))
    monkeypatch.setattr(type(run.D), "advance", lambda D: moved.append("D"))
    for _ in range(4):
        run.step()
    assert seen == [("Gmain", 1), ("Dmain", 1), ("Dreg", 16), ("Dmain", 1), ("Gmain", 1), ("Dmain", 1), ("Dmain", 1)]
    assert len(moved) == 5
    assert [run.optimisers[name].param_groups[0]["lr"] for name in "GD"] == [1e-4, pytest.approx(5e-4 * 16 / 17)]


def test_the_penalty_is_logged_by_head(clips: TrainConfig) -> None:
    train(replace(clips, r1_gamma=1.0, kimg=0.004, tick_kimg=0.004))
    assert {"r1/frame", "r1/clip"} <= log(clips)[0].keys()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"d_frames": 17}, "--d-frames: 17, expected 1 to 16, the clip length"),
        ({"path_length": 1}, "--path-length: 1.0, expected 0 with --discriminator dvd-gan"),
        (
            {"generator": "dvd-gan", "d_reduction": "render"},
            "--d-reduction: 'render', but --generator dvd-gan makes no",
        ),
        ({"generator": "dvd-gan", "discriminator": "digan"}, "--discriminator: 'digan', but --generator dvd-gan"),
        ({"generator": "dvd-gan", "evaluate_kimg": 1}, "--evaluate-kimg: 1.0, but --generator dvd-gan"),
        ({"generator": "dvd-gan", "g_precision": "bfloat16"}, "--g-precision: 'bfloat16', but --generator dvd-gan"),
        ({"d_steps": 0}, "--d-steps: 0,"),
    ],
)
def test_options_that_do_not_fit(
    clips: TrainConfig, changes: dict[str, Any], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(clips, **{"discriminator": "dvd-gan", **changes})) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"digan-fast train: error: {message}")
    assert not clips.out.exists()


def test_a_grid_generator_generates_and_has_no_inr(clips: TrainConfig, capsys: pytest.CaptureFixture[str]) -> None:
    path = train(replace(clips, generator="dvd-gan", clip_length=3, kimg=0.004))
    capsys.readouterr()
    out = clips.out / "clip.gif"
    made = ["generate", str(path), "--class", "other", "--seeds", "1-2", "--frames", "5", "--out", str(out)]
    assert main([*made, "--loop"]) == 0
    frames, _ = video.read(out)
    assert frames.shape == (8, 3, 8, 16)
    assert torch.equal(frames[1], frames[7])
    capsys.readouterr()
    for option, value in (("size", "16"), ("times", "0:2"), ("precision", "int8"), ("motion-seed", "1")):
        assert main([*made, f"--{option}", value]) == 2
        assert f"--{option}: " in capsys.readouterr().err
    for command in ("interpolate", "motions"):
        assert main([command, str(path), "--out", str(clips.out / "x.gif")]) == 1
        assert "dvd-gan, which makes clips on a pixel grid" in capsys.readouterr().err


def test_a_run_of_clips_counts_clips(
    clips: TrainConfig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    step = Run.step
    monkeypatch.setattr(Run, "step", lambda run: step(run) | ({"loss/G": math.nan} if run.steps == 3 else {}))
    assert main(words(clips, discriminator="dvd-gan", snapshot_kimg=0.004)) == 1
    told = capsys.readouterr().err
    assert "clip/s" in told.replace("s/clip", "clip/s")
    assert "pair" not in told
    assert "error: batch 3 (clips 8 to 11): loss/G is nan" in told
    states.earlier(clips.out, 0).write_bytes(b"")
    monkeypatch.setattr(Run, "step", step)
    train(replace(clips, resume=True, kimg=0.012, conditional=False, d_frames=None))
    assert "goes on from state.1.pt, after 4 clips" in capsys.readouterr().err


def test_curves_count_clips_and_have_no_empty_panel(clips: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    train(replace(clips, kimg=0.008))
    drawn: list[list[tuple[str, str]]] = []
    save = Figure.savefig

    def spy(figure: Figure, *args: Any, **options: Any) -> None:
        drawn.append([(axes.get_title(), axes.get_xlabel()) for axes in figure.axes])
        save(figure, *args, **options)

    monkeypatch.setattr(Figure, "savefig", spy)
    plot(clips.out)
    assert drawn == [[("losses", "thousand clips"), ("logits", "thousand clips")]]
