"""The discriminators' options against formulas in float64."""

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

from digan_fast import Discriminator
from digan_fast.networks.discriminators.digan import minibatch_deviation

# float32 against float64, relative in norm: 1.7e-6 observed; 1e-5 is the bound for golden forward values.
FORWARD = 1e-5
HALF = math.sqrt(0.5)


def conv(layer: nn.Module, x: Array, down: bool = False, gain: float = 1.0, clamp: float | None = None) -> Array:
    """Equalised convolution; with ``down``, preceded by the FIR filter and subsampled by 2."""
    weight = array(layer.weight)
    size = weight.shape[-1]
    padding = size // 2
    if down:
        x, padding = resampled(x, padding + 1, padding + 1), 0
    y = correlated(x, weight[None] / math.sqrt(weight.shape[1] * size**2), padding, stride=2 if down else 1)
    return lrelu(y + array(layer.bias)[:, None, None], gain, clamp)


def skipped(layer: nn.Module, x: Array) -> Array:
    weight = array(layer.weight)
    return correlated(resampled(x, 1, 1, down=2), weight[None] / math.sqrt(x.shape[1]), 0) * HALF


def with_deviation(x: Array, group: int, count: int = 1) -> Array:
    """Sample i is in group i mod N/g; the deviation over a group is averaged over channels and pixels."""
    groups = len(x) // group
    out = np.empty((len(x), count, *x.shape[2:]))
    for i in range(len(x)):
        members = [x[j] for j in range(len(x)) if j % groups == i % groups]
        assert len(members) == group
        mean = sum(members) / group
        deviation = np.sqrt(sum((m - mean) ** 2 for m in members) / group + 1e-8)
        for feature, part in enumerate(np.split(deviation, count)):
            out[i, feature] = part.mean()
    return np.concatenate((x, out), 1)


def logits(stream: nn.Module, img: Array, c: Array, case: dict[str, Any]) -> Array:
    architecture, clamp = case.get("architecture", "resnet"), case.get("conv_clamp")
    epilogue = {"mbstd_group_size": 4, "mbstd_num_channels": 1, **case.get("epilogue_kwargs", {})}
    x = np.zeros(())
    resolution = case["img_resolution"]
    while resolution > 4:
        block = getattr(stream, f"b{resolution}")
        if architecture == "skip" or resolution == case["img_resolution"]:
            x = x + conv(block.fromrgb, img, clamp=clamp)
        gain = HALF if architecture == "resnet" else 1.0
        y = conv(block.conv1, conv(block.conv0, x, clamp=clamp), down=True, gain=gain, clamp=clamp)
        x = skipped(block.skip, x) + y if architecture == "resnet" else y
        if architecture == "skip":
            img = resampled(img, 1, 1, down=2)
        resolution //= 2
    if architecture == "skip":
        x = x + conv(stream.b4.fromrgb, img, clamp=clamp)
    if epilogue["mbstd_num_channels"]:
        group = min(epilogue["mbstd_group_size"] or len(x), len(x))
        x = with_deviation(x, group, epilogue["mbstd_num_channels"])
    x = conv(stream.b4.conv, x, clamp=clamp).reshape(len(x), -1)
    x = linear(stream.b4.out, lrelu(linear(stream.b4.fc, x)))
    if not case["c_dim"]:
        return x
    label = formulas.mapped(stream.mapping, [formulas.normalised(linear(stream.mapping.embed, c))], 8)
    assert label.shape == x.shape
    return (x * label).sum(1, keepdims=True) / math.sqrt(label.shape[1])


def discriminator(case: dict[str, Any]) -> Discriminator:
    made = Discriminator(**{"channel_base": 64, "channel_max": 8, **case})
    golden.fill(made, 0)
    return made


@pytest.mark.parametrize("c_dim", [0, 3])
@pytest.mark.parametrize(
    "case",
    [
        {"img_resolution": 8},
        {"img_resolution": 16, "conv_clamp": 0.5},
        {"img_resolution": 16, "conv_clamp": 0.5, "architecture": "orig"},
        {"img_resolution": 8, "architecture": "orig"},
        {"img_resolution": 8, "architecture": "skip"},
        {"img_resolution": 16, "conv_clamp": 0.5, "architecture": "skip"},
        {"img_resolution": 8, "epilogue_kwargs": {"mbstd_group_size": 2, "mbstd_num_channels": 2}},
        {"img_resolution": 8, "epilogue_kwargs": {"mbstd_group_size": None}},
        {"img_resolution": 8, "epilogue_kwargs": {"mbstd_num_channels": 0}, "cmap_dim": 5},
        {"img_resolution": 16, "num_fp16_res": 1},
    ],
    ids=str,
)
def test_logits_match_the_formula(case: dict[str, Any], c_dim: int) -> None:
    """Both heads are conditioned on the labels; frames of a pair are consecutive."""
    case = {**case, "c_dim": c_dim}
    D, side = discriminator(case), case["img_resolution"]
    vid, c = torch.randn(4, 7, side, side), torch.eye(3)[[0, 1, 2, 0]][:, :c_dim]
    motion, image, frames = D(vid, c)
    assert torch.equal(frames, torch.stack((vid[:, :3], vid[:, 3:6]), 1).flatten(0, 1))
    assert formulas.error(motion, logits(D.videoD, array(vid), array(c), case)) < FORWARD
    labels = np.repeat(array(c), 2, 0)
    assert formulas.error(image, logits(D.imageD, array(frames), labels, case)) < FORWARD


def test_the_clamp_binds() -> None:
    """In every convolution except the skip, times the layer's gain."""
    D = discriminator({"img_resolution": 8, "conv_clamp": 0.5})
    for module, bound in (("b8.fromrgb", 0.5), ("b8.conv0", 0.5), ("b8.conv1", 0.5 * HALF), ("b8.skip", None)):
        layer = D.videoD.get_submodule(module)
        x = 9 * torch.randn(2, layer.weight.shape[1], 8, 8)
        largest = float(layer(x, gain=1.0 if bound == 0.5 else HALF).detach().abs().max())
        assert largest == pytest.approx(bound) if bound else largest > 1


@pytest.mark.parametrize(
    ("batch", "group", "count"), [(6, 2, 1), (6, 3, 2), (6, 6, 4), (8, 4, 2), (2, 4, 1), (1, 4, 1), (5, None, 2)]
)
def test_minibatch_deviation_matches_the_formula(batch: int, group: int | None, count: int) -> None:
    x = torch.randn(batch, 4, 3, 3) * torch.arange(1, 5).view(1, 4, 1, 1)
    expected = with_deviation(array(x), min(group or batch, batch), count)
    assert formulas.error(minibatch_deviation(x, group, count), expected) < FORWARD


def test_minibatch_deviation_of_equal_samples_has_a_gradient() -> None:
    x = torch.ones(4, 2, 3, 3, requires_grad=True)
    out = minibatch_deviation(x, 4)
    assert torch.allclose(out[:, 2], torch.tensor(1e-4))
    out.sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    assert minibatch_deviation(x[:0], 4, 2).shape == (0, 4, 3, 3)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_the_highest_levels_are_half_precision_on_a_gpu_only(count: int) -> None:
    D = discriminator({"img_resolution": 16, "num_fp16_res": count})
    for stream in (D.videoD, D.imageD):
        assert (stream.b16.use_fp16, stream.b8.use_fp16) == (count > 0, count > 1)
    vid = torch.randn(2, 7, 16, 16)
    plain = discriminator({"img_resolution": 16})(vid)
    for found, expected in zip(D(vid), plain, strict=True):
        assert torch.equal(found, expected)


def test_levels_have_their_channels_and_biases() -> None:
    D = Discriminator(3, 16, channel_base=128, channel_max=24, conv_clamp=256)
    stream = D.imageD
    assert stream.b16.fromrgb.weight.shape == (8, 3, 1, 1)
    assert stream.b16.conv1.weight.shape == (16, 8, 3, 3)
    assert stream.b8.conv1.weight.shape == (24, 16, 3, 3)
    assert stream.b8.fromrgb is None
    assert stream.b4.conv.weight.shape == (24, 25, 3, 3)
    assert stream.b4.out.weight.shape == (24, 24)
    assert (stream.b16.conv1.down, stream.b16.skip.bias) == (2, None)
    assert not any(p.any() for name, p in D.named_parameters() if name.endswith("bias"))
    for name, p in D.named_parameters():
        if name.endswith("weight"):
            scale = 100.0 if "mapping.fc" in name else 1.0
            # Five standard errors of the mean and of the standard deviation of n normal numbers.
            assert abs(float(p.detach().mean())) < 5 * scale / math.sqrt(p.numel()), name
            assert abs(float(p.detach().std()) / scale - 1) < 5 / math.sqrt(2 * p.numel()), name
