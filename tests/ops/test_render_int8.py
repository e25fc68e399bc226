"""Rendering in int8: the native kernel against the reference's integers, and the properties it shares with float32."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from instruction_sets import ISAS
from torch import Tensor

from digan_fast import VideoINR, backends, dispatch, load, use_backend
from digan_fast.levels import Coordinates, Layer, Level
from digan_fast.ops.render import render
from digan_fast.reference.render_int8 import quantised_pixels, quantised_rows
from digan_fast.snapshot import shipped

native = pytest.mark.skipif(backends()["native"] is not None, reason="the compiled module was not built")


def made(
    channels: list[int], sinusoids: int, side: int = 4, videos: int = 2, activation: str = "lrelu", colours: int = 3
) -> list[Level]:
    """One level per entry of ``channels``; every second has one more layer, and a further level on the same grid."""
    levels: list[Level] = []
    below = 0
    for index, width in enumerate(channels):
        layers = []
        for inputs in (below + 2 * sinusoids, width)[: 1 + index % 2]:
            weight = torch.randn(videos, width, inputs) * inputs**-0.5
            layers.append(Layer(weight, torch.randn(width) / 4, activation, 1.3, 2.5 if index else None))
        to_rgb = Layer(torch.randn(videos, colours, width) * width**-0.5, torch.randn(colours), "linear", 1.0, None)
        waves = Coordinates(torch.randn(videos, sinusoids, 2) * 3, torch.randn(videos, 3, sinusoids))
        levels.append(Level(side << index, waves, tuple(layers), to_rgb))
        if index % 2:
            weight = torch.randn(videos, width, width) * width**-0.5
            levels.append(Level(side << index, None, (Layer(weight, torch.zeros(width), activation, 1, None),), to_rgb))
        below = width
    return levels


def both(levels: list[Level], size: int) -> tuple[Tensor, Tensor]:
    found = []
    for backend in ("native", "reference"):
        with use_backend(backend):
            found.append(render(levels, size, (0, 0, size, size), "int8"))
    return found[0], found[1]


def distance(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


@native
@pytest.mark.parametrize("activation", ["lrelu", "relu", "linear", "sine"])
@pytest.mark.parametrize(
    ("channels", "sinusoids"), [([1, 2, 3], 1), ([12, 20, 8], 6), ([13, 37, 30], 5), ([64, 50], 7)]
)
def test_integers_match_the_reference(channels: list[int], sinusoids: int, activation: str) -> None:
    """Sines differ by 3e-7, so one number in 10⁴ is quantised to a neighbouring integer: an error of 4e-4 observed,
    where int8's own is 5e-3.
    """
    levels = made(channels, sinusoids, activation=activation)
    size = levels[-1].side
    found, expected = both(levels, size)
    exact = render(levels, size, (0, 0, size, size), "float32")
    assert distance(found, expected) < 2e-3
    assert 0 < distance(found, exact) < 5e-2


@pytest.fixture(scope="module")
def inr() -> VideoINR:
    G = load(shipped()).G_ema
    generator = torch.Generator().manual_seed(3)
    z, z_motion = torch.randn(2, 2, G.z_dim, generator=generator).unbind()
    with torch.no_grad():
        return G.inr(z, z_motion=z_motion)


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_near_float32_on_a_trained_network(inr: VideoINR, backend: str) -> None:
    """48 to 50 dB observed; the colours' range is 2."""
    if backends()[backend] is not None:
        pytest.skip("not built")
    times = [0.0, 0.6]
    expected = inr.render(times, 64)
    with use_backend(backend):
        found = inr.render(times, 64, precision="int8")
    mean = (found - expected).square().mean((1, 2, 3, 4))
    assert (10 * torch.log10(4 / mean)).min() > 45


@native
def test_a_pixel_is_bit_identical_wherever_it_is_rendered() -> None:
    """In any window, with any number of threads, other frames, videos or finer levels; phases are given."""
    levels = made([45, 70, 37], 9, side=8)
    threads = torch.get_num_threads()

    def rendered(some: list[Level], *window: int) -> Tensor:
        with use_backend("native"):
            return render(some, 64, window, "int8")

    def alone(level: Level, video: int, frame: int) -> Level:
        return level.videos(slice(video, video + 1)).frames(slice(frame, frame + 1))

    try:
        torch.set_num_threads(1)
        whole = rendered(levels, -20, -30, 110, 120)
        for count in (1, 2, 5, 16):
            torch.set_num_threads(count)
            assert torch.equal(rendered(levels, -20, -30, 110, 120), whole)
            for top, left, height, width in ((0, 0, 64, 64), (3, 5, 9, 14), (-7, 31, 1, 1), (2, -30, 33, 50)):
                expected = whole[..., top + 20 : top + 20 + height, left + 30 : left + 30 + width]
                assert torch.equal(rendered(levels, top, left, height, width), expected)
                part = rendered([alone(level, 1, 2) for level in levels], top, left, height, width)
                assert torch.equal(part, expected[1:, 2:3])
    finally:
        torch.set_num_threads(threads)


PROGRAM = """
import sys
from dataclasses import replace
import torch
from digan_fast import dispatch, use_backend
from digan_fast.levels import Coordinates, Layer, Level
from digan_fast.ops.render import render

levels, size, path = torch.load(sys.argv[1], weights_only=False)
with use_backend("native"):
    torch.save((dispatch.native_module().isa(), render(levels, size, (0, 0, size, size), "int8")), path)
"""


@native
@pytest.mark.parametrize("isa", ISAS)
def test_every_instruction_set_computes_the_same_integers(isa: str, tmp_path: Path) -> None:
    """Only the to-RGB sums are rounded differently."""
    if isa not in dispatch.native_module().build_info()["isas"]:
        pytest.skip("not built")
    levels = made([70, 37, 30], 9)
    size = levels[-1].side
    torch.save((levels, size, tmp_path / "out.pt"), tmp_path / "in.pt")
    environment = {**os.environ, "DIGAN_FAST_ISA": isa}
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "in.pt")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        assert "this CPU lacks" in done.stderr, done.stderr
        pytest.skip(done.stderr.splitlines()[-1])
    name, found = torch.load(tmp_path / "out.pt")
    assert name == isa
    with use_backend("native"):
        expected = render(levels, size, (0, 0, size, size), "int8")
    assert distance(found, expected) < 1e-6


def constant(value: float, width: int, weight: float) -> list[Level]:
    """Activations ``value`` in ``width`` channels, and their sum times ``weight``."""
    zeros = torch.zeros(1, width, 2)
    first = Layer(zeros, torch.full((width,), value), "linear", 1.0, None)
    second = Layer(torch.full((1, 1, width), weight), torch.zeros(1), "linear", 1.0, None)
    to_rgb = Layer(torch.ones(1, 1, 1), torch.zeros(1), "linear", 1.0, None)
    return [Level(1, Coordinates(torch.zeros(1, 1, 2), torch.zeros(1, 1, 1)), (first, second), to_rgb)]


@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize("width", [1, 5, 65536])
@pytest.mark.parametrize(
    ("value", "weight"), [(0.7, 0.5), (-0.7, 0.5), (0.7, -0.5), (-0.7, -0.5), (0.7, 0.0), (0.0, 0.5)]
)
def test_the_largest_sums_and_zeros(backend: str, width: int, value: float, weight: float) -> None:
    """A row of zero weights and a pixel of zeros are exact; 65536·255·127 is below 2³¹."""
    if backends()[backend] is not None:
        pytest.skip("not built")
    with use_backend(backend):
        found = render(constant(value, width, weight), 1, (0, 0, 1, 1), "int8")
    assert found.item() == pytest.approx(value * weight * width, rel=1e-3, abs=0)


@native
def test_wider_layers_are_rejected() -> None:
    with use_backend("native"), pytest.raises(ValueError, match=r"inputs.*65537.*65536 or fewer in int8"):
        render(constant(1.0, 65537, 1.0), 1, (0, 0, 1, 1), "int8")


@native
def test_only_non_finite_pixels_are_nan() -> None:
    """Products of 3e38 overflow in some pixels of the coarse grid."""
    torch.manual_seed(4)
    levels = made([9, 11], 4)
    first, finer = levels[0].layers[0], levels[1].layers[0]
    large = [
        replace(levels[0], layers=(replace(first, weight=first.weight * 1.2e38, bias=first.bias * 0),)),
        replace(
            levels[1],
            layers=(
                replace(finer, weight=torch.cat((finer.weight[..., :9] * 1e-38, finer.weight[..., 9:]), -1)),
                *levels[1].layers[1:],
            ),
        ),
        *levels[2:],
    ]
    large[0] = replace(large[0], to_rgb=replace(levels[0].to_rgb, weight=levels[0].to_rgb.weight * 1e-38))
    found, expected = both(large, 8)
    lost = ~found.isfinite()
    assert 0 < lost.float().mean() < 1
    assert torch.equal(lost, ~expected.isfinite())
    assert torch.equal(lost, found.isnan())
    assert distance(found[~lost], expected[~lost]) < 2e-3
    phase = levels[0].phase
    assert phase is not None
    phase[1, 2, 0] = math.nan
    found, expected = both(levels, 8)
    assert torch.equal(found.isnan(), expected.isnan())
    assert found[1, 2].isnan().all()
    assert found.isnan().sum() == found[1, 2].numel()


def test_quantised_integers_are_in_range() -> None:
    x = torch.randn(2000, 33) * torch.logspace(-40, 37, 2000)[:, None]
    q, scale = quantised_pixels(x)
    zero = -q.amin(-1, keepdim=True).clamp(max=0)
    assert (q + zero).min() >= 0
    assert (q + zero).max() <= 255
    reach = x.amax(-1, keepdim=True).clamp(min=0) - x.amin(-1, keepdim=True).clamp(max=0)
    assert ((q * scale - x).abs() <= reach * (0.51 / 254.99) + 1e-30).all()
    q, scale = quantised_rows(x[None])
    assert q.abs().max() == 127
    assert ((q * scale[..., None] - x).abs() <= x.abs().amax(-1, keepdim=True) * (0.51 / 127) + 1e-30).all()


def test_there_are_no_gradients(inr: VideoINR) -> None:
    times = torch.tensor([0.5], requires_grad=True)
    with pytest.raises(ValueError, match="precision: 'int8' has no gradients"):
        inr.render(times, precision="int8")
    assert not next(inr.frames(times, precision="int8")).requires_grad
