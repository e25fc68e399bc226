"""Snapshots: the published one, safetensors round trips, files of other kinds."""

import io
import json
import os
import pickle
import resource
import struct
import subprocess
import sys

import numpy as np
import pytest
import torch
from golden import DATA
from safetensors.torch import load_file, save_file

from digan_fast import snapshot
from digan_fast.snapshot import Snapshot, SnapshotError

PUBLISHED = DATA / "snapshot.pkl"


@pytest.fixture(scope="module")
def published():
    return snapshot.load(PUBLISHED)


@pytest.fixture(scope="module")
def expected():
    with np.load(DATA / "snapshot.npz") as file:
        return {name: torch.from_numpy(file[name]) for name in file}


def video(generator, z):
    torch.manual_seed(9)
    with torch.no_grad():
        return generator(z, None, timesteps=4, noise_mode="const")[0]


def distance(found, wanted):
    return float((found - wanted).norm() / wanted.norm())


def same_tensors(found, wanted):
    found, wanted = found.state_dict(), wanted.state_dict()
    assert list(found) == list(wanted)
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_the_published_pickle_is_read_without_building_networks():
    fields = snapshot.read_published(PUBLISHED)
    assert set(fields) == {"G", "D", "G_ema", "training_set"}
    assert fields["training_set"]["resolution"] == 32
    generator, discriminator = fields["G_ema"], fields["D"]
    assert (generator["class_name"], discriminator["class_name"]) == (
        "Generator",
        "OurDiscriminator",
    )
    assert generator["training"] is False
    assert generator["init_kwargs"]["img_resolution"] == 32
    assert generator["init_kwargs"]["cfg"]["fmm"]["activation"] == "demod"
    assert discriminator["init_kwargs"]["epilogue_kwargs"]["mbstd_group_size"] == 4
    assert json.loads(json.dumps(generator["init_kwargs"])) == generator["init_kwargs"]
    assert generator["state_dict"]["mapping.w_avg"].shape == (512,)
    assert generator["state_dict"]["synthesis.b32.extra_convs.0.weight"].shape == (16, 16, 1, 1)
    assert "imageD.b4.out.weight" in discriminator["state_dict"]


def test_the_published_networks_compute_the_recorded_outputs(published, expected):
    wanted = expected["G_ema_forward_4_seed9"]
    assert distance(video(published.G_ema, expected["z"]), wanted) < 1e-5


def test_networks_are_ready_for_use(published):
    for name in snapshot.NETWORKS:
        network = getattr(published, name)
        assert not any(module.training for module in network.modules())
        wanted = name != "G_ema"
        assert all(p.requires_grad is wanted for p in network.parameters())
        assert all(t.dtype == torch.float32 for t in network.state_dict().values())
    assert published.training_set["path"] == "/data/sky"
    assert published.metadata == {}
    with pytest.raises(AttributeError):
        published.G = None


def test_loading_changes_neither_the_random_state_nor_the_file():
    before = torch.random.get_rng_state(), PUBLISHED.read_bytes()
    loaded = snapshot.load(PUBLISHED)
    with torch.no_grad():
        for parameter in loaded.G_ema.parameters():
            parameter.zero_()
    assert torch.equal(torch.random.get_rng_state(), before[0])
    assert PUBLISHED.read_bytes() == before[1]


def test_safetensors_round_trip(tmp_path, published):
    path = tmp_path / "a.anything"
    snapshot.save(path, published, metadata={"attribution": "DIGAN, Yu et al."})
    loaded = snapshot.load(path)
    for name in snapshot.NETWORKS:
        same_tensors(getattr(loaded, name), getattr(published, name))
        assert getattr(loaded, name).init_kwargs == getattr(published, name).init_kwargs
    assert loaded.training_set == published.training_set
    assert loaded.metadata == {"attribution": "DIGAN, Yu et al."}
    again = tmp_path / "again"
    snapshot.save(again, loaded, metadata={"licence": "none"})
    assert snapshot.load(again).metadata == {"attribution": "DIGAN, Yu et al.", "licence": "none"}
    assert sorted(os.listdir(tmp_path)) == ["a.anything", "again"]


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float16, 2e-3), (torch.bfloat16, 2e-2)])
def test_half_precision_halves_the_file_and_loads_as_float32(tmp_path, published, expected, dtype, bound):
    snapshot.convert(PUBLISHED, tmp_path / "full", only_ema=True)
    snapshot.convert(PUBLISHED, tmp_path / "half", dtype=dtype, only_ema=True)
    full, half = ((tmp_path / name).stat().st_size for name in ("full", "half"))
    assert half < 0.55 * full
    assert all(t.dtype == dtype for t in load_file(tmp_path / "half").values())
    loaded = snapshot.load(tmp_path / "half")
    assert loaded.G is None
    assert loaded.D is None
    assert all(t.dtype == torch.float32 for t in loaded.G_ema.state_dict().values())
    assert distance(video(loaded.G_ema, expected["z"]), expected["G_ema_forward_4_seed9"]) < bound


def test_a_network_can_be_saved_under_two_names(tmp_path, published):
    snapshot.save(tmp_path / "a", {"G": published.G_ema, "G_ema": published.G_ema})
    loaded = snapshot.load(tmp_path / "a")
    same_tensors(loaded.G, published.G_ema)
    assert loaded.D is None


@pytest.mark.parametrize(
    ("fields", "options", "message"),
    [
        ({}, {}, "no network"),
        ({"generator": None}, {}, "generator"),
        ({}, {"dtype": torch.int8}, "dtype"),
        (None, {"metadata": {"networks": "x"}}, "reserved"),
        (None, {"metadata": {"a": 1}}, "strings"),
        ({"training_set": {"a": float("nan")}}, {}, "plain data"),
        ({"training_set": {"a": object()}}, {}, "plain data"),
    ],
)
def test_unsavable_arguments_are_rejected(tmp_path, published, fields, options, message):
    network = {"G_ema": published.G_ema}
    fields = network if fields is None else {**network, **fields} if "training_set" in fields else fields
    with pytest.raises(SnapshotError, match=message):
        snapshot.save(tmp_path / "a", fields, **options)
    assert os.listdir(tmp_path) == []


def test_numbers_too_large_for_the_type_are_rejected(tmp_path):
    generator = snapshot.load(PUBLISHED).G_ema
    with torch.no_grad():
        generator.mapping.w_avg[0] = 1e6
    with pytest.raises(SnapshotError, match=r"G_ema\.mapping\.w_avg"):
        snapshot.save(tmp_path / "a", {"G_ema": generator}, dtype=torch.float16)


def test_an_interrupted_save_leaves_the_old_file(tmp_path, published):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            snapshot.save(path, published)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"]


def zip_file():
    buffer = io.BytesIO()
    torch.save({"a": torch.zeros(2)}, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"\x80", "cut short"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 40, "PNG"),
        (zip_file(), "torch.save"),
        (b"{}", "begins with"),
        (b"\xff" * 8 + b"{", "safetensors"),
        (struct.pack("<Q", 2**62) + b"{}", "safetensors"),
        (struct.pack("<Q", 100) + b"{}", "safetensors"),
        (struct.pack("<Q", 2) + b"{}", "format"),
        (struct.pack("<Q", 0x80) + b"{" + b" " * 0x7F, "safetensors"),
        (pickle.dumps([1]), "dict"),
    ],
)
def test_files_of_other_kinds(tmp_path, content, message):
    path = tmp_path / "a"
    path.write_bytes(content)
    with pytest.raises(SnapshotError, match=message) as caught:
        snapshot.load(path)
    assert str(path) in str(caught.value)


def test_a_directory_and_a_missing_file(tmp_path):
    with pytest.raises(SnapshotError, match="directory"):
        snapshot.load(tmp_path)
    with pytest.raises(FileNotFoundError):
        snapshot.load(tmp_path / "missing")
    with pytest.raises(FileNotFoundError):
        snapshot.convert(tmp_path / "missing", tmp_path / "a")
    assert os.listdir(tmp_path) == []


@pytest.fixture
def parts(tmp_path, published):
    """The tensors and metadata of a file, and a function that writes them back."""
    path = tmp_path / "a"
    snapshot.save(path, Snapshot(G_ema=published.G_ema))
    header = path.read_bytes()
    length = struct.unpack_from("<Q", header)[0]
    metadata = json.loads(header[8 : 8 + length])["__metadata__"]
    return path, load_file(path), metadata


def test_tensors_have_to_match_the_configuration(parts):
    path, tensors, metadata = parts
    del tensors["G_ema.mapping.w_avg"]
    tensors["G_ema.mapping.more"] = torch.zeros(2)
    tensors["G_ema.mapping.fc0.bias"] = torch.zeros(3)
    save_file(tensors, path, metadata)
    with pytest.raises(SnapshotError) as caught:
        snapshot.load(path)
    for part in ("w_avg is missing", "more is unexpected", r"fc0.bias has shape [3]"):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        {"format": "digan_fast snapshot 2"},
        {"networks": "{"},
        {"networks": "[]"},
        {"networks": "{}"},
        {"networks": '{"G_ema": []}'},
        {"networks": '{"G_ema": {"unknown": 1}}'},
        {"networks": '{"G_ema": {"z_dim": "x"}}'},
        {"networks": '{"G_ema": {}, "G": {}}'},
        {"networks": "[" * 100_000},
        {"networks": '{"G_ema": ' + '{"a": ' * 900 + "1" + "}" * 901},
        {"training_set": "[]"},
        {"training_set": "1" * 5000},
    ],
)
def test_damaged_metadata_is_an_error(parts, change):
    path, tensors, metadata = parts
    save_file(tensors, path, {**metadata, **change})
    with pytest.raises(SnapshotError, match=str(path)):
        snapshot.load(path)


@pytest.mark.parametrize(
    "change",
    [
        {"synthesis_kwargs": {"channel_base": 2**40, "channel_max": 2**25}},
        {"mapping_kwargs": {"num_layers": 10**12}},
        {"img_resolution": 2**40},
        {"w_dim": 2**50},
        {"cfg": {"num_extra_convs": {"32": 10**12}}},
        {"cfg": {"fmm": {"rank": 2**40}}},
        {"cfg": {"input": {"resolution": 2**40}}},
    ],
)
def test_arguments_of_huge_networks(parts, change):
    path, tensors, metadata = parts
    arguments = json.loads(metadata["networks"])

    def update(old, new):
        for key, value in new.items():
            if isinstance(value, dict):
                update(old.setdefault(key, {}), value)
            else:
                old[key] = value

    update(arguments["G_ema"], change)
    save_file(tensors, path, {**metadata, "networks": json.dumps(arguments)})
    with pytest.raises(SnapshotError):
        snapshot.load(path)


def test_tensors_outside_networks_are_an_error(parts):
    path, tensors, metadata = parts
    save_file({**tensors, "H.a": torch.zeros(1)}, path, metadata)
    with pytest.raises(SnapshotError, match="'H'"):
        snapshot.load(path)


def test_a_truncated_safetensors_file(parts):
    path, *_ = parts
    content = path.read_bytes()
    for length in (1, 7, 8, 9, 100, 5000, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(SnapshotError):
            snapshot.load(path)


def test_a_truncated_published_pickle(tmp_path):
    content = PUBLISHED.read_bytes()
    for length in (1, 2, 11, 1000, len(content) // 3, len(content) - 1):
        (tmp_path / "a").write_bytes(content[:length])
        with pytest.raises(SnapshotError):
            snapshot.load(tmp_path / "a")


def test_importing_the_module_imports_neither_safetensors_nor_omegaconf():
    code = (
        "import sys, digan_fast, digan_fast.snapshot;"
        "sys.exit(any(name in sys.modules for name in ('safetensors', 'omegaconf')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_convert_needs_an_averaged_generator(tmp_path, published):
    snapshot.save(tmp_path / "a", {"D": published.D})
    with pytest.raises(SnapshotError, match="G_ema"):
        snapshot.convert(tmp_path / "a", tmp_path / "b", only_ema=True)
    snapshot.convert(tmp_path / "a", tmp_path / "b")
    same_tensors(snapshot.load(tmp_path / "b").D, published.D)
