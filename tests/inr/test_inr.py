from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from digan_fast import Generator, VideoINR, use_backend
from digan_fast.networks.config import coordinate_config
from digan_fast.tiling import TILE_PIXELS


def tiny(resolution: int = 32, grid: int = 8, **options: Any) -> Generator:
    torch.manual_seed(1)
    cfg = coordinate_config(grid, sinusoids=6, rank=2, extra_convs={resolution: 1})
    cfg |= options
    made = Generator(16, 0, 16, resolution, synthesis_kwargs={"channel_base": 256, "channel_max": 12}, cfg=cfg)
    return made.eval()


def inr_of(G: Generator, videos: int = 2) -> VideoINR:
    generator = torch.Generator().manual_seed(2)
    z, z_motion = torch.randn(2, videos, 16, generator=generator).unbind()
    with torch.no_grad():
        return G.inr(z, z_motion=z_motion)


@pytest.fixture(scope="module")
def inr() -> VideoINR:
    return inr_of(tiny())


def naive(inr: VideoINR, times: Tensor, size: int) -> Tensor:
    """In float64, with the features of every pixel concatenated at every level, as in the published formulation."""
    inr, times = inr.to(torch.float64), times.to(torch.float64)
    x = image = None
    for level in inr.levels:
        side = level.side * size // inr.img_resolution
        if level.coordinates is not None:
            row = 2 * torch.arange(side, dtype=torch.float64) / side - 1
            xy = torch.stack((row.expand(side, side), row.flip(0)[:, None].expand(side, side)))
            theta = torch.einsum("bkc,chw->bhwk", level.coordinates.frequency, xy)[:, None]
            theta = theta + level.coordinates.motion.phase(times)[:, :, None, None]
            features = torch.cat((theta.sin(), theta.cos()), -1)
            if x is not None:
                x = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
                image = image.repeat_interleave(2, 2).repeat_interleave(2, 3)
            x = features if x is None else torch.cat((x, features), -1)
        for layer in level.layers:
            z = torch.einsum("bthwi,boi->bthwo", x, layer.weight) + layer.bias
            x = torch.where(z > 0, z, 0.2 * z) * 2**0.5
        rgb = torch.einsum("bthwi,boi->bthwo", x, level.to_rgb.weight) + level.to_rgb.bias
        image = rgb if image is None else image + rgb
    return image.movedim(-1, 2)


def distance(found: Tensor, expected: Tensor) -> float:
    difference = found.detach().double() - expected.detach().double()
    return float(difference.norm() / expected.detach().double().norm())


@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize("size", [None, 8, 16, 96])
def test_any_size_matches_the_naive_evaluation(inr: VideoINR, size: int | None) -> None:
    times = torch.tensor([[-1.0, 0.0, 0.3], [0.5, 1.0, 4.0]])
    found = inr.render(times, size=size)
    assert found.shape == (2, 3, 3, size or 32, size or 32)
    assert distance(found, naive(inr, times, size or 32)) < 2e-6


def test_float64_is_exact(inr: VideoINR) -> None:
    times = torch.tensor([[0.2], [0.9]])
    found = inr.to(torch.float64).render(times)
    assert found.dtype == torch.float64
    assert distance(found, naive(inr, times, 32)) < 1e-14


@settings(deadline=None, max_examples=40)
@given(
    size=st.sampled_from([16, 32, 64]),
    top=st.integers(-70, 70),
    left=st.integers(-70, 70),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    levels=st.integers(1, 4),
)
def test_a_window_is_a_part_of_the_plane(size: int, top: int, left: int, height: int, width: int, levels: int) -> None:
    inr = inr_of(tiny(), videos=1)
    reach = 112
    plane = inr.render([0.4], size, (-reach, -reach, 2 * reach, 2 * reach), levels)
    found = inr.render([0.4], size, (top, left, height, width), levels)
    expected = plane[..., top + reach : top + reach + height, left + reach : left + reach + width]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.usefixtures("poisoned")
def test_tiles_cover_the_picture_once(inr: VideoINR, monkeypatch: pytest.MonkeyPatch) -> None:
    with use_backend("reference"):
        whole = inr.render([0.1, 0.7], 64)
        for budget in (1, 600, 5000, TILE_PIXELS):
            monkeypatch.setattr("digan_fast.tiling.TILE_PIXELS", budget)
            torch.testing.assert_close(inr.render([0.1, 0.7], 64), whole, rtol=0, atol=1e-5)


def test_levels_stop_early_and_keep_the_size(inr: VideoINR) -> None:
    full = inr.render([0.5])
    assert torch.equal(inr.render([0.5], levels=len(inr.levels)), full)
    coarse = inr.render([0.5], levels=2)
    assert coarse.shape == full.shape
    cell = 32 // inr.levels[1].side
    blocks = coarse.unflatten(-1, (-1, cell)).unflatten(-3, (-1, cell))
    assert torch.equal(blocks, blocks[..., :1, :, :1].expand_as(blocks))


def test_bfloat16_is_close(inr: VideoINR) -> None:
    """Six layers of weights and activations rounded to 2⁻⁹ each; error observed: 0.4 %."""
    times = torch.linspace(0, 1, 3)
    found = inr.render(times, precision="bfloat16")
    assert found.dtype == torch.float32
    error = distance(found, inr.render(times))
    assert 0 < error < 2e-2


def test_streamed_frames_equal_rendered_frames(inr: VideoINR) -> None:
    times = torch.linspace(0, 2, 41)
    frames = list(inr.frames(times, size=64, window=(3, 5, 30, 20)))
    expected = inr.render(times, size=64, window=(3, 5, 30, 20))
    torch.testing.assert_close(torch.stack(frames, 1), expected, rtol=0, atol=1e-5)
    assert not frames[0].requires_grad


def test_the_first_frame_does_not_depend_on_motion() -> None:
    G = tiny()
    z = torch.randn(1, 16)
    first, second = (G.inr(z, z_motion=torch.randn(1, 16)).render([0.0, 1.0]) for _ in range(2))
    assert torch.equal(first[:, 0], second[:, 0])
    assert not torch.allclose(first[:, 1], second[:, 1])


def test_gradients_with_respect_to_weights_and_times() -> None:
    inr = inr_of(tiny(16, 8)).to(torch.float64)
    leaves = {name: t.clone().requires_grad_() for name, t in inr.tensors().items()}
    ordered = iter(leaves.values())
    from digan_fast.levels import walk

    alive: VideoINR = walk(inr, "", lambda _, tensor: next(ordered))
    times = torch.rand(2, 2, dtype=torch.float64, requires_grad=True)
    probe = torch.randn(2, 2, 3, 16, 16, dtype=torch.float64)
    gradients = torch.autograd.grad((alive.render(times) * probe).sum(), [times, *leaves.values()])
    expected = torch.autograd.grad((naive(alive, times, 16) * probe).sum(), [times, *leaves.values()])
    for name, found, wanted in zip(["times", *leaves], gradients, expected, strict=True):
        assert distance(found, wanted) < 1e-9, name


def test_checkpointing_does_not_change_gradients() -> None:
    """First and second derivatives, in float64; the frames of a video share its weights."""
    G = tiny(16, 8).double()
    ws = torch.randn(2, G.num_ws, 16, dtype=torch.float64, requires_grad=True)
    motion, times = torch.randn(2, 16, dtype=torch.float64), torch.rand(6, 1, 1, 1, dtype=torch.float64)
    probe = torch.randn(6, 3, 16, 16, dtype=torch.float64)

    def derivatives(checkpoint: bool) -> list[Tensor]:
        G.synthesis.checkpoint = checkpoint
        images = G.synthesis(ws, times, motion)
        (gradient,) = torch.autograd.grad((images * probe).sum(), ws, create_graph=True)
        parameters = list(G.synthesis.parameters())
        second = torch.autograd.grad(gradient.square().sum(), [ws, *parameters], allow_unused=True)
        return [images, gradient, *(g for g in second if g is not None)]

    for found, expected in zip(derivatives(True), derivatives(False), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("with_gradients", [False, True])
def test_training_the_generator_does_not_change_an_inr(with_gradients: bool) -> None:
    G = tiny()
    z, motion = torch.randn(2, 1, 16).unbind()
    with torch.set_grad_enabled(with_gradients):
        inr = G.inr(z, None, motion)
    assert all(tensor.requires_grad is with_gradients for tensor in inr.tensors().values())
    before = {name: tensor.clone() for name, tensor in inr.tensors().items()}
    own = {tensor.untyped_storage().data_ptr() for tensor in G.state_dict().values()}
    assert not own & {tensor.untyped_storage().data_ptr() for tensor in inr.tensors().values()}
    with torch.no_grad():
        for parameter in G.parameters():
            parameter.add_(1)
    assert all(torch.equal(tensor, before[name]) for name, tensor in inr.tensors().items())


def test_indexing_selects_videos(inr: VideoINR) -> None:
    whole = inr.render([0.3])
    assert len(inr) == 2
    assert len(inr[0]) == len(inr[-1]) == 1
    torch.testing.assert_close(inr[1].render([0.3]), whole[1:], rtol=0, atol=1e-5)
    torch.testing.assert_close(inr[0:2].render([0.3]), whole, rtol=0, atol=1e-5)
    assert len(inr[2:]) == 0
    assert inr[2:].render([0.3]).shape == (0, 1, 3, 32, 32)
    with pytest.raises(IndexError):
        inr[2]
    with pytest.raises(TypeError):
        inr[[0]]  # type: ignore[index]
    assert len(inr[np.int64(1)]) == 1  # type: ignore[index]


def test_saving_and_loading(inr: VideoINR, tmp_path: Path) -> None:
    path = tmp_path / "video.safetensors"
    inr.save(path)
    loaded = VideoINR.load(path)
    assert torch.equal(loaded.render([0.6]), inr.render([0.6]))
    assert [p.name for p in tmp_path.iterdir()] == ["video.safetensors"]
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"video\.safetensors: not a saved VideoINR"):
        VideoINR.load(path)
    with pytest.raises(FileNotFoundError):
        VideoINR.load(tmp_path / "missing.safetensors")


def test_deepcopy_drops_the_autograd_history() -> None:
    cfg = coordinate_config(8, 4, 2, None, 16)
    G = Generator(8, 0, 8, 16, synthesis_kwargs={"channel_base": 64, "channel_max": 8}, cfg=cfg)
    inr = G.inr(torch.randn(1, 8))
    copied = copy.deepcopy(inr)
    for name, tensor in inr.tensors().items():
        found = copied.tensors()[name]
        assert torch.equal(found, tensor)
        assert found.is_leaf
        assert found.requires_grad == tensor.requires_grad
        assert found.data_ptr() != tensor.data_ptr()
    with torch.no_grad():
        assert torch.equal(copied.render([0.5]), inr.render([0.5]))


def test_copies_conversions_and_repr(inr: VideoINR) -> None:
    twin = copy.deepcopy(inr)
    assert torch.equal(twin.render([0.2]), inr.render([0.2]))
    assert inr.to(torch.float64).dtype == torch.float64
    assert inr.device == torch.device("cpu")
    assert repr(inr) == "VideoINR(2 videos, levels of side 8, 8, 16, 32, torch.float32, cpu)"
    assert inr == inr
    assert inr != copy.deepcopy(inr)
    with pytest.raises(AttributeError):
        inr.levels = ()  # type: ignore[misc]


@pytest.mark.parametrize("where", ["coords", "input"])
def test_features_without_cosines(where: str) -> None:
    """Sinusoids without cosines are an INR whose cosines have zero weights."""
    cfg = coordinate_config(8, 6, 2)
    sines = {
        **cfg["coords"],
        "res_configs": {side: {"predictable_emb_size": 6} for side in cfg["coords"]["res_configs"]},
    }
    change = {"coords": sines} if where == "coords" else {"input": {**cfg["input"], "coord_fuser_cfg": sines}}
    G = tiny(16, **change)
    ws, motion, times = torch.randn(2, G.num_ws, 16), torch.randn(2, 16), torch.rand(4, 1, 1, 1)
    assert G.synthesis.why_not_inr() is None
    expected = G.synthesis.published(ws, times, motion)
    torch.testing.assert_close(G.synthesis(ws, times, motion), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"times": torch.zeros(3, 2)}, r"times: shape \(3, 2\), expected \[T\] or \[2, T\]"),
        ({"size": 30}, "size: 30, expected a positive multiple of 4"),
        ({"size": 0}, "size: 0"),
        ({"window": (0, 0, 0, 4)}, r"window: \(0, 0, 0, 4\)"),
        ({"window": (0, 0, 1.5, 4)}, r"window: \(0, 0, 1.5, 4\)"),
        ({"levels": 1.5}, "levels: 1.5"),
        ({"levels": 5}, "levels: 5, expected 1 to 4"),
        ({"precision": "int4"}, "precision: 'int4'"),
    ],
)
def test_errors_name_the_argument(inr: VideoINR, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        inr.render(**{"times": [0.0], **arguments})
    with pytest.raises(ValueError, match=message):
        inr.frames(**{"times": [0.0], **arguments})


def test_an_inr_in_lower_precision_is_rejected(inr: VideoINR) -> None:
    with pytest.raises(ValueError, match=r"the INR is torch.bfloat16"):
        inr.to(torch.bfloat16).render([0.0])


@pytest.mark.parametrize("channels", [1, 4])
def test_any_number_of_colours(channels: int) -> None:
    cfg = coordinate_config(8, 6, 2)
    G = Generator(16, 0, 16, 16, channels, synthesis_kwargs={"channel_base": 256, "channel_max": 12}, cfg=cfg)
    inr = G.inr(torch.randn(2, 16))
    rendered = inr.detach().render([0.0, 0.5, 1.0])
    assert rendered.shape == (2, 3, channels, 16, 16)
    torch.testing.assert_close(rendered, inr.render([0.0, 0.5, 1.0]).detach(), rtol=0, atol=1e-5)


def test_autocast_has_no_effect() -> None:
    """Lower precision must be requested by name; autocast changes neither forward nor backward."""
    G = tiny(16, 8)
    z, motion = torch.randn(2, 16), torch.randn(2, 16)

    def images() -> Tensor:
        return G.inr(z, z_motion=motion).render([0.2, 0.7])

    expected = images()
    with torch.autocast("cpu", torch.bfloat16):
        found, streamed = images(), torch.stack(list(G.inr(z, z_motion=motion).frames([0.2, 0.7])), 1)
        pair, _ = G(z, timesteps=2)
    assert torch.equal(found, expected)
    torch.testing.assert_close(streamed, expected.detach(), rtol=0, atol=1e-5)
    pair.sum().backward()
    assert all(p.grad.isfinite().all() for p in G.synthesis.parameters())


def test_gradients_with_respect_to_the_times_only(inr: VideoINR) -> None:
    times = torch.tensor([0.2, 0.7], requires_grad=True)
    inr.detach().render(times).sum().backward()
    assert times.grad.abs().min() > 0


def test_levels_must_fit_together(inr: VideoINR) -> None:
    with pytest.raises(ValueError, match="first level"):
        VideoINR(inr.levels[1:2])
    with pytest.raises(ValueError, match="side"):
        VideoINR((inr.levels[0], inr.levels[-1], inr.levels[-1]))


def test_compiles_into_one_graph() -> None:
    G = tiny(16, 8)
    ws = torch.randn(2, G.num_ws, 16, requires_grad=True)
    motion, times = torch.randn(2, 16), torch.rand(4, 1, 1, 1)
    torch._dynamo.reset()
    compiled = torch.compile(G.synthesis, fullgraph=True, backend="aot_eager")
    eager, found = G.synthesis(ws, times, motion), compiled(ws, times, motion)
    torch.testing.assert_close(found, eager)
    probe = torch.randn_like(eager)
    torch.testing.assert_close(torch.autograd.grad(found, ws, probe), torch.autograd.grad(eager, ws, probe))
