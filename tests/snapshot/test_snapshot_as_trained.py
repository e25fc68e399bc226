"""Snapshots as written by the published training script, and by its loop with our networks."""

from __future__ import annotations

import copy
import io
import json
import pickle
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from golden import DATA
from published_pickles import Call, importable, named
from torch import Tensor

from digan_fast import Discriminator, Generator, load, save, snapshot
from digan_fast.networks.config import coordinate_config
from digan_fast.snapshot import SnapshotError

AS_TRAINED = DATA / "as_train_py.pkl"
SMALL_G = {
    "z_dim": 8,
    "w_dim": 8,
    "img_resolution": 16,
    "synthesis_kwargs": {"channel_base": 64, "channel_max": 8},
    "cfg": coordinate_config(8, 4, 2, None, 16),
}
SMALL_D = {"img_resolution": 16, "channel_base": 64, "channel_max": 8}


@pytest.fixture(scope="module")
def expected() -> dict[str, Tensor]:
    with np.load(DATA / "as_train_py.npz") as file:
        return {name: torch.from_numpy(file[name]) for name in file}


def distance(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).norm() / wanted.norm())


def same(found: torch.nn.Module, wanted: torch.nn.Module) -> bool:
    mine, theirs = found.state_dict(), wanted.state_dict()
    return list(mine) == list(theirs) and all(torch.equal(mine[name], theirs[name]) for name in theirs)


def check_values(loaded: snapshot.Snapshot, expected: dict[str, Tensor]) -> None:
    torch.manual_seed(9)
    with torch.no_grad():
        frames, _ = loaded.G_ema(expected["z"], None, timesteps=4, noise_mode="const")
        motion, image, _ = loaded.D(expected["pair"], expected["c"].new_zeros(4, 0))
    assert distance(frames, expected["G_ema_forward_4_seed9"]) < 1e-5
    assert distance(motion, expected["motion_logits"]) < 1e-5
    assert distance(image, expected["image_logits"]) < 1e-5


def test_networks_match_the_published_outputs(expected: dict[str, Tensor], tmp_path: Path) -> None:
    loaded = load(AS_TRAINED)
    check_values(loaded, expected)
    save(tmp_path / "ours.safetensors", loaded)
    check_values(load(tmp_path / "ours.safetensors"), expected)


def test_arguments_round_trip(tmp_path: Path) -> None:
    published = snapshot.read_published(AS_TRAINED)
    snapshot.convert(AS_TRAINED, tmp_path / "a")
    loaded = load(tmp_path / "a")
    for name in snapshot.NETWORKS:
        found = loaded[name].init_kwargs
        assert {key: found[key] for key in published[name]["init_kwargs"]} == published[name]["init_kwargs"]


def test_an_open_file_and_names_in_brackets(expected: dict[str, Tensor], tmp_path: Path) -> None:
    with open(AS_TRAINED, "rb") as file:
        loaded = load(file)
    check_values(loaded, expected)
    assert loaded["G_ema"] is loaded.G_ema
    assert loaded["training_set_kwargs"]["path"] == "/data/sky"
    assert "D" in loaded
    assert "G" in loaded
    with pytest.raises(KeyError):
        loaded["augment_pipe"]
    save(tmp_path / "a", loaded)
    check_values(load(io.BytesIO((tmp_path / "a").read_bytes())), expected)
    with open(AS_TRAINED, encoding="latin-1") as text, pytest.raises(SnapshotError, match="bytes"):
        load(text)  # type: ignore[arg-type]


def test_only_requested_networks_are_built(tmp_path: Path) -> None:
    G = Generator(**SMALL_G)
    broken = Discriminator(**SMALL_D)
    broken.init_kwargs["block_kwargs"] = {"unheard_of": 1}
    save(tmp_path / "a", {"G_ema": G, "D": broken})
    with pytest.raises(SnapshotError, match=r"D cannot be built.*unheard_of"):
        load(tmp_path / "a")
    found = load(tmp_path / "a", networks=("G_ema",))
    assert found.D is None
    assert same(found.G_ema, G)
    assert same(snapshot.load_generator(tmp_path / "a"), G)
    snapshot.convert(tmp_path / "a", tmp_path / "b", only_ema=True)
    with pytest.raises(ValueError, match="networks"):
        load(tmp_path / "a", networks=("G", "H"))
    save(tmp_path / "D", {"D": Discriminator(**SMALL_D)})
    with pytest.raises(SnapshotError, match="no generator"):
        snapshot.load_generator(tmp_path / "D")


@pytest.mark.parametrize(
    "options",
    [
        {"block_kwargs": {"freeze_layers": 0, "fp16_channels_last": True}},
        {"block_kwargs": {"freeze_layers": 3}, "ours": True},
        {"block_kwargs": {"freeze_layers": 10**6}},
        {"block_kwargs": {"activation": "swish", "resample_filter": [1, 2, 1]}},
        {"block_kwargs": {"resample_filter": [1, 3, 3, 1]}, "architecture": "skip"},
        {"epilogue_kwargs": {"activation": "relu", "mbstd_num_channels": 0}},
        {"mapping_kwargs": {"num_layers": 2, "layer_features": 8}, "c_dim": 3, "cmap_dim": 4},
        {"num_fp16_res": 4, "conv_clamp": 256, "ours": False},
    ],
)
def test_the_discriminators_options(tmp_path: Path, options: dict[str, Any]) -> None:
    D = Discriminator(**SMALL_D, **options)
    save(tmp_path / "a", {"D": D})
    loaded = load(tmp_path / "a").D
    assert same(loaded, D)
    assert loaded.init_kwargs == json.loads(json.dumps(D.init_kwargs))
    pair, labels = torch.randn(4, 7, 16, 16), torch.zeros(4, options.get("c_dim", 0))
    for found, wanted in zip(loaded(pair, labels), D(pair, labels), strict=True):
        assert torch.equal(found, wanted)


def test_frozen_layers_are_the_first_ones_and_become_buffers() -> None:
    D = Discriminator(**SMALL_D, block_kwargs={"freeze_layers": 5})
    names = {f"{net}.{name}" for net in ("videoD", "imageD") for name in ("b16.fromrgb", "b16.conv0", "b16.conv1")}
    names |= {f"{net}.{name}" for net in ("videoD", "imageD") for name in ("b16.skip", "b8.conv0")}
    frozen = {name.rpartition(".")[0] for name, _ in D.named_buffers() if name.endswith(".weight")}
    assert frozen == names
    plain = Discriminator(**SMALL_D)
    assert list(plain.state_dict()) != []
    assert set(plain.state_dict()) == set(D.state_dict())
    D(torch.randn(2, 7, 16, 16))[0].sum().backward()
    assert all("conv1" in n or "skip" in n or "b4" in n for n, p in D.videoD.named_parameters() if p.grad is not None)


@pytest.mark.parametrize(
    "options",
    [
        {"fp16_channels_last": True, "num_fp16_res": 2, "conv_clamp": 256},
        {"activation": "relu"},
        {"activation": "swish"},
        {"resample_filter": [1, 2, 1], "architecture": "resnet"},
    ],
)
def test_the_generators_options(tmp_path: Path, options: dict[str, Any]) -> None:
    kwargs = {**SMALL_G, "synthesis_kwargs": {**SMALL_G["synthesis_kwargs"], **options}}
    G = Generator(**kwargs, ours=True)
    save(tmp_path / "a", {"G_ema": G})
    loaded = load(tmp_path / "a").G_ema
    z, motion, times = torch.randn(1, 8), torch.randn(1, 8), torch.tensor([0.0, 0.5]).view(2, 1, 1, 1)
    ws = G.mapping(z, None)
    assert torch.equal(loaded.synthesis(ws, times, motion), G.synthesis(ws, times, motion))
    form = G.synthesis.published(ws, times, motion)
    assert distance(G.synthesis(ws, times, motion), form) < 1e-5


def published_forward(self: Any, z: Tensor, c: Tensor | None, timesteps: int = 16) -> Tensor:
    """A forward that scripts around the published code bind to its generator."""
    assert self.ours
    late = self.dist1.sample((len(z), 1, 1, 1, 1))
    early = self.dist2.sample((len(z), 1, 1, 1, 1))
    times = torch.cat((late, early), dim=1).view(len(z), 2).sort(dim=1).values
    motion = torch.randn(len(z), self.w_dim)
    return self.synthesis(self.mapping(z, c), times.reshape(-1, 1, 1, 1), motion)


@pytest.mark.parametrize(("D", "complaint"), [("a name", "D is no network"), ("G", "D is of the class 'Generator'")])
def test_an_unknown_discriminator_does_not_prevent_rendering(tmp_path: Path, D: Any, complaint: str) -> None:
    G = Generator(**SMALL_G)
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps({"G_ema": G, "D": G if D == "G" else D}, 4))
    assert same(snapshot.load_generator(path), G)
    assert same(load(path, networks=("G_ema",)).G_ema, G)
    snapshot.convert(path, tmp_path / "a.safetensors", only_ema=True)
    with pytest.raises(SnapshotError, match=complaint):
        load(path)
    with pytest.raises(SnapshotError, match=complaint):
        snapshot.read_published(path)


def test_a_forward_bound_to_a_generator_finds_the_published_attributes() -> None:
    G = Generator(**SMALL_G).eval()
    z = torch.randn(2, 8)
    torch.manual_seed(3)
    wanted, _ = G(z, None, timesteps=2)
    G.forward = types.MethodType(published_forward, G)  # type: ignore[method-assign]
    torch.manual_seed(3)
    assert torch.equal(G(z, None, timesteps=2), wanted)


def test_the_published_loop_pickles_our_networks() -> None:
    G, D = Generator(**SMALL_G), Discriminator(**SMALL_D, block_kwargs={"freeze_layers": 2})
    G.dist1, G.dist2  # noqa: B018 - used once, they are part of what is pickled
    data: dict[str, Any] = {"training_set_kwargs": {"path": "/data"}, "augment_pipe": None}
    for name, network in (("G", G), ("D", D), ("G_ema", G)):
        data[name] = copy.deepcopy(network).eval().requires_grad_(False).cpu()
    for protocol in (3, 4, 5):
        loaded = load(io.BytesIO(pickle.dumps(data, protocol)))
        for name, network in (("G", G), ("D", D), ("G_ema", G)):
            assert same(loaded[name], network)
            assert loaded[name].init_kwargs == network.init_kwargs
        assert loaded.training_set == {"path": "/data"}


def test_a_pickle_of_ours_executes_nothing() -> None:
    system = named("os", "system")
    with importable(system):
        data = pickle.dumps({"G": Generator(**SMALL_G), "x": Call(system, "true")}, 4)
    with pytest.raises(SnapshotError, match=r"os\.system"):
        load(io.BytesIO(data))


def test_wrapped_networks_are_saved(tmp_path: Path) -> None:
    G, D = Generator(**SMALL_G), Discriminator(**SMALL_D)
    wrapped = torch.nn.Module()
    wrapped.module = D
    save(tmp_path / "a", {"G": torch.compile(G), "D": wrapped})
    assert same(load(tmp_path / "a").G, G)
    assert same(load(tmp_path / "a").D, D)
    with pytest.raises(SnapshotError, match="Linear"):
        save(tmp_path / "b", {"G": torch.nn.Linear(2, 2)})


def test_the_same_snapshot_gives_the_same_bytes(tmp_path: Path) -> None:
    fields = {"G": Generator(**SMALL_G), "D": Discriminator(**SMALL_D), "metadata": {"b": "1", "a": "é", "c": "x" * 99}}
    save(tmp_path / "a", fields)
    save(tmp_path / "b", {key: fields[key] for key in reversed(fields)})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    from safetensors import safe_open

    with safe_open(tmp_path / "a", "pt") as file:
        assert file.metadata()["a"] == "é"
        state = fields["G"].state_dict()
        assert all(torch.equal(file.get_tensor(f"G.{name}"), value) for name, value in state.items())
