"""The generator's options against formulas in float64."""

from __future__ import annotations

import math
from typing import Any

import formulas
import golden
import numpy as np
import pytest
import torch
from formulas import Array, array, correlated, linear, lrelu, resampled
from torch import nn

from digan_fast import Generator
from digan_fast.networks.config import GeneratorConfig, coordinate_config
from digan_fast.networks.coordinates import CoordFuser
from digan_fast.networks.layers import normalize_second_moment
from digan_fast.networks.modulated import SynthesisLayer

# float32 against float64, relative in norm: 1.4e-6 observed; 1e-5 is the bound for golden forward values.
FORWARD = 1e-5
HALF = math.sqrt(0.5)


def config(**changes: Any) -> dict[str, Any]:
    """Levels 4 and 8 on a grid of side 8, level 16 on a doubled grid; ``fmm`` and ``coords`` are merged into it."""
    cfg = coordinate_config(8, 4, 2)
    for key, value in changes.items():
        cfg[key] = {**cfg[key], **value} if key in ("fmm", "coords", "input") else value
    return cfg


def generator(cfg: dict[str, Any], seed: int = 0, **options: Any) -> Generator:
    synthesis = {"channel_base": 64, "channel_max": 8, **options.pop("synthesis_kwargs", {})}
    arguments: dict[str, Any] = {"z_dim": 8, "w_dim": 6, "img_resolution": 16, **options}
    made = Generator(**arguments, synthesis_kwargs=synthesis, cfg=cfg).eval()
    golden.fill(made, seed)
    return made


def modulated_weight(layer: nn.Module, w: Array, rank: int | None, activation: str = "demod") -> Array:
    """Modulated weights [N, O, I, k, k]."""
    weight, style = array(layer.weight)[None], linear(layer.affine, w)
    outputs, inputs = weight.shape[1:3]
    if rank is None:
        weight = weight * style[:, None, :, None, None]
        return weight / np.sqrt((weight**2).sum((2, 3, 4), keepdims=True) + 1e-8)
    left = style[:, : outputs * rank].reshape(-1, outputs, rank)
    right = style[:, outputs * rank :].reshape(-1, rank, inputs)
    change = left @ right / math.sqrt(rank)
    if activation == "tanh":
        change = np.tanh(change)
    if activation == "sigmoid":
        change = 1 / (1 + np.exp(-change)) - 0.5
    weight = weight * (change + 1)[..., None, None]
    if activation == "demod":
        weight = weight / (np.sqrt((weight**2).sum((2, 3, 4), keepdims=True)) + 1e-8)
    return weight


def noisy(layer: nn.Module, noise: Array | None) -> Array | float:
    """The noise added by a layer: its constant noise if none is given."""
    if not hasattr(layer, "noise_strength"):
        return 0.0
    return (array(layer.noise_const) if noise is None else noise) * array(layer.noise_strength)


def modulated(
    layer: nn.Module,
    x: Array,
    w: Array,
    rank: int | None,
    activation: str = "demod",
    gain: float = 1.0,
    clamp: float | None = None,
    noise: Array | None = None,
    fir: bool = False,
) -> Array:
    """One modulated layer, with its constant noise unless another is given."""
    weight = modulated_weight(layer, w, rank, activation)
    padding = weight.shape[-1] // 2
    if fir:
        x = resampled(x, padding + 2, padding + 1, up=2, gain=4)
        y = correlated(x, weight[..., ::-1, ::-1], 0)
    else:
        y = correlated(x, weight, padding)
    return lrelu(y + noisy(layer, noise) + array(layer.bias)[:, None, None], gain, clamp)


def colours(layer: nn.Module, x: Array, w: Array, clamp: float | None) -> Array:
    style = linear(layer.affine, w) / math.sqrt(x.shape[1])
    y = correlated(x, array(layer.weight) * style[:, None, :, None, None], 0)
    return formulas.clamped(y + array(layer.bias)[:, None, None], clamp)


def features(fuser: nn.Module, side: int, w: Array, times: Array, motion: Array, cosine: bool) -> Array:
    affine = linear(fuser.xyaffine, w)
    count = affine.shape[1] // 3
    frequency, offset = math.sqrt(10) * affine[:, : 2 * count].reshape(-1, count, 2), affine[:, 2 * count :]
    moved = linear(fuser.affine, np.concatenate((w, motion), 1)) * times[:, None] * 0.25
    moved = np.where(moved < 0, 0.01 * moved, moved)
    phase = offset + linear(fuser.motion_mlp[1], lrelu(linear(fuser.motion_mlp[0], moved)))
    theta = np.empty((len(w), count, side, side))
    for j in range(side):
        for i in range(side):
            x, y = 2 * i / side - 1, 2 * (side - 1 - j) / side - 1
            theta[:, :, j, i] = frequency[..., 0] * x + frequency[..., 1] * y + phase
    return np.concatenate((np.sin(theta), np.cos(theta)), 1) if cosine else np.sin(theta)


def doubled(x: Array, mode: str | None) -> Array:
    """Upsampled ×2: a matrix applied to rows and columns, or the FIR filter."""
    if mode is None:
        return resampled(x, 2, 1, up=2, gain=4)
    side = x.shape[-1]
    matrix = np.zeros((2 * side, side))
    for i in range(2 * side):
        if mode == "nearest":
            matrix[i, i // 2] = 1
        else:
            at = i * (side - 1) / (2 * side - 1)
            first = min(int(at), side - 2)
            matrix[i, first], matrix[i, first + 1] = 1 - (at - first), at - first
    return matrix @ x @ matrix.T


def frames(
    G: Generator,
    cfg: dict[str, Any],
    ws: Array,
    times: Array,
    motion: Array,
    architecture: str = "skip",
    clamp: float | None = None,
) -> Array:
    """The synthesis network with constant noise; each frame has its own ws and motion."""
    mode, coords = cfg["upsampling_mode"], cfg["coords"]
    rank = cfg["fmm"]["rank"] if cfg["fmm"]["enabled"] else None
    grid = cfg["input"]["resolution"]
    features_wanted = coords["enabled"] and coords["per_resolution"] and architecture != "resnet"
    cosine = all(entry["use_cosine"] for entry in coords["res_configs"].values())
    x = img = np.empty(0)
    entry = 0
    for resolution in (4, 8, 16):
        block = getattr(G.synthesis, f"b{resolution}")
        side, doubles = max(resolution, grid), resolution > grid
        unnormalised = ("conv1",) if resolution == 4 else ("conv0",)

        def layer(
            name: str,
            x: Array,
            gain: float = 1.0,
            fir: bool = False,
            block: nn.Module = block,
            unnormalised: tuple[str, ...] = unnormalised,
        ) -> Array:
            nonlocal entry
            if name not in unnormalised and cfg["fmm"].get("instance_norm"):
                x = x / (x.std((2, 3), ddof=1, keepdims=True) + 1e-8)
            entry += 1
            options: dict[str, Any] = {"gain": gain, "clamp": clamp, "fir": fir}
            return modulated(block.get_submodule(name), x, ws[:, entry - 1], rank, **options)

        if resolution == 4:
            if cfg["input"]["type"] == "const":
                x = np.broadcast_to(array(block.input.input), (len(ws), *block.input.input.shape))
            else:
                x = features(block.input.input.coord_fuser, side, ws[:, 0], times, motion, cosine)
            x = layer("conv1", x)
        else:
            fir = doubles and mode is None
            if doubles and not fir:
                x = doubled(x, mode)
            if doubles and features_wanted:
                own = features(block.coord_fuser, x.shape[-1], ws[:, entry], times, motion, cosine)
                x = np.concatenate((x, own), 1)
            if architecture == "resnet":
                weight = array(block.skip.weight)
                branch = correlated(x, weight[None] / math.sqrt(x.shape[1]), 0) * HALF
                branch = doubled(branch, None) if fir else branch
                x = branch + layer("conv1", layer("conv0", x, fir=fir), gain=HALF)
            else:
                x = layer("conv1", layer("conv0", x, fir=fir))
        for index in range(int(cfg["num_extra_convs"].get(str(side), 0))):
            x = layer(f"extra_convs.{index}", x)
        if architecture == "skip" or resolution == 16:
            below = doubled(img, mode) if doubles and img.size else img
            own = colours(block.torgb, x, ws[:, entry], clamp)
            img = below + own if img.size else own
    assert entry + 1 == ws.shape[1] == G.num_ws
    return img


FMM = {"fmm": {"enabled": True}}
STYLEGAN2 = {"fmm": {"enabled": False}, "coords": {"kernel_size": 3}}
SINES = {str(side): {"predictable_emb_size": 4, "use_cosine": False} for side in (4, 8, 16)}


@pytest.mark.parametrize("clamp", [None, 0.5])
@pytest.mark.parametrize("architecture", ["skip", "orig", "resnet"])
@pytest.mark.parametrize(
    "changes",
    [
        {"upsampling_mode": "bilinear"},
        {"upsampling_mode": "bilinear", **STYLEGAN2},
        {"upsampling_mode": "nearest", "use_noise": True},
        {"upsampling_mode": None, "use_noise": True, **FMM},
        {"upsampling_mode": None, "use_noise": True, **STYLEGAN2},
        {"fmm": {"instance_norm": True}, "num_extra_convs": {"8": 1, "16": 2}},
        {"input": {"type": "const"}, "num_extra_convs": {"8": 2}},
        {"coords": {"res_configs": SINES}, "input": {"coord_fuser_cfg": None}},
        {"coords": {"per_resolution": False}},
        {"input": {"resolution": 4}, "num_extra_convs": {"4": 1}},
        {"coords": {"enabled": False}, "fmm": {"enabled": False}, "input": {"type": "const"}},
    ],
    ids=lambda changes: ",".join(f"{key}={value}" for key, value in changes.items())[:60],
)
def test_synthesis_matches_the_formula(changes: dict[str, Any], architecture: str, clamp: float | None) -> None:
    cfg = config(**changes)
    G = generator(cfg, synthesis_kwargs={"architecture": architecture, "conv_clamp": clamp})
    for name, parameter in G.named_parameters():
        if name.endswith("noise_strength"):
            nn.init.constant_(parameter, 0.7)
    ws, times, motion = torch.randn(2, G.num_ws, 6), torch.rand(4, 1, 1, 1), torch.randn(2, 6)
    each = [array(t.repeat_interleave(2, 0)) for t in (ws, motion)]
    expected = frames(G, cfg, each[0], array(times.flatten()), each[1], architecture, clamp)
    for run in (G.synthesis, G.synthesis.published):
        assert formulas.error(run(ws, times, motion, noise_mode="const"), expected) < FORWARD


@pytest.mark.parametrize("activation", ["demod", "tanh", "sigmoid", "linear"])
@pytest.mark.parametrize("gain", [1.0, HALF])
@pytest.mark.parametrize("mode", ["const", "random", "none"])
def test_a_modulated_layer_matches_the_formula(activation: str, gain: float, mode: str) -> None:
    """Each frame's noise is drawn from the global generator and shared by all channels."""
    cfg = GeneratorConfig.read(config(use_noise=True, fmm={"activation": activation}))
    layer = SynthesisLayer(5, 4, 6, 8, 1, cfg, conv_clamp=0.5)
    golden.fill(layer, 1)
    nn.init.constant_(layer.noise_strength, 0.7)
    x, w = torch.randn(3, 5, 8, 8), torch.randn(3, 6)
    torch.manual_seed(5)
    found = layer(x, w, mode, gain)
    after = torch.rand(())
    torch.manual_seed(5)
    noise = array(torch.randn(3, 1, 8, 8)) if mode == "random" else None
    if mode == "none":
        noise = np.zeros((8, 8))
    assert torch.equal(after, torch.rand(()))
    expected = modulated(layer, array(x), array(w), 2, activation, gain, 0.5, noise)
    assert formulas.error(found, expected) < FORWARD
    bound = 0.5 * gain
    assert (abs(expected) == bound).any()
    assert (abs(expected) < bound).any()


@pytest.mark.parametrize("use_noise", [False, True])
def test_noise_is_random_by_default(use_noise: bool) -> None:
    G = generator(config(use_noise=use_noise, fmm={"instance_norm": True}))
    ws, times, motion = torch.randn(1, G.num_ws, 6), torch.rand(1, 1, 1, 1), torch.randn(1, 6)
    for run in (G.synthesis, G.synthesis.published):
        assert torch.equal(run(ws, times, motion), run(ws, times, motion)) != use_noise
    x, layer = torch.randn(1, 4, 16, 16), G.synthesis.b16.conv1
    assert torch.equal(layer(x, ws[:, 0]), layer(x, ws[:, 0])) != use_noise


def test_coordinate_features_match_the_formula() -> None:
    fuser = generator(config()).synthesis.b16.coord_fuser
    assert isinstance(fuser, CoordFuser)
    w, times, motion = torch.randn(3, 6), torch.tensor([0.0, 0.4, 1.0]), torch.randn(3, 6)
    expected = features(fuser, 16, array(w), array(times), array(motion), cosine=True)
    assert formulas.error(fuser(16, w, times.view(3, 1, 1, 1), motion), expected) < FORWARD
    assert fuser.channels == 8


def test_zero_inputs_give_no_nan() -> None:
    layer = SynthesisLayer(5, 4, 6, 8, 1, GeneratorConfig.read(config()), instance_norm=True)
    nn.init.zeros_(layer.weight)
    out = layer(torch.zeros(2, 5, 8, 8), torch.zeros(2, 6))
    assert torch.equal(out, torch.zeros(2, 4, 8, 8))
    plain = SynthesisLayer(5, 4, 6, 8, 1, GeneratorConfig.read(config(fmm={"enabled": False})))
    nn.init.zeros_(plain.weight)
    assert torch.equal(plain(torch.ones(2, 5, 8, 8), torch.zeros(2, 6)), torch.zeros(2, 4, 8, 8))
    assert torch.equal(normalize_second_moment(torch.zeros(2, 3)), torch.zeros(2, 3))


@pytest.mark.parametrize("layers", [1, 2, 8])
@pytest.mark.parametrize("c_dim", [0, 3])
def test_mapping_matches_the_formula(layers: int, c_dim: int) -> None:
    G = generator(config(), c_dim=c_dim, mapping_kwargs={"num_layers": layers})
    mapping = G.mapping
    z, c = torch.randn(5, 8), torch.eye(3)[[0, 1, 2, 0, 1]][:, :c_dim]
    latents = [formulas.normalised(array(z))]
    if c_dim:
        latents.append(formulas.normalised(linear(mapping.embed, array(c))))
    w = formulas.mapped(mapping, latents, layers)
    ws = np.repeat(w[:, None], G.num_ws, 1)
    assert formulas.error(mapping(z, c), ws) < FORWARD
    assert not mapping.w_avg.any()

    mapping.train()
    mapping(z, c, skip_w_avg_update=True)
    assert not mapping.w_avg.any()
    mapping(z, c)
    mapping(z, c)
    average = w.mean(0) * (0.005 + 0.005 * 0.995)
    # lerp(mean, w_avg, 0.995) in float32: the weight of the mean, 1 − 0.995, is exact to 2⁻²⁵/0.005 = 6e-6.
    assert formulas.error(mapping.w_avg, average) < FORWARD
    mapping.eval()
    for psi, cutoff in ((0.7, None), (0.5, 2), (0.0, 1), (1.0, None)):
        expected = ws.copy()
        expected[:, :cutoff] = average + psi * (expected[:, :cutoff] - average)
        assert formulas.error(mapping(z, c, psi, cutoff), expected) < FORWARD


@pytest.mark.parametrize("timesteps", [0, 1, 2, 3, 5])
def test_random_draws_of_a_call(timesteps: int) -> None:
    """Two random times up to 2; the order of draws is Beta(2, 1), Beta(1, 2), motion vectors."""
    G, z = generator(config()), torch.randn(3, 8)
    torch.manual_seed(4)
    found, difference = G(z, timesteps=timesteps, noise_mode="none")
    after = torch.rand(())
    torch.manual_seed(4)
    if timesteps > 2:
        times = torch.stack([torch.linspace(0, 1, timesteps)] * 3)
        assert difference is None
    else:
        late = torch.distributions.Beta(2.0, 1.0).sample((3, 1, 1, 1, 1)).flatten()
        early = torch.distributions.Beta(1.0, 2.0).sample((3, 1, 1, 1, 1)).flatten()
        times = torch.stack((torch.minimum(late, early), torch.maximum(late, early)), 1)
        assert difference is not None
        assert torch.equal(difference, (late - early).abs().view(3, 1, 1, 1))
    motion = torch.randn(3, 6)
    assert torch.equal(after, torch.rand(()))
    expected = G.synthesis(G.mapping(z, None), times.reshape(-1, 1, 1, 1), motion)
    assert torch.equal(found, expected)


def test_truncation_of_a_call_and_of_its_inr() -> None:
    G, z, motion = generator(config()), torch.randn(2, 8), torch.randn(2, 6)
    G.mapping.w_avg.copy_(torch.randn(6))
    ws = G.mapping(z, None, 0.5, 3)
    times = torch.linspace(0, 1, 3).repeat(2).view(-1, 1, 1, 1)
    torch.manual_seed(4)
    found, _ = G(z, timesteps=3, truncation_psi=0.5, truncation_cutoff=3)
    torch.manual_seed(4)
    assert torch.equal(found, G.synthesis(ws, times, torch.randn(2, 6)))
    inr = G.train().inr(z, None, motion, 0.5, 3)
    assert torch.equal(inr.levels[-1].to_rgb.weight, G.synthesis.inr(ws, motion).levels[-1].to_rgb.weight)


def half_levels(network: nn.Module) -> dict[str, bool]:
    return {name.split(".")[-1]: m.use_fp16 for name, m in network.named_modules() if hasattr(m, "use_fp16")}


@pytest.mark.parametrize("count", [0, 1, 2])
def test_the_highest_levels_are_half_precision_on_a_gpu_only(count: int) -> None:
    cfg = config(upsampling_mode=None)
    G = generator(cfg, synthesis_kwargs={"num_fp16_res": count})
    assert half_levels(G) == {"b4": False, "b8": count > 1, "b16": count > 0}
    ws, times, motion = torch.randn(1, G.num_ws, 6), torch.rand(1, 1, 1, 1), torch.randn(1, 6)
    assert torch.equal(G.synthesis(ws, times, motion), generator(cfg).synthesis(ws, times, motion))


def test_initial_parameters() -> None:
    """Weights randn (divided by the learning rate multiplier in mapping layers), biases 0 (1 for styles), noise 0."""
    cfg = config(use_noise=True, input={"type": "const"}, fmm={"enabled": False})
    G = Generator(64, 0, 64, 16, synthesis_kwargs={"channel_base": 1024, "channel_max": 64}, cfg=cfg)
    seen = set()
    for name, tensor in [*G.named_parameters(), *G.named_buffers()]:
        kind = name.split(".")[-1]
        if kind in ("weight", "input", "noise_const"):
            scale = 100.0 if "mapping" in name else 1.0
            mean, deviation = float(tensor.detach().mean()), float(tensor.detach().std())
            # Five standard errors of the mean and of the standard deviation of n normal numbers.
            assert abs(mean) < 5 * scale / math.sqrt(tensor.numel()), name
            assert abs(deviation / scale - 1) < 5 / math.sqrt(2 * tensor.numel()), name
        elif kind in ("bias", "noise_strength", "w_avg"):
            styles = "affine" in name and "coord_fuser" not in name
            assert torch.equal(tensor, torch.full_like(tensor, float(styles))), name
        seen.add(kind)
    assert seen == {"weight", "input", "noise_const", "bias", "noise_strength", "w_avg", "resample_filter"}
    factorised = SynthesisLayer(5, 4, 6, 8, 1, GeneratorConfig.read(config()))
    assert not factorised.affine.bias.any()
    assert not factorised.bias.any()
