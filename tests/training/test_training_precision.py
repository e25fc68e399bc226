"""Training whose generator multiplies in bfloat16."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from small_runs import log

from digan_fast import load
from digan_fast.levels import Level
from digan_fast.networks import Discriminator, Generator
from digan_fast.reference.render import evaluate
from digan_fast.training.config import TrainConfig
from digan_fast.training.loop import train


def test_the_generator_in_bfloat16_learns_and_resumes(config: TrainConfig) -> None:
    """Losses of a run are those of float32 up to rounding, parameters and average stay float32."""
    low = replace(config, g_precision="bfloat16", path_length=2.0)
    whole = load(train(low))
    parts = replace(low, out=config.out.with_name("parts"))
    train(replace(parts, kimg=0.02))
    with pytest.raises(ValueError, match="started with another g_precision"):
        train(replace(parts, resume=True, g_precision="float32"))
    resumed = load(train(replace(parts, resume=True))).G_ema.state_dict()
    assert all(torch.equal(resumed[name], value) for name, value in whole.G_ema.state_dict().items())
    assert all(value.dtype == torch.float32 for value in resumed.values())
    assert json.loads((low.out / "config.json").read_text())["g_precision"] == "bfloat16"
    exact = replace(config, out=config.out.with_name("exact"), path_length=2.0)
    train(exact)
    first, expected = log(low)[0], log(exact)[0]
    names = [name for name in first if name.startswith("loss/G")]
    assert names
    for name in names:
        assert first[name] != expected[name]
        assert first[name] == pytest.approx(expected[name], rel=2e-2)


def test_the_generator_s_loss_falls_in_bfloat16_as_in_float32(config: TrainConfig) -> None:
    """Adam on a fixed target: after 100 steps the losses are within 1 %; 4e-5 was seen."""

    def losses(precision: str) -> list[float]:
        torch.manual_seed(0)
        G = Generator(**config.generator_kwargs(0))
        G.set_precision(precision)
        z, motion, times = torch.randn(2, G.z_dim), torch.randn(2, G.w_dim), torch.rand(4, 1, 1, 1)
        target = torch.rand(4, 3, 8, 8) * 2 - 1
        optimiser, found = torch.optim.Adam(G.parameters(), 3e-3), []
        for _ in range(100):
            optimiser.zero_grad()
            loss = (G.synthesis(G.mapping(z, None, skip_w_avg_update=True), times, motion) - target).square().mean()
            loss.backward()
            optimiser.step()
            found.append(float(loss.detach()))
        return found

    low, exact = losses("bfloat16"), losses("float32")
    assert low[-1] < 0.7 * low[0]
    assert low != exact
    assert low[-1] == pytest.approx(exact[-1], rel=0.01)


def test_runs_from_before_the_generator_s_precision_were_float32(config: TrainConfig) -> None:
    train(replace(config, kimg=0.008))
    path = config.out / "config.json"
    saved = {name: value for name, value in json.loads(path.read_text()).items() if name != "g_precision"}
    path.write_text(json.dumps(saved))
    with pytest.raises(ValueError, match="started with another g_precision"):
        train(replace(config, resume=True, g_precision="bfloat16"))
    train(replace(config, resume=True, kimg=0.012))


@pytest.fixture
def half_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mixed precision computes in float16 here as on a GPU."""
    monkeypatch.setattr("digan_fast.inr.render.computes_half", lambda tensor: True)
    monkeypatch.setattr("digan_fast.networks.discriminators.digan.computes_half", lambda tensor: True)


@pytest.mark.usefixtures("half_on_a_cpu")
def test_mixed_precision_is_float16_at_the_four_highest_levels(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(config, resolution=128, channel_base=512, d_channel_base=512)
    G = Generator(**config.generator_kwargs(0))
    # A rounding that moves one unit across lrelu's kink changes a narrow discriminator's gradients by a seventh.
    options, smooth = config.discriminator_kwargs(0), {"activation": "swish"}
    D = Discriminator(**options | {"block_kwargs": smooth, "epilogue_kwargs": options["epilogue_kwargs"] | smooth})
    dtypes: dict[str, list[torch.dtype]] = {}
    evaluated = evaluate

    def spy(levels: Sequence[Level], *args: Any) -> torch.Tensor:
        dtypes["G"] = [level.layers[0].weight.dtype for level in levels]
        assert all(level.to_rgb.weight.dtype == torch.float32 for level in levels)
        return evaluated(levels, *args)

    def spy_on_level(_: torch.nn.Module, given: tuple[torch.Tensor, ...]) -> None:
        dtypes["D"].append(given[0].dtype)

    monkeypatch.setattr("digan_fast.inr.render.evaluate", spy)
    for resolution in D.videoD.block_resolutions:
        getattr(D.videoD, f"b{resolution}").conv1.register_forward_pre_hook(spy_on_level)
    z, times, motion = torch.randn(2, G.z_dim), torch.rand(4, 1, 1, 1), torch.randn(2, G.w_dim)
    ws = G.mapping(z, None, skip_w_avg_update=True)
    found = {}
    for precision in ("float32", "mixed"):
        G.set_precision(precision)
        D.set_precision(precision)
        dtypes["D"] = []
        pictures = G.synthesis(ws, times, motion)
        pairs = torch.cat((*pictures.unflatten(0, (2, 2)).unbind(1), torch.ones(2, 1, 128, 128)), 1)
        logits = D(pairs)[0]
        assert pictures.dtype == logits.dtype == torch.float32
        grads = torch.autograd.grad(logits.sum(), [*G.synthesis.parameters()], allow_unused=True)
        flat = torch.cat([each.flatten() for each in grads if each is not None])
        found[precision] = (pictures.detach(), logits.detach(), flat)
        if precision == "float32":
            assert {*dtypes["G"], *dtypes["D"]} == {torch.float32}
    # Of 4 to 128, and of 128 to 8.
    assert dtypes["G"] == [torch.float32] * 2 + [torch.float16] * 4
    assert dtypes["D"] == [torch.float16] * 4 + [torch.float32]
    for near, exact in zip(found["mixed"], found["float32"], strict=True):
        assert 0 < float((near - exact).norm() / exact.norm()) < 0.01


@pytest.mark.usefixtures("half_on_a_cpu")
def test_mixed_precision_renders_without_gradients(config: TrainConfig) -> None:
    """Also an INR with four levels or fewer, all of them in float16."""
    inr = Generator(**config.generator_kwargs(0)).inr(torch.randn(1, config.z_dim))
    with torch.no_grad():
        found, exact = (inr.render([0.0, 0.5], precision=precision) for precision in ("mixed", "float32"))
    assert 0 < float((found - exact).norm() / exact.norm()) < 0.01


def test_mixed_precision_on_a_cpu_is_float32_with_a_clamp(config: TrainConfig) -> None:
    low = replace(config, g_precision="mixed", d_precision="mixed", kimg=0.012)
    mixed = load(train(low)).G_ema
    assert mixed is not None
    clamps = {each.conv_clamp for each in mixed.modules() if hasattr(each, "conv_clamp")}
    assert clamps == {256}
    exact = load(train(replace(low, g_precision="float32", d_precision="float32", out=config.out.with_name("exact"))))
    assert exact.G_ema is not None
    assert all(torch.equal(tensor, mixed.state_dict()[name]) for name, tensor in exact.G_ema.state_dict().items())
    with pytest.raises(ValueError, match="levels: 1, expected all 2 in mixed precision"):
        mixed.inr(torch.zeros(1, 8)).render([0.0], levels=1, precision="mixed")
