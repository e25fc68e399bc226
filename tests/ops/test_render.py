"""The op ``render``: its native kernel against the reference in float64, and cases that must be bit-identical."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from checks import examples, layouts, sliced, thread_counts
from hypothesis import given, settings
from hypothesis import strategies as st
from random_inrs import (
    PUBLISHED,
    SMALL,
    Widths,
    changed,
    distance,
    exact,
    lowered,
    native,
    random_inr,
    size_of_summands,
)
from torch import Tensor

from digan_fast import Generator, backends, dispatch, use_backend
from digan_fast.levels import Level, flattened
from digan_fast.networks.config import coordinate_config
from digan_fast.ops.linear_act import linear_act
from digan_fast.ops.render import render
from digan_fast.reference.coord_linear import coord_linear
from digan_fast.reference.render import Products, evaluate

needs_native = pytest.mark.skipif(backends()["native"] is not None, reason="the compiled module was not built")

# Relative in norm. Random rounding errors of a sum of n products amount to 2⁻²⁴·√n of its norm, 1.3e-6 for 512
# channels, the most here; a pixel's sine or cosine is accurate to 3e-7 (csrc/cpu/fourier/axis_features-inl.h). 8.4e-7
# observed.
BOUND = 2e-6
# Weights, features and activations have errors of 2⁻⁹ each; with a channel or two the reference's error may happen to
# be smaller, and the summands cancel.
BFLOAT16 = 3 * 2**-9

# Float32 as terms, where there is AMX.
TILES: Widths = ((32, (64, 96)), (0, (32,)), (64, (32, 64)), (32, (96,)))
ACTIVATIONS = [("lrelu",), ("relu",), ("linear",), ("sine",), ("sine", "lrelu"), ("lrelu", "relu", "sine", "linear")]
SHAPES: dict[str, tuple[Widths, int, int]] = {
    "ones": (((1, (1,)),), 1, 1),
    "one level": (((4, (12, 8)),), 8, 8),
    "odd": (((3, (5,)), (1, (13,)), (2, (11, 3))), 3, 12),
    "rows past a panel": (((7, (25, 37)), (6, (49,))), 5, 10),
    "no sinusoids of their own": (((5, (9,)), (0, (7,)), (0, (11, 6))), 6, 6),
    "small": (SMALL, 8, 32),
    "whole tiles": (TILES, 3, 12),
    "one layer of whole tiles": (((32, (96,)),), 8, 8),
    "repeated pixels": (SMALL, 8, 128),
}


def check(
    levels: list[Level], size: int, window: tuple[int, int, int, int] | None = None, cancelling: bool = False
) -> None:
    expected = exact(levels, size, window)
    summands = size_of_summands(levels) * expected.numel() ** 0.5 / float(expected.norm()) if cancelling else 1
    found = native(levels, size, window)
    assert found.dtype == torch.float32
    assert found.shape == expected.shape
    assert distance(found, expected) <= BOUND * summands
    narrow = native(levels, size, window, "bfloat16")
    assert narrow.dtype == torch.float32
    reference = distance(lowered(levels, size, window), expected)
    assert distance(narrow, expected) <= 2 * max(reference, BFLOAT16 * summands)


def naive(levels: list[Level], size: int) -> Tensor:
    """Features concatenated at every pixel of every level, in float64."""
    x = image = None
    for level in changed(levels, Tensor.double):
        if level.frequency is not None and level.phase is not None:
            row = 2 * torch.arange(level.side, dtype=torch.float64) / level.side - 1
            xy = torch.stack((row.expand(level.side, -1), row.flip(0)[:, None].expand(-1, level.side)))
            theta = torch.einsum("bkc,chw->bhwk", level.frequency, xy)[:, None] + level.phase[:, :, None, None]
            waves = torch.cat((theta.sin(), theta.cos()), -1)
            if x is not None:
                x, image = (t.repeat_interleave(2, 2).repeat_interleave(2, 3) for t in (x, image))
            x = waves if x is None else torch.cat((x, waves), -1)
        for layer in (*level.layers, level.to_rgb):
            z = torch.einsum("bthwi,boi->bthwo", x, layer.weight) + layer.bias
            act = {"linear": z, "relu": z.relu(), "lrelu": torch.where(z > 0, z, 0.2 * z), "sine": z.sin()}
            y = act[layer.activation] * layer.gain
            y = y if layer.clamp is None else y.clamp(-layer.clamp, layer.clamp)
            if layer is not level.to_rgb:
                x = y
        image = y if image is None else image + y
    factor = size // levels[-1].side
    return image.repeat_interleave(factor, 2).repeat_interleave(factor, 3).movedim(-1, 2)


@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize("activations", ACTIVATIONS, ids=" ".join)
@pytest.mark.parametrize("clamp", [None, 0.7])
def test_the_reference_matches_its_formula(activations: tuple[str, ...], clamp: float | None) -> None:
    levels = random_inr(2, 3, SMALL, activations=activations, clamp=clamp)
    assert distance(exact(levels, 64), naive(levels, 64)) < 1e-13


@needs_native
@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize("activations", ACTIVATIONS, ids=" ".join)
@pytest.mark.parametrize("clamp", [None, 0.7])
@pytest.mark.parametrize("shape", SHAPES)
def test_native_matches_the_reference(shape: str, activations: tuple[str, ...], clamp: float | None) -> None:
    widths, side, size = SHAPES[shape]
    check(random_inr(2, 3, widths, side, activations=activations, clamp=clamp), size)


@needs_native
@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize("activations", [("lrelu",), ("sine",)], ids=" ".join)
def test_the_published_widths(activations: tuple[str, ...]) -> None:
    levels = random_inr(1, 2, PUBLISHED, side=32, activations=activations)
    check(levels, 128, (35, 22, 12, 19))


@needs_native
@pytest.mark.parametrize("colours", [1, 3, 4, 13])
def test_any_number_of_colours(colours: int) -> None:
    levels = random_inr(2, 2, SMALL, colours=colours)
    assert native(levels, 32).shape == (2, 2, colours, 32, 32)
    check(levels, 32)


@needs_native
@settings(deadline=None, max_examples=examples(60))
@given(
    videos=st.integers(1, 2),
    frames=st.integers(1, 3),
    side=st.integers(1, 9),
    repeat=st.sampled_from([1, 2, 4]),
    first=st.integers(1, 6),
    outputs=st.lists(st.integers(1, 30), min_size=1, max_size=4),
    sinusoids=st.lists(st.integers(0, 5), min_size=3, max_size=3),
    where=st.tuples(st.integers(-40, 60), st.integers(-40, 60), st.integers(1, 20), st.integers(1, 20)),
    activations=st.sampled_from(ACTIVATIONS),
    threads=st.integers(1, 3),
)
def test_any_shape(
    videos: int,
    frames: int,
    side: int,
    repeat: int,
    first: int,
    outputs: list[int],
    sinusoids: list[int],
    where: tuple[int, int, int, int],
    activations: tuple[str, ...],
    threads: int,
) -> None:
    widths = [(count, [width]) for count, width in zip([first, *sinusoids], outputs, strict=False)]
    levels = random_inr(videos, frames, widths, side, activations=activations)
    for _ in thread_counts(threads):
        check(levels, levels[-1].side * repeat, where, cancelling=True)


@needs_native
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("shape", SHAPES)
def test_bit_identical_for_any_number_of_threads(shape: str, precision: str) -> None:
    widths, side, size = SHAPES[shape]
    levels = random_inr(2, 5, widths, side)
    found = [native(levels, size, None, precision) for _ in thread_counts(1, 2, 3, 5, 16)]
    assert all(torch.equal(a, b) for a, b in pairwise(found))


@needs_native
@settings(deadline=None, max_examples=examples(60))
@given(
    size=st.sampled_from([32, 64, 96]),
    where=st.tuples(st.integers(-70, 70), st.integers(-70, 70), st.integers(1, 40), st.integers(1, 40)),
    precision=st.sampled_from(["float32", "bfloat16"]),
    activations=st.sampled_from(ACTIVATIONS),
    count=st.integers(1, 4),
    widths=st.sampled_from([SMALL, TILES]),
)
def test_a_window_is_bit_identical_to_the_plane(
    size: int,
    where: tuple[int, int, int, int],
    precision: str,
    activations: tuple[str, ...],
    count: int,
    widths: Widths,
) -> None:
    levels = random_inr(1, 3, widths, activations=activations)
    levels = [replace(level, side=level.side * size // 32) for level in levels][:count]
    reach = 112
    plane = native(levels, size, (-reach, -reach, 2 * reach, 2 * reach), precision)
    top, left, height, width = where
    expected = plane[..., top + reach : top + reach + height, left + reach : left + reach + width]
    assert torch.equal(native(levels, size, where, precision), expected)


@needs_native
@pytest.mark.parametrize(("height", "width"), [(4, 9), (4, 15), (3, 8)])
def test_a_block_that_the_window_cuts(height: int, width: int) -> None:
    """Of one frame it is computed as a whole."""
    levels = random_inr(1, 1, SMALL)
    expected = native(levels, 32)[..., :height, :width]
    assert torch.equal(native(levels, 32, (0, 0, height, width)), expected)


@needs_native
def test_a_picture_of_several_chunks_is_bit_identical_to_its_pixels() -> None:
    """Chunks have 16384 pixels of the finest grid; sines of large arguments use a slow path for single vector lanes."""
    levels = random_inr(1, 1, ((2, (3,)), (1, (4,))), 96, activations=("sine",))
    scale = torch.tensor([1.0, 1e5, 1.0])[:, None]
    layer = levels[0].layers[0]
    levels[0] = replace(levels[0], layers=(replace(layer, weight=layer.weight * scale),))
    whole = native(levels, 192)
    assert distance(whole, exact(levels, 192)) < 1e-2  # phases of 1e5 are accurate to five digits
    for row, column in ((0, 0), (127, 127), (128, 64), (191, 191), (5, 130)):
        pixel = native(levels, 192, (row, column, 1, 1))
        assert torch.equal(pixel, whole[..., row : row + 1, column : column + 1])


@needs_native
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_bit_identical_for_any_batch_of_videos_and_frames(precision: str) -> None:
    levels = random_inr(3, 7, SMALL)
    for _ in thread_counts(1, 9):
        whole = native(levels, 64, None, precision)
        for video in range(3):
            of_video = changed(levels, lambda t, v=video: t[v : v + 1] if t.ndim == 3 else t)  # type: ignore[misc]
            assert torch.equal(native(of_video, 64, None, precision), whole[video : video + 1])
        for part in (slice(0, 1), slice(3, 5), slice(2, 7)):
            found = native([level.frames(part) for level in levels], 64, None, precision)
            assert torch.equal(found, whole[:, part])


@needs_native
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8"])
@pytest.mark.parametrize(
    ("frames", "window"), [(19, (5, 3, 7, 9)), (37, (3000, 7, 1, 1)), (5, (7, 3, 2, 3501)), (3, (3, 11, 3001, 1))]
)
def test_windows_of_several_frames_at_once(frames: int, window: tuple[int, int, int, int], precision: str) -> None:
    """Blocks cut by borders hold pixels of several frames; long windows are several chunks of several frames."""
    levels = [replace(level, side=level.side * 128) for level in random_inr(2, frames, SMALL)]
    together = native(levels, 4096, window, precision)
    for frame in range(frames):
        alone = native([level.frames(slice(frame, frame + 1)) for level in levels], 4096, window, precision)
        assert torch.equal(together[:, frame : frame + 1], alone)


@needs_native
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_levels_stop_early(precision: str) -> None:
    levels = random_inr(1, 2, SMALL)
    for count in range(1, 5):
        check(levels[:count], 32)
        found = native(levels[:count], 32, None, precision)
        cell = 32 // levels[count - 1].side
        blocks = found.unflatten(-1, (-1, cell)).unflatten(-3, (-1, cell))
        assert torch.equal(blocks, blocks[..., :1, :, :1].expand_as(blocks))


@needs_native
def test_any_multiple_of_the_finest_side() -> None:
    """Powers of two come from stopping early; the kernel supports others as well."""
    levels = random_inr(1, 1, SMALL)
    expected = native(levels, 32).repeat_interleave(3, -1).repeat_interleave(3, -2)
    assert torch.equal(native(levels, 96), expected)
    assert torch.equal(native(levels, 96, (0, 31, 50, 7)), expected[..., :50, 31:38])


@needs_native
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_views_are_bit_identical(precision: str) -> None:
    levels = random_inr(2, 3, SMALL)
    expected = native(levels, 32, None, precision)
    for index in range(3):
        turned = changed(levels, lambda t, i=index: layouts(t)[i])  # type: ignore[misc]
        assert torch.equal(native(turned, 32, None, precision), expected)
    steps = changed(levels, lambda t: torch.stack((t, t * 0), -1)[..., 0])
    assert torch.equal(native(steps, 32, None, precision), expected)
    one = changed(random_inr(1, 3, SMALL), lambda t: t.expand(2, *t.shape[1:]) if t.ndim == 3 else t)
    assert torch.equal(native(one, 32, None, precision)[0], native(one, 32, None, precision)[1])


def with_nan(levels: list[Level], where: Callable[[list[Level]], Tensor]) -> list[Level]:
    poisoned = changed(levels, Tensor.clone)
    where(poisoned).fill_(float("nan"))
    return poisoned


@needs_native
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("activations", ACTIVATIONS, ids=" ".join)
@pytest.mark.parametrize("clamp", [None, 0.7])
def test_nan_reaches_only_dependent_pixels(precision: str, activations: tuple[str, ...], clamp: float | None) -> None:
    levels = random_inr(2, 3, SMALL, activations=activations, clamp=clamp)
    clean = native(levels, 32, None, precision)

    def reached(where: Callable[[list[Level]], Tensor]) -> Tensor:
        found = native(with_nan(levels, where), 32, None, precision)
        nan = found.isnan()
        assert torch.equal(found[~nan], clean[~nan])
        return nan

    for index in (0, 1, 3):
        weight = reached(lambda inr, i=index: inr[i].layers[0].weight[1, 2, 1])  # type: ignore[misc]
        assert weight[1].all()
        assert not weight[0].any()
    assert reached(lambda inr: inr[2].layers[1].bias[4]).all()
    frequency = reached(lambda inr: inr[2].frequency[0, 1, 0])  # type: ignore[index]
    assert frequency[0].all()
    assert not frequency[1].any()
    phase = reached(lambda inr: inr[3].phase[1, 2])  # type: ignore[index]
    assert phase[1, 2].all()
    assert phase.sum() == phase[1, 2].numel()
    colour = reached(lambda inr: inr[1].to_rgb.weight[0, 1])
    assert colour[0, :, 1].all()
    assert colour.sum() == colour[0, :, 1].numel()


@needs_native
@pytest.mark.parametrize("value", [float("inf"), 3e38])
def test_overflow_is_not_hidden(value: float) -> None:
    """Infinities and NaN, or the reference's result: never a finite number where the reference has NaN."""
    levels = random_inr(1, 1, SMALL)
    levels[1].layers[0].weight[0, 3, 2] = value
    with use_backend("reference"):
        expected = render(levels, 32, (0, 0, 32, 32), "float32")
    found = native(levels, 32)
    assert not expected.isfinite().all()
    assert not (found.isfinite() & expected.isnan()).any()


@pytest.mark.parametrize("activations", ACTIVATIONS, ids=" ".join)
def test_the_differentiable_composition_matches_the_op(activations: tuple[str, ...]) -> None:
    """With the reference's ``coord_linear``: the kernels' has no sine, which a level's first layer may have."""
    levels = random_inr(1, 2, SMALL, activations=activations, clamp=1.5)
    found = evaluate(levels, 32, (3, 5, 20, 9), Products(linear_act, coord_linear, linear_act))
    assert distance(found, exact(levels, 32, (3, 5, 20, 9))) < BOUND


def arguments(levels: list[Level], *rest: Any) -> tuple[Any, ...]:
    return (*flattened(levels), *rest)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_schema(precision: str) -> None:
    op = torch.ops.digan_fast.render.default
    levels = random_inr(2, 2, SMALL[:3], side=4)
    torch.library.opcheck(op, arguments(levels, 8, [1, -2, 5, 3], precision))
    for change in (layouts, lambda t: [t, sliced(t), t]):
        varied = changed(levels, lambda t, of=change: of(t)[1])  # type: ignore[misc]
        args = arguments(varied, 8, [1, -2, 5, 3], precision)
        torch.library.opcheck(op, args, test_utils=["test_schema", "test_faketensor"])


@needs_native
def test_a_stream_is_bit_identical_to_its_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The phases of a part are computed together; given the same phases, a frame is bit-identical in any part."""
    G = Generator(16, 0, 16, 16, synthesis_kwargs={"channel_base": 256}, cfg=coordinate_config(8, 6, 2)).eval()
    inr = G.inr(torch.randn(2, 16)).detach()
    times = torch.linspace(0, 2, 7)
    monkeypatch.setattr("digan_fast.inr.video.STREAM_PIXELS", 3 * 2 * 16 * 16)
    with use_backend("native"):
        frames = torch.stack(list(inr.frames(times)), 1)
        parts = torch.cat([inr.render(part) for part in times.split(3)], 1)
    assert torch.equal(frames, parts)


@needs_native
def test_why_native_does_not_run_a_call() -> None:
    levels = random_inr(1, 1, SMALL)

    def why(levels: list[Level]) -> str | None:
        kernel = dispatch.kernel("render", "native")
        return kernel.why_not(*arguments(levels, 32, [0, 0, 32, 32], "float32"))

    assert why(levels) is None
    assert why(changed(levels, Tensor.double)) == "the INR is torch.float64; it takes float32"
    assert why(changed(levels, Tensor.bfloat16)) == "the INR is torch.bfloat16; it takes float32"
    assert why(changed(levels, lambda t: t.to("meta"))) == "the INR is on meta"
    tanh = random_inr(1, 1, SMALL, activations=("tanh",))
    assert why(tanh) == "it has no activation 'tanh'"
    with use_backend("native"), pytest.raises(dispatch.BackendUnavailable, match="it has no activation 'tanh'"):
        render(tanh, 32, (0, 0, 32, 32), "float32")
    with use_backend("native"):  # float64 uses the reference even if native is requested
        assert exact(levels, 32).dtype == torch.float64


@pytest.mark.parametrize(("videos", "frames"), [(0, 2), (2, 0)])
def test_empty(videos: int, frames: int) -> None:
    levels = random_inr(videos, frames, SMALL)
    assert render(levels, 32, (0, 0, 4, 5), "float32").shape == (videos, frames, 3, 4, 5)
