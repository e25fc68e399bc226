"""The files of videos: versions, storages, clips, latents, damage."""

import json
from dataclasses import replace

import pytest
import torch

from digan_fast import video
from digan_fast.fitting.networks import initial, stored_bytes, widest
from digan_fast.inr import Clip, Latents, StoredVideo, VideoINR, is_stored_video
from digan_fast.tensor_files import read_tensors, save_tensors

CLIP = Clip(height=9, width=13, frames=5, fps=10)
NETWORKS = ("inr", "siren", "fourier")
TIMES = torch.tensor([0.0, 0.3, 1.4])


def metadata_of(path):
    return read_tensors(memoryview(bytearray(path.read_bytes()))).metadata


def frames(stored, **options):
    return torch.stack(list(stored.frames(TIMES, **options)))


@pytest.fixture(params=NETWORKS)
def stored(request):
    return initial(request.param, CLIP, 16, seed=1)


def test_an_inr_alone_is_written_as_version_1_and_its_bytes_are_those_of_before(tmp_path):
    inr = initial("inr", CLIP, 16, 0).network
    inr.save(tmp_path / "a.safetensors")
    metadata = metadata_of(tmp_path / "a.safetensors")
    assert sorted(metadata) == ["format", "levels"]
    assert metadata["format"] == "digan_fast.VideoINR/1"
    save_tensors(tmp_path / "b.safetensors", inr.tensors(), metadata)
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    again = VideoINR.load(tmp_path / "b.safetensors")
    assert all(torch.equal(again.tensors()[name], tensor) for name, tensor in inr.tensors().items())
    assert StoredVideo.load(tmp_path / "b.safetensors").clip is None


@pytest.mark.parametrize("storage", ["float32", "float16", "int8"])
def test_everything_comes_back(stored, storage, tmp_path):
    latents = Latents(torch.randn(1, 3, 4), torch.randn(1, 4), "0123") if isinstance(stored.network, VideoINR) else None
    stored = replace(stored, latents=latents)
    path = tmp_path / "video.safetensors"
    stored.save(path, storage)
    assert is_stored_video(path)
    assert path.stat().st_size == stored_bytes(stored, storage)
    again = StoredVideo.load(path)
    assert again.clip == CLIP
    if latents is not None:
        assert torch.equal(again.latents.ws, latents.ws)
        assert torch.equal(again.latents.z_motion, latents.z_motion)
        assert again.latents.generator == "0123"
    rounded = stored.rounded(storage).network.tensors()
    for name, tensor in again.network.tensors().items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, rounded[name])
        exact = stored.network.tensors()[name]
        largest = exact.abs().amax(-1, keepdim=True) if tensor.ndim else exact.abs()
        # Half a step of int8's rows; float16 has 11 significant bits.
        bound = {"float32": 0, "float16": 2**-11, "int8": 0.5001 / 127}[storage]
        assert bool(((tensor - exact).abs() <= bound * largest).all()), name


@pytest.mark.parametrize("storage", ["float16", "int8"])
def test_what_multiplies_coordinates_is_exact(stored, storage, tmp_path):
    stored.save(tmp_path / "v.safetensors", storage)
    again = StoredVideo.load(tmp_path / "v.safetensors").network.tensors()
    names = [name for name in again if name.endswith((".frequency", ".velocity", ".offset")) or name == "frequency"]
    names = names or ["weights.0", "biases.0"]
    for name in names:
        assert torch.equal(again[name], stored.network.tensors()[name])


def test_a_row_of_zeros_and_a_number_beyond_float16(tmp_path):
    stored = initial("siren", CLIP, 16, 0)
    weights = list(stored.network.weights)
    weights[1] = weights[1].clone()
    weights[1][0, 3] = 0
    network = replace(stored.network, weights=tuple(weights))
    assert bool((replace(stored, network=network).rounded("int8").network.weights[1][0, 3] == 0).all())
    weights[1] = weights[1] + 1e6
    path = tmp_path / "v.safetensors"
    for storage in ("float16", "int8"):
        replace(stored, network=replace(network, weights=tuple(weights))).save(path, storage)
        again = StoredVideo.load(path).network.weights
        # In float32 where float16 has no such number, in float16 elsewhere.
        assert torch.allclose(again[1], weights[1], rtol=0 if storage == "float16" else 1 / 254, atol=0)
        assert (read_tensors(memoryview(bytearray(path.read_bytes()))).load("weights.2").dtype) == getattr(
            torch, storage
        )


@pytest.mark.parametrize("storage", ["float32", "float16", "int8"])
def test_a_number_that_is_not_finite_is_not_saved(storage, tmp_path):
    stored = initial("siren", CLIP, 16, 0)
    stored.network.weights[1][0, 0, 0] = torch.inf
    with pytest.raises(ValueError, match=r"weights\.1: a value that is not finite"):
        stored.save(tmp_path / "v.safetensors", storage)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("storage", ["float32", "float16", "int8"])
@pytest.mark.parametrize("kilobytes", [12, 60.5])
def test_the_widest_network_fits_and_the_next_does_not(network, storage, kilobytes):
    chosen = widest(network, CLIP, kilobytes, storage, 0)
    size = stored_bytes(chosen, storage)
    assert size <= kilobytes * 1000
    biases = chosen.network.levels[0].layers[0].bias if network == "inr" else chosen.network.biases[0]
    assert stored_bytes(initial(network, CLIP, biases.shape[-1] + 4, 0), storage) > kilobytes * 1000


def test_the_clip_is_the_centre_of_the_picture():
    stored = initial("inr", CLIP, 16, 0)
    assert stored.network.img_resolution == 14
    assert stored.window() == (14, (2, 0, 9, 13))
    assert stored.window(26) == (28, (5, 1, 18, 26))
    whole = stored.network.render(TIMES)[0]
    assert torch.equal(frames(stored)[:, 0], whole[:, :, 2:11, 0:13])
    assert torch.equal(frames(stored, window=(-1, 2, 3, 4))[:, 0], whole[:, :, 1:4, 2:6])


@pytest.mark.parametrize("size", [5, 13, 14, 20, 39])
def test_any_size(stored, size):
    picture = frames(stored, size=size)
    assert picture.shape == (3, 1, 3, max(1, round(9 * size / 13)), size)


def test_a_coordinate_mlp_is_one_function_at_all_sizes():
    stored = initial("siren", CLIP, 16, 0)
    # The centres of the pixels at scale 1 are those of the middle pixels at scale 3.
    assert torch.allclose(frames(stored), frames(stored, size=39)[..., 1::3, 1::3], atol=1e-5)
    inside = frames(stored, window=(2, 3, 4, 5))
    assert torch.allclose(inside, frames(stored)[..., 2:6, 3:8], atol=1e-6)


def test_a_coordinate_mlp_has_no_levels_and_no_precisions():
    stored = initial("siren", CLIP, 16, 0)
    with pytest.raises(ValueError, match="levels: 1, but a coordinate MLP has none"):
        stored.frames(TIMES, levels=1)
    with pytest.raises(ValueError, match="precision: 'int8', but"):
        stored.frames(TIMES, precision="int8")


def rewritten(path, change_metadata=None, change_tensors=None):
    file = read_tensors(memoryview(bytearray(path.read_bytes())))
    metadata, tensors = dict(file.metadata), {name: file.load(name) for name in file.names}
    if change_metadata:
        change_metadata(metadata)
    if change_tensors:
        change_tensors(tensors)
    save_tensors(path, tensors, metadata)


def change(name, value):
    return lambda table: table.__setitem__(name, value)


WEIGHT = "levels.0.layers.1.weight"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ((change("format", "digan_fast.VideoINR/3"), None), "its format is 'digan_fast.VideoINR/3', expected"),
        ((change("storage", "int4"), None), "its storage is 'int4', expected"),
        ((change("levels", "["), None), "Expecting"),
        ((change("clip", '{"height": 9}'), None), "missing"),
        ((change("clip", json.dumps({"height": -9, "width": 1, "frames": 1})), None), "clip.height: -9"),
        ((change("clip", json.dumps({"height": 99, "width": 1, "frames": 1})), None), "a clip of 1×99"),
        ((None, lambda tensors: tensors.pop(WEIGHT)), "layers.1.weight"),
        ((None, change(WEIGHT, torch.zeros(1, 16, 16))), "float32"),
        ((None, change(WEIGHT + ".scale", torch.zeros(1, 15, 1))), r"with scales \[1, 15, 1\]"),
        ((None, change(WEIGHT, torch.zeros(1, 8, 16, dtype=torch.int8))), "scales"),
        ((None, change("levels.0.layers.1.bias", torch.zeros(1))), r"levels.0.layers.1: \[1, 16, 16\] and \[1\]"),
        ((None, change("levels.1.coordinates.motion.bias0", torch.zeros(3))), "levels.1: frequencies"),
        ((None, change("levels.1.to_rgb.bias", torch.zeros(2))), "levels.1.to_rgb"),
        (
            (None, change("levels.0.layers.1.bias", torch.full((16,), torch.nan))),
            "levels.0.layers.1.bias: .* not finite",
        ),
        ((None, change(WEIGHT + ".scale", torch.full((1, 16, 1), torch.inf))), f"{WEIGHT}: .* not finite"),
        ((None, change("levels.0.layers.1.bias", torch.zeros(16, dtype=torch.int32))), "torch.int32 without scales"),
    ],
)
def test_damaged_and_hostile_files_are_refused_by_name(changes, message, tmp_path):
    path = tmp_path / "v.safetensors"
    initial("inr", CLIP, 16, 0).save(path, "int8")
    rewritten(path, *changes)
    with pytest.raises(ValueError, match=rf"v\.safetensors: not a saved video: .*{message}"):
        StoredVideo.load(path)


def test_a_hostile_coordinate_mlp_is_refused(tmp_path):
    path = tmp_path / "v.safetensors"
    initial("siren", CLIP, 16, 0).save(path, "float16")
    rewritten(path, None, change("weights.2", torch.zeros(1, 16, 5)))
    with pytest.raises(ValueError, match=r"not a saved video: layers\[2\].weight"):
        StoredVideo.load(path)
    rewritten(path, change("network", json.dumps({"layers": 1})))
    with pytest.raises(ValueError, match="not a saved video"):
        StoredVideo.load(path)


@pytest.mark.parametrize(("name", "value"), [("height", 2**40), ("width", 14)])
def test_a_coordinate_mlp_has_its_clips_extents(name, value, tmp_path):
    path = tmp_path / "v.safetensors"
    initial("siren", CLIP, 16, 0).save(path)
    described = json.loads(metadata_of(path)["network"])
    rewritten(path, change("network", json.dumps({**described, name: value})))
    with pytest.raises(ValueError, match=r"a clip of 13×9 from a picture of .*, expected the same"):
        StoredVideo.load(path)


def test_other_files_are_not_videos(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(b"nothing")
    video.write_image(tmp_path / "a.png", torch.zeros(3, 4, 4, dtype=torch.uint8))
    save_tensors(tmp_path / "b.safetensors", {}, {"format": "another"})
    for name in ("a.safetensors", "a.png", "b.safetensors", "none"):
        assert not is_stored_video(tmp_path / name)
