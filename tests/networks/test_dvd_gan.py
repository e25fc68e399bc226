"""DVD-GAN's networks against their definitions."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from digan_fast.networks import spectral
from digan_fast.networks.discriminators.dvd_gan import DVDDiscriminator, SummedDiscriminator
from digan_fast.networks.grid_generator import ConditionalNorm, ConvGRU, GridGenerator
from digan_fast.networks.reduction import REDUCTIONS, reduced, side_of
from digan_fast.networks.spectral import SpectralLayer

SMALL = {"channel_base": 64, "channel_max": 8}


@pytest.mark.parametrize(
    ("inputs", "outputs", "kernel"), [(5, 3, ()), (3, 7, (3, 3)), (1, 1, (1, 1)), (2, 4, (3, 3, 3))]
)
def test_weights_are_orthogonal_then_divided_by_their_first_singular_value(
    inputs: int, outputs: int, kernel: tuple[int, ...]
) -> None:
    layer = SpectralLayer(inputs, outputs, kernel)
    values = torch.linalg.svdvals(layer.weight.detach().flatten(1))
    torch.testing.assert_close(values, torch.ones_like(values), rtol=0, atol=1e-5)
    with torch.no_grad():
        layer.weight.copy_(torch.randn_like(layer.weight))
    layer.advance(1000)
    first = torch.linalg.svdvals(layer.normalised_weight().detach().flatten(1))[0]
    assert float(first) == pytest.approx(1, abs=1e-3)


def test_forward_leaves_the_iteration_where_it_is() -> None:
    layer = SpectralLayer(4, 3, (3, 3))
    with torch.no_grad():
        layer.weight.mul_(torch.linspace(1, 3, 3).view(3, 1, 1, 1))
    before = layer.u.clone()
    layer(torch.randn(2, 4, 5, 5)).sum().backward()
    assert torch.equal(layer.u, before)
    spectral.advance(torch.nn.Sequential(layer))
    assert not torch.equal(layer.u, before)


@pytest.mark.parametrize(("kernel", "shape"), [((), ()), ((1, 1), (1, 3)), ((3, 3), (3, 5)), ((3, 3, 3), (1, 2, 3))])
def test_layers_are_the_formula_with_its_gradient(kernel: tuple[int, ...], shape: tuple[int, ...]) -> None:
    layer = SpectralLayer(2, 3, kernel).double()
    with torch.no_grad():
        layer.weight.copy_(torch.randn_like(layer.weight))
    x = torch.randn(2, 2, *shape, dtype=torch.float64, requires_grad=True)
    matrix, u = layer.weight.flatten(1), layer.u
    v = F.normalize(matrix.T @ u, dim=0).detach()
    weight = layer.weight / (u @ matrix @ v)
    apply = {0: F.linear, 2: F.conv2d, 3: F.conv3d}[len(kernel)]
    padding = {"padding": tuple(side // 2 for side in kernel)} if kernel else {}
    expected = apply(x, weight, layer.bias, **padding)
    torch.testing.assert_close(layer(x), expected)

    def of_weight(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return torch.func.functional_call(layer, {"weight": weight, "bias": bias}, (x,))

    arguments = (x, layer.weight.detach().requires_grad_(), layer.bias.detach().requires_grad_())
    # u and v are constants of the gradient; of a tangent v is not, so numerically only x is varied.
    assert torch.autograd.gradcheck(lambda x: of_weight(x, *arguments[1:]), x)
    found = torch.autograd.grad(of_weight(*arguments).square().sum(), arguments[1])[0]
    wanted = torch.autograd.grad(expected.square().sum(), layer.weight)[0]
    torch.testing.assert_close(found, wanted)


@settings(deadline=None, max_examples=30)
@given(st.sampled_from(sorted(REDUCTIONS)), st.integers(0, 3), st.integers(1, 3), st.sampled_from([8, 12, 20]))
def test_reductions_are_their_definitions(reduction: str, batch: int, frames: int, side: int) -> None:
    clips = torch.randn(batch, frames, 2, side, side, dtype=torch.float64)
    offsets = torch.randint(0, side // 2 + 1, [batch, 2])
    found = reduced(clips, reduction, offsets)
    small = side_of(reduction, side)
    assert found.shape == (batch, frames, 2, small, small)
    factor = side // small
    for b in range(batch):
        top, left = offsets[b].tolist()
        if reduction == "crop":
            expected = clips[b, :, :, top : top + small, left : left + small]
        else:
            rows = clips[b].view(frames, 2, small, factor, small, factor)
            expected = rows.mean((3, 5))
        torch.testing.assert_close(found[b], expected, rtol=0, atol=1e-12)


def test_reductions_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="reduction: 'half', expected one of pool2, pool4"):
        side_of("half", 8)
    with pytest.raises(ValueError, match="reduction: 'pool4' leaves 4²"):
        side_of("pool4", 4)
    with pytest.raises(ValueError, match="offsets: None"):
        reduced(torch.zeros(1, 1, 3, 8, 8), "crop")


@pytest.fixture
def D() -> DVDDiscriminator:
    torch.manual_seed(0)
    return DVDDiscriminator(3, 16, frames=4, **SMALL)


def test_frames_are_judged_one_by_one_and_summed(D: DVDDiscriminator) -> None:
    frames, labels = torch.randn(2, 4, 3, 16, 16), torch.eye(3)[:2]
    with torch.no_grad():
        D.frame.out.bias.fill_(0.7)
        whole = D(frames, labels, head="frame").logits
        each = [D(frames[:, t : t + 1], labels, head="frame").logits for t in range(4)]
    # A bias of the sum, not of each frame.
    torch.testing.assert_close(whole, sum(each) - 3 * 0.7)


def test_clips_are_judged_in_their_order(D: DVDDiscriminator) -> None:
    """The first two blocks see neighbours: ±1 for each of four convolutions, so frame 0 reaches frame 4, not 5."""
    kernels = [block.conv0.weight.shape[2:] for block in D.clip.blocks]
    assert kernels == [(3, 3, 3), (3, 3, 3)][: len(kernels)]
    judge = SummedDiscriminator(0, 16, 3, 64, 8, 2)
    assert [tuple(block.conv1.weight.shape[2:]) for block in judge.blocks] == [(3, 3, 3), (3, 3, 3), (3, 3)]
    clips = torch.randn(1, 6, 3, 16, 16)
    with torch.no_grad():
        assert not torch.allclose(judge(clips, None), judge(clips.flip(1), None))
        assert torch.allclose(
            judge.blocks[0](clips.transpose(1, 2))[:, :, 3:],
            judge.blocks[0](torch.cat((clips[:, :1] + 1, clips[:, 1:]), 1).transpose(1, 2))[:, :, 3:],
            atol=1e-5,
        )


def test_labels_are_projected(D: DVDDiscriminator) -> None:
    """The logits of two labels differ by the features' product with the difference of their embeddings."""
    clips = torch.randn(1, 5, 3, 8, 8)
    features: list[Tensor] = []
    D.clip.out.register_forward_pre_hook(lambda module, given: features.append(given[0]))
    with torch.no_grad():
        first, second = (D(clips, torch.eye(3)[n : n + 1], head="clip").logits for n in (0, 1))
        table = D.clip.embed.normalised_weight()
    expected = (features[0] * (table[:, 0] - table[:, 1])).sum()
    torch.testing.assert_close((first - second).squeeze(), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("reduction", sorted(REDUCTIONS))
@pytest.mark.parametrize("side", [8, 32])
def test_sides_and_channels(reduction: str, side: int) -> None:
    D = DVDDiscriminator(0, side, frames=2, reduction=reduction, **SMALL)
    small = side_of(reduction, side)
    assert D(torch.randn(2, 3, 3, small, small), head="clip").logits.shape == (2, 1)
    assert D(torch.randn(0, 2, 3, side, side), head="frame").logits.shape == (0, 1)
    assert [block.conv0.weight.shape[0] for block in D.frame.blocks] == [min(64 // s, 8) for s in _sides(side)]
    with pytest.raises(ValueError, match=r"shown: shape .*, expected \[B, K, 3, "):
        D(torch.randn(2, 3, 3, small + 1, small), head="clip")
    with pytest.raises(ValueError, match="head: 'motion', expected one of frame, clip"):
        D(torch.randn(2, 3, 3, small, small), head="motion")


def _sides(side: int) -> list[int]:
    return [side >> power for power in range(side.bit_length() - 2)]


@pytest.mark.parametrize("head", ["frame", "clip"])
def test_bfloat16_is_near_float32(head: str) -> None:
    """Logits and gradients; a block rounds four times in a row, to 2⁻⁸, and there are at most five."""
    D = DVDDiscriminator(3, 32, frames=4, channel_base=256, channel_max=16)
    side, labels = D.sides[head], torch.eye(3)[:2]
    shown = torch.randn(2, 4, 3, side, side)
    found = {}
    for precision in ("float32", "bfloat16"):
        D.set_precision(precision)
        inputs = shown.clone().requires_grad_()
        logits = D(inputs, labels, head=head).logits
        assert logits.dtype == torch.float32
        found[precision] = (logits.detach(), torch.autograd.grad(logits.sum(), inputs)[0])
    for near, exact in zip(found["bfloat16"], found["float32"], strict=True):
        assert 0 < float((near - exact).norm() / exact.norm()) < 4 * 5 * 2**-8


def test_the_penalty_is_differentiable(D: DVDDiscriminator) -> None:
    D = D.double()
    shown = torch.randn(1, 2, 3, 8, 8, dtype=torch.float64, requires_grad=True)
    labels = torch.eye(3, dtype=torch.float64)[:1]

    def penalty(shown: Tensor) -> Tensor:
        logits = D(shown, labels, head="clip").logits
        return torch.autograd.grad(logits.sum(), shown, create_graph=True)[0].square().sum()

    direction = torch.randn_like(shown)
    step = 1e-6
    numeric = (penalty(shown + step * direction) - penalty(shown - step * direction)) / (2 * step)
    exact = (torch.autograd.grad(penalty(shown), shown)[0] * direction).sum()
    torch.testing.assert_close(exact, numeric, rtol=1e-5, atol=1e-8)


def test_the_gru_is_its_formula() -> None:
    gru, x = ConvGRU(3).double(), torch.randn(2, 4, 3, 4, 4, dtype=torch.float64)
    h = torch.zeros(2, 3, 4, 4, dtype=torch.float64)
    for t, found in enumerate(gru(x).unbind(1)):
        r, u = torch.sigmoid(gru.gates(torch.cat((x[:, t], h), 1))).chunk(2, 1)
        h = u * h + (1 - u) * gru.candidate(torch.cat((x[:, t], r * h), 1)).relu()
        torch.testing.assert_close(found, h)


def test_conditional_norm() -> None:
    """Scale 1 + W c and shift V c of frames with mean 0 and variance 1; the statistics move by a tenth."""
    norm, x, condition = (
        ConditionalNorm(3, 2).double(),
        torch.randn(6, 3, 4, 4).double() * 3 + 1,
        torch.randn(2, 2).double(),
    )
    found = norm(x, condition)
    mean, variance = x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False)
    plain = (x - mean[:, None, None]) / (variance[:, None, None] + 1e-5).sqrt()
    scale, shift = (F.linear(condition, layer.normalised_weight()) for layer in (norm.scale, norm.shift))
    expected = plain.unflatten(0, (2, 3)) * (1 + scale)[:, None, :, None, None] + shift[:, None, :, None, None]
    torch.testing.assert_close(found, expected.flatten(0, 1))
    torch.testing.assert_close(norm.mean, 0.1 * mean)
    torch.testing.assert_close(norm.variance, 0.9 + 0.1 * x.var((0, 2, 3)))


def test_the_generator_makes_clips_of_any_length() -> None:
    """In evaluation mode a clip does not depend on its batch, and a longer one continues a shorter one."""
    G = GridGenerator(6, 3, 16, **SMALL).eval()
    z, labels = torch.randn(2, 6), torch.eye(3)[[0, 2]]
    with torch.no_grad():
        long, short, alone = G(z, labels, 5), G(z, labels, 3), G(z[1:], labels[1:], 5)
        other = G(z, labels.flip(0), 5)
    assert long.shape == (2, 5, 3, 16, 16)
    assert long.abs().max() <= 1
    torch.testing.assert_close(long[:, :3], short, rtol=0, atol=1e-5)
    torch.testing.assert_close(long[1:], alone, rtol=0, atol=1e-5)
    assert not torch.allclose(long, other)
    assert not torch.allclose(long[:, 0], long[:, 1])
    for name, changes in (("z", (z[:, :5], labels)), ("c", (z, labels[:1])), ("c", (z, None))):
        with pytest.raises(ValueError, match=f"{name}: "):
            G(*changes)


def test_training_moves_the_running_means() -> None:
    G = GridGenerator(6, 0, 8, **SMALL)
    before = [mean.clone() for mean in G.running_means()]
    assert len(before) == 2 * (2 * 2 * 2 + 1)
    G(torch.randn(3, 6), None, 2)
    assert all(not torch.equal(old, new) for old, new in zip(before, G.running_means(), strict=True))
    assert {id(b) for b in G.buffers()} - {id(b) for b in G.running_means()} == {
        id(m.u) for m in G.modules() if isinstance(m, SpectralLayer)
    }
