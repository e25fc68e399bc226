from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import digan_fast
from digan_fast import Discriminator, Generator
from digan_fast.networks.config import DIGAN, GeneratorConfig, coordinate_config, read_config, resolve
from digan_fast.networks.discriminators.digan import minibatch_deviation

SMALL = {"channel_base": 256, "channel_max": 12}


def generator(cfg: dict[str, Any] | None = None, **options: Any) -> Generator:
    arguments: dict[str, Any] = {
        "z_dim": 8,
        "w_dim": 8,
        "img_resolution": 16,
        "synthesis_kwargs": SMALL,
        "cfg": cfg or coordinate_config(8, 4, 2),
    }
    return Generator(**{**arguments, **options}).eval()


def test_the_default_is_digan() -> None:
    """63.5 million parameters, 13 ws vectors, 7.38 GMAC per frame before to-RGB."""
    with torch.device("meta"):
        G = Generator()
    assert G.num_ws == 13
    assert round(sum(p.numel() for p in G.parameters()) / 1e6, 1) == 63.5
    macs, below = [], 0
    for block in G.synthesis.blocks:
        pixels, shared = block.side**2, 0
        for layer in block.layers:
            outputs, inputs = layer.weight.shape[:2]
            shared += outputs * inputs * pixels
        if block.doubles:
            # The first layer's product with the level below runs at a quarter of the pixels.
            shared -= block.layers[0].weight.shape[0] * below * pixels * 3 // 4
        below = block.layers[-1].weight.shape[0]
        macs.append(shared / 1e9)
    assert round(sum(macs), 2) == 7.38


def test_any_w_dim_works() -> None:
    G = generator(z_dim=5, w_dim=7)
    img, difference = G(torch.randn(3, 5), timesteps=2)
    assert img.shape == (6, 3, 16, 16)
    assert difference is not None
    assert difference.shape == (3, 1, 1, 1)
    assert (difference >= 0).all()


@pytest.mark.parametrize("mode", ["nearest", "bilinear", None])
@pytest.mark.parametrize("architecture", ["skip", "orig", "resnet"])
@pytest.mark.parametrize("noise", [False, True])
def test_every_combination_runs_forward_and_backward(mode: str | None, architecture: str, noise: bool) -> None:
    cfg = {**coordinate_config(8, 4, 2), "upsampling_mode": mode, "use_noise": noise}
    if architecture == "resnet":
        cfg["coords"] = {**cfg["coords"], "per_resolution": False}
    G = generator(cfg, synthesis_kwargs={**SMALL, "architecture": architecture})
    img, _ = G(torch.randn(2, 8), timesteps=3, noise_mode="const")
    assert img.shape == (6, 3, 16, 16)
    img.square().sum().backward()
    reached = {name for name, p in G.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    # Noise strengths start at 0 and get gradients; there is no linear layer for labels.
    assert reached == {name for name, _ in G.named_parameters()}


def test_int_and_str_keys_are_the_same() -> None:
    cfg = coordinate_config(8, 4, 2, extra_convs={16: 1})
    ints = copy.deepcopy(cfg)
    ints["num_extra_convs"] = {16: 1}
    ints["coords"]["res_configs"] = {int(k): v for k, v in cfg["coords"]["res_configs"].items()}
    assert generator(cfg).state_dict().keys() == generator(ints).state_dict().keys()


def test_a_published_configuration_file_is_read(tmp_path: Path) -> None:
    tree = {
        "generator": {
            "upsampling_mode": "nearest",
            "use_noise": False,
            "num_extra_convs": {16: 1},
            "coords": {
                "enabled": True,
                "per_resolution": True,
                "kernel_size": 1,
                "low_res_cfg": {"predictable_emb_size": 4, "use_cosine": True, "use_diagonal": True},
                "medium_res_cfg": {"predictable_emb_size": 6, "use_cosine": True},
                "res_configs": {8: "${generator.coords.low_res_cfg}", 16: "${coords.medium_res_cfg}"},
            },
            "input": {"type": "coords", "resolution": 8, "coord_fuser_cfg": "${generator.coords}"},
            "fmm": {"enabled": True, "rank": 2, "activation": "demod"},
        }
    }
    path = tmp_path / "inr-gan.yml"
    path.write_text(yaml.safe_dump(tree))
    cfg = read_config(path)
    assert cfg["input"]["coord_fuser_cfg"]["res_configs"][16]["predictable_emb_size"] == 6
    G = generator(cfg)
    assert G.synthesis.b16.coord_fuser.sinusoids == 6
    assert len(G.synthesis.b16.extra_convs) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("generator: {coords: '${nowhere.to}'}", "nowhere.to"),
        ("a: '${b}'\nb: '${a}'", "refers to itself"),
        ("[1, 2]", "expected a mapping"),
        ("generator: {upsampling_mode: cubic}", "upsampling_mode: 'cubic'"),
        ("a: [", "not a generator configuration"),
    ],
)
def test_bad_configuration_files_are_rejected(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bad.yml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        read_config(path)
    assert str(path) in str(caught.value)


def _changed(**changes: Any) -> dict[str, Any]:
    return {**coordinate_config(8, 4, 2), **changes}


@pytest.mark.parametrize(
    ("cfg", "message"),
    [
        (_changed(coords={"enabled": True, "res_configs": {}}), "no entry for the grid of side 16"),
        (_changed(coords={"coord_dim": 3}), "coord_dim: 3"),
        (_changed(fmm={"enabled": True, "activation": "relu"}), "fmm.activation: 'relu'"),
        (_changed(input={"type": "noise"}), "input.type: 'noise'"),
        (
            _changed(coords={"res_configs": {"16": {"predictable_emb_size": 4, "use_raw_coords": True}}}),
            "use_raw_coords: only predicted sinusoids",
        ),
    ],
)
def test_invalid_options_are_named(cfg: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        generator(cfg)


def test_fallback_drops_the_coordinate_features() -> None:
    cfg = coordinate_config(8, 4, 2)
    cfg = {**cfg, "coords": {**cfg["coords"], "fallback": True}}
    G = generator(cfg)
    assert G.synthesis.b16.coord_fuser is None
    assert G.synthesis.why_not_inr() == "a level that doubles the grid has no coordinate features"
    with pytest.raises(ValueError, match="this generator has no INR"):
        G.synthesis.inr(torch.zeros(1, G.num_ws, 8), torch.zeros(1, 8))
    assert G(torch.randn(1, 8), timesteps=3)[0].shape == (3, 3, 16, 16)


def test_instance_norm_uses_the_published_form() -> None:
    cfg = coordinate_config(8, 4, 2)
    cfg = {**cfg, "fmm": {**cfg["fmm"], "instance_norm": True}}
    G = generator(cfg)
    ws, times, motion = torch.randn(1, G.num_ws, 8), torch.rand(2, 1, 1, 1), torch.randn(1, 8)
    x = G.synthesis(ws, times, motion)
    assert x.isfinite().all()
    assert not torch.allclose(x, generator(coordinate_config(8, 4, 2)).synthesis(ws, times, motion))


@pytest.mark.parametrize(
    ("z", "c", "message"),
    [
        (torch.zeros(2, 7), None, r"z: shape \(2, 7\), expected \[B, 8\]"),
        (torch.zeros(2, 8), None, r"c: None, expected labels \[B, 3\]"),
        (torch.zeros(2, 8), torch.zeros(2, 4), r"c: shape \(2, 4\)"),
    ],
)
def test_invalid_latents_are_named(z: torch.Tensor, c: torch.Tensor | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        generator(c_dim=3).mapping(z, c)


def test_invalid_synthesis_arguments_are_named() -> None:
    G = generator()
    ws, times, motion = torch.zeros(2, G.num_ws, 8), torch.zeros(4, 1, 1, 1), torch.zeros(2, 8)
    with pytest.raises(ValueError, match="Ts: shape"):
        G.synthesis(ws, times[:3], motion)
    with pytest.raises(ValueError, match="z_motion: shape"):
        G.synthesis(ws, times, motion[:1])
    with pytest.raises(ValueError, match="ws: shape"):
        G.synthesis(ws[:, 1:], times, motion)
    with pytest.raises(ValueError, match="noise_mode: 'loud'"):
        G.synthesis.published(ws, times, motion, noise_mode="loud")


def test_an_empty_batch_gives_no_frames() -> None:
    G = generator()
    assert G(torch.zeros(0, 8), timesteps=3)[0].shape == (0, 3, 16, 16)


def test_published_keywords_are_accepted() -> None:
    G = generator()
    z = torch.randn(1, 8)
    torch.manual_seed(3)
    img, _ = G(z, timesteps=3, noise_mode="const", force_fp32=True)
    torch.manual_seed(3)
    assert torch.equal(img, G(z, timesteps=3)[0])
    with pytest.raises(ValueError, match="noise_mode: 'loud'"):
        G(z, timesteps=3, noise_mode="loud")


def test_double_precision() -> None:
    G = generator().double()
    z = torch.randn(2, 8, dtype=torch.float64)
    img, _ = G(z, timesteps=3)
    assert img.dtype == torch.float64
    ws, times, motion = G.mapping(z, None), torch.rand(2, 1, 1, 1, dtype=torch.float64), torch.randn(2, 8)
    torch.testing.assert_close(G.synthesis(ws, times, motion), G.synthesis.published(ws, times, motion))


@pytest.mark.parametrize("taps", [(1, 1), (1, 2, 1), (1, 3, 3, 1), (1, 4, 6, 4, 1)])
def test_fir_filters_of_any_length_keep_the_sizes(taps: tuple[int, ...]) -> None:
    cfg = {**coordinate_config(4, 4, 2), "upsampling_mode": None}
    G = generator(cfg, synthesis_kwargs={**SMALL, "resample_filter": taps})
    assert G(torch.randn(1, 8), timesteps=3)[0].shape == (3, 3, 16, 16)


def test_invalid_sizes_are_named() -> None:
    with pytest.raises(ValueError, match=r"input\.resolution: 32, but the picture's side is 16"):
        generator(coordinate_config(32, 4, 2))
    with pytest.raises(ValueError, match="channel_base: 8"):
        generator(synthesis_kwargs={"channel_base": 8})
    with pytest.raises(ValueError, match="channel_base: 8"):
        Discriminator(0, 16, channel_base=8)


def test_invalid_batches_are_named() -> None:
    with pytest.raises(ValueError, match="c: 3 labels for 2 latents"):
        generator(c_dim=2).mapping(torch.zeros(2, 8), torch.zeros(3, 2))
    with pytest.raises(ValueError, match="c: 3 labels for 2 pairs"):
        Discriminator(2, 16, channel_base=128, channel_max=8)(torch.zeros(2, 7, 16, 16), torch.zeros(3, 2))


@pytest.mark.parametrize("kind", [Generator, Discriminator])
def test_resolutions_are_powers_of_two(kind: type) -> None:
    with pytest.raises(ValueError, match="img_resolution: 24"):
        kind(img_resolution=24)


def test_init_kwargs_rebuild_the_network() -> None:
    G = generator()
    assert Generator(**G.init_kwargs).state_dict().keys() == G.state_dict().keys()
    D = Discriminator(3, 16, channel_base=128, channel_max=8)
    assert Discriminator(**D.init_kwargs).state_dict().keys() == D.state_dict().keys()


def test_discriminator_in_bfloat16_is_close() -> None:
    """Convolutions in bfloat16 (2⁻⁹ per rounding); error observed: 0.3 %, and at most 1.7 % for 20 seeds."""
    D = Discriminator(0, 16, channel_base=256, channel_max=16)
    vid = torch.randn(4, 7, 16, 16)
    exact = torch.cat(D(vid)[:2])
    D.set_precision("bfloat16")
    found = torch.cat(D(vid)[:2])
    assert found.dtype == torch.float32
    assert 0 < (found - exact).norm() / exact.norm() < 0.05
    for other in ("int4", "int8"):
        with pytest.raises(ValueError, match=f"precision: '{other}'"):
            D.set_precision(other)


def test_invalid_discriminator_input_is_named() -> None:
    D = Discriminator(0, 16, channel_base=128, channel_max=8)
    with pytest.raises(ValueError, match=r"vid: shape \(2, 6, 16, 16\), expected \[B, 7, 16, 16\]"):
        D(torch.zeros(2, 6, 16, 16))
    with pytest.raises(ValueError, match="mbstd_group_size: 4 does not divide the batch of 6"):
        minibatch_deviation(torch.zeros(6, 4, 2, 2), 4)


def test_resolve_gives_plain_data() -> None:
    assert resolve({"a": {"b": 1}, "c": "${a.b}", "d": ["${a}"]}) == {"a": {"b": 1}, "c": 1, "d": [{"b": 1}]}
    assert GeneratorConfig.read(None) == GeneratorConfig.read(DIGAN)


def test_the_package_s_exports() -> None:
    assert digan_fast.Generator is Generator
    assert set(digan_fast.__all__) <= set(dir(digan_fast))
    with pytest.raises(AttributeError, match="Genrator"):
        digan_fast.Genrator  # noqa: B018


def test_the_generator_s_precision() -> None:
    G = generator()
    ws, times, motion = torch.randn(2, G.num_ws, 8), torch.rand(4, 1, 1, 1), torch.randn(2, 8)
    exact = G.synthesis(ws, times, motion)
    G.set_precision("bfloat16")
    low = G.synthesis(ws, times, motion)
    assert low.dtype == torch.float32
    assert torch.equal(low, G.synthesis(ws, times, motion, precision="bfloat16"))
    assert torch.equal(exact, G.synthesis(ws, times, motion, precision="float32"))
    assert not torch.equal(exact, low)
    low.sum().backward()
    assert all(p.grad is None or p.grad.dtype == torch.float32 for p in G.parameters())
    for other in ("int8", "half"):
        with pytest.raises(ValueError, match=f"precision: '{other}', expected one of float32, bfloat16"):
            G.set_precision(other)
    G.set_precision("float32")
    assert torch.equal(exact, G.synthesis(ws, times, motion))


def test_a_generator_without_an_inr_has_one_precision() -> None:
    G = generator(synthesis_kwargs={**SMALL, "architecture": "resnet"})
    G.set_precision("float32")
    with pytest.raises(ValueError, match=r"precision: 'bfloat16', but this generator has no INR: architecture is"):
        G.set_precision("bfloat16")


def test_gradients_in_bfloat16_are_as_near_as_plain_pytorch_s() -> None:
    """Of all parameters together, relative in norm, against float64: 0.016 to 0.11 for 20 seeds, and 0.026 to 0.087."""

    def gradients(seed: int, dtype: torch.dtype, precision: str, backend: str) -> torch.Tensor:
        torch.manual_seed(seed)
        G = generator()
        draws = torch.randn(2, G.num_ws, 8), torch.rand(6, 1, 1, 1), torch.randn(2, 8)
        probe = torch.randn(6, 3, 16, 16)
        G = G.to(dtype)
        with digan_fast.use_backend(backend):
            G.synthesis(*(t.to(dtype) for t in draws), precision=precision).backward(probe.to(dtype))
        return torch.cat([p.grad.double().flatten() for p in G.parameters() if p.grad is not None])

    own = "reference" if digan_fast.backends()["native"] else "native"
    found: dict[str, list[float]] = {own: [], "reference": []}
    for seed in range(6):
        exact = gradients(seed, torch.float64, "float32", "reference")
        for backend, errors in found.items():
            low = gradients(seed, torch.float32, "bfloat16", backend)
            errors.append(float((low - exact).norm() / exact.norm()))
    assert all(1e-3 < error < 0.15 for error in found[own])
    assert sum(found[own]) < 1.5 * sum(found["reference"])
