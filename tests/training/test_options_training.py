"""Losses and augmentation against their definitions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import golden
import pytest
import torch
from torch import Tensor

from digan_fast import Discriminator, Generator
from digan_fast.networks.config import coordinate_config
from digan_fast.training import augment
from digan_fast.training.augment import DiffAugment
from digan_fast.training.loss import Loss

SIDES = (9, 12)


def doubles(draw: Tensor) -> list[float]:
    return [float(value) for value in draw.flatten()]


def colour(name: str, x: Tensor, u: Tensor) -> Tensor:
    """x [B, 2, 3, H, W] in float64, u a draw for each pair."""
    out = x.clone()
    for b, value in enumerate(doubles(u)):
        for frame in range(2):
            if name == "brightness":
                out[b, frame] = x[b, frame] + value - 0.5
            elif name == "saturation":
                mean = (x[b, frame, 0] + x[b, frame, 1] + x[b, frame, 2]) / 3
                out[b, frame] = (x[b, frame] - mean) * 2 * value + mean
            else:
                mean = x[b, frame].sum() / x[b, frame].numel()
                out[b, frame] = (x[b, frame] - mean) * (value + 0.5) + mean
    return out


@pytest.mark.parametrize("name", ["brightness", "saturation", "contrast"])
def test_colours_are_the_formula(name: str) -> None:
    x = torch.randn(4, 2, 3, *SIDES)
    torch.manual_seed(3)
    found = getattr(augment, name)(x)
    torch.manual_seed(3)
    expected = colour(name, x.double(), torch.rand(4, 1, 1, 1))
    # A few roundings of float32 at values up to 8, and a mean of 324 of them.
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=5e-6)


def test_translation_is_the_formula() -> None:
    """Odd sides too: 9/8 + ½ and 12/8 + ½ round down to 1 and 2.  Rows are drawn before columns."""
    height, width = SIDES
    x = torch.randn(40, 2, 3, height, width)
    torch.manual_seed(3)
    found = augment.translation(x)
    torch.manual_seed(3)
    down = torch.randint(-1, 2, [40, 1, 1]).flatten().tolist()
    right = torch.randint(-2, 3, [40, 1, 1]).flatten().tolist()
    assert (set(down), set(right)) == ({-1, 0, 1}, {-2, -1, 0, 1, 2})
    expected = torch.zeros_like(x)
    for b in range(40):
        for j in range(height):
            for i in range(width):
                if 0 <= j + down[b] < height and 0 <= i + right[b] < width:
                    expected[b, :, :, j, i] = x[b, :, :, j + down[b], i + right[b]]
    assert torch.equal(found, expected)


@pytest.mark.parametrize("side", [8, 9, 10, 11])
def test_cutout_is_the_formula(side: int) -> None:
    """Half the side, rounded half up: 4, 5, 5, 6; one centre more where that is even."""
    x = torch.randn(60, 2, 3, side, side)
    torch.manual_seed(3)
    found = augment.cutout(x)
    size, centres = {8: (4, 9), 9: (5, 9), 10: (5, 10), 11: (6, 12)}[side]
    torch.manual_seed(3)
    rows = torch.randint(0, centres, [60, 1, 1]).flatten().tolist()
    columns = torch.randint(0, centres, [60, 1, 1]).flatten().tolist()
    assert {0, centres - 1} <= set(rows) & set(columns)
    expected = x.clone()
    for b in range(60):
        for dy in range(size):
            for dx in range(size):
                j = min(max(rows[b] - size // 2 + dy, 0), side - 1)
                i = min(max(columns[b] - size // 2 + dx, 0), side - 1)
                expected[b, :, :, j, i] = 0
    assert torch.equal(found, expected)


def test_transforms_run_in_their_order() -> None:
    color = (augment.brightness, augment.saturation, augment.contrast)
    table = {"color": color, "translation": (augment.translation,), "cutout": (augment.cutout,)}
    assert table == augment.TRANSFORMS
    pairs = torch.randn(3, 7, 8, 8)
    torch.manual_seed(3)
    found = DiffAugment("color, translation,cutout")(pairs)
    torch.manual_seed(3)
    x = pairs[:, :6].unflatten(1, (2, 3))
    for transform in (augment.brightness, augment.saturation, augment.contrast, augment.translation, augment.cutout):
        x = transform(x)
    assert torch.equal(found, torch.cat((x.flatten(1, 2), pairs[:, 6:]), 1))
    torch.manual_seed(3)
    assert DiffAugment("")(pairs) is pairs
    after = torch.rand(())
    torch.manual_seed(3)
    assert torch.equal(after, torch.rand(()))


class Parts:
    """Tiny networks, their loss, and a batch of four."""

    def __init__(self, c_dim: int = 0, **options: Any) -> None:
        channels = {"channel_base": 64, "channel_max": 8}
        self.G = Generator(8, c_dim, 6, 8, synthesis_kwargs=channels, cfg=coordinate_config(4, 4, 2))
        self.D = Discriminator(c_dim, 8, **channels)
        golden.fill(self.G, 1)
        golden.fill(self.D, 2)
        self.loss = Loss(self.G.mapping, self.G.synthesis, self.D, w_dim=6, **options)
        self.z, self.real = torch.randn(4, 8), torch.randn(4, 7, 8, 8)
        self.c = torch.eye(3)[[0, 1, 2, 0]][:, :c_dim]
        self.real_c = torch.eye(3)[[2, 2, 1, 0]][:, :c_dim]

    def gradients(self, phase: str, gain: float = 1.0) -> dict[str, Tensor]:
        """Of the phase's network, in training mode, all draws from seed 6."""
        trained, other = (self.G, self.D) if phase.startswith("G") else (self.D, self.G)
        other.requires_grad_(False).zero_grad(set_to_none=True)
        trained.requires_grad_(True).zero_grad(set_to_none=True)
        torch.manual_seed(6)
        self.loss.accumulate_gradients(phase, self.real, self.real_c, self.z, self.c, gain)
        assert all(p.grad is None for p in other.parameters())
        return {name: p.grad for name, p in trained.named_parameters() if p.grad is not None}

    def of(self, terms: Callable[[], Tensor], network: torch.nn.Module) -> dict[str, Tensor]:
        network.requires_grad_(True).zero_grad(set_to_none=True)
        torch.manual_seed(6)
        terms().backward()
        return {name: p.grad for name, p in network.named_parameters() if p.grad is not None}

    def pairs(self) -> Tensor:
        late = torch.distributions.Beta(2.0, 1.0).sample((4, 1, 1, 1, 1)).flatten()
        early = torch.distributions.Beta(1.0, 2.0).sample((4, 1, 1, 1, 1)).flatten()
        first, second = torch.minimum(late, early), torch.maximum(late, early)
        motion, ws = torch.randn(4, 6), self.G.mapping(self.z, self.c)
        frames = [self.G.synthesis(ws, t.view(4, 1, 1, 1), motion) for t in (first, second)]
        plane = (second - first).view(4, 1, 1, 1).expand(4, 1, 8, 8)
        return torch.cat((*frames, plane), 1)


def softplus(x: Tensor) -> Tensor:
    return (1 + x.exp()).log().mean()


def close(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Each gradient within 2e-3 relative in norm, the bound of golden gradients; zeros where none is expected."""
    for name, gradient in found.items():
        want = expected.get(name, torch.zeros_like(gradient))
        assert float((gradient - want).norm()) <= 2e-3 * float(want.norm()), name


@pytest.mark.parametrize("c_dim", [0, 3])
def test_losses_of_both_networks(c_dim: int) -> None:
    parts = Parts(c_dim)

    def generator_terms() -> Tensor:
        motion, image, _ = parts.D(parts.pairs(), parts.c)
        return softplus(-motion) + softplus(-image)

    close(parts.gradients("Gmain", 3.0), {k: v * 3 for k, v in parts.of(generator_terms, parts.G).items()})

    def discriminator_terms() -> Tensor:
        motion, image, _ = parts.D(parts.pairs().detach(), parts.c)
        real_motion, real_image, _ = parts.D(parts.real, parts.real_c)
        return softplus(motion) + softplus(image) + softplus(-real_motion) + softplus(-real_image)

    close(parts.gradients("Dmain", 3.0), {k: v * 3 for k, v in parts.of(discriminator_terms, parts.D).items()})
    assert set(parts.loss.report) == {
        f"{kind}/{name}"
        for kind, names in (
            ("loss", ("G", "D_fake", "D_real")),
            ("logits", ("G_motion", "G_image", "D_fake_motion", "D_fake_image", "D_real_motion", "D_real_image")),
        )
        for name in names
    }


def test_phases_of_the_discriminator_leave_the_generator() -> None:
    parts = Parts()
    parts.loss.accumulate_gradients("Dboth", parts.real, parts.real_c, parts.z, parts.c)
    assert all(p.grad is None for p in parts.G.parameters())
    assert all(p.grad is not None for p in parts.D.parameters())
    assert parts.real.grad is None
    assert not parts.real.requires_grad


@pytest.mark.parametrize("c_dim", [0, 3])
def test_the_penalty_of_both_heads(c_dim: int) -> None:
    """γ/2 times squared gradients: of each pair before augmentation, of each frame after it."""
    parts = Parts(c_dim, r1_gamma=0.6, augment=lambda pairs: 2 * pairs)

    def terms() -> Tensor:
        total = torch.zeros(())
        for b in range(4):
            pair = parts.real.clone().requires_grad_()
            motion, _, _ = parts.D(2 * pair, parts.real_c)
            (gradient,) = torch.autograd.grad(motion.sum(), pair, create_graph=True)
            total = total + gradient[b].square().sum() / 4
        _, image, frames = parts.D(2 * parts.real.clone().requires_grad_(), parts.real_c)
        (gradient,) = torch.autograd.grad(image.sum(), frames, create_graph=True)
        return (total + gradient.square().sum() / 8) * 0.6 / 2

    found = parts.gradients("Dreg", 16.0)
    assert found.keys() == {name for name, _ in parts.D.named_parameters()}
    close(found, {k: v * 16 for k, v in parts.of(terms, parts.D).items()})
    assert set(parts.loss.report) == {"r1/motion", "r1/image"}


def test_both_phases_are_the_sum_of_two() -> None:
    for kind in "GD":
        parts = Parts(pl_weight=2.0)
        torch.manual_seed(0)
        both = parts.gradients(f"{kind}both", 2.0)
        alone = parts.gradients(f"{kind}main", 2.0)
        if kind == "D":
            penalty = parts.gradients("Dreg", 2.0)
            close(both, {name: alone[name] + penalty[name] for name in both})
        else:
            # The path length's own draws come after the main phase's.
            assert any(not torch.equal(both[name], alone[name]) for name in both)


def test_path_length_of_half_the_batch_moves_its_mean() -> None:
    parts = Parts(pl_weight=2.0)
    found = parts.gradients("Greg", 4.0)
    assert found.keys() == {name for name, _ in parts.G.named_parameters()}
    first = float(parts.loss.pl_mean)
    assert first > 0
    lengths = first / 0.01
    parts.loss.pl_mean.zero_()
    close(found, {k: v * 4 for k, v in parts.of(lambda: parts.loss._path_length(parts.z, parts.c), parts.G).items()})
    assert float(parts.loss.pl_mean) == pytest.approx(first)
    parts.gradients("Greg")
    assert float(parts.loss.pl_mean) == pytest.approx(lengths * (0.01 + 0.01 * 0.99))
    torch.manual_seed(6)
    parts.loss._path_length(parts.z, parts.c)
    after = torch.rand(())
    torch.manual_seed(6)
    parts.loss._fakes(parts.z[:2], parts.c[:2])
    torch.randn(2, 6, 8, 8)
    assert torch.equal(after, torch.rand(()))


@pytest.mark.parametrize("probability", [0.0, 0.5, 1.0])
def test_style_mixing_takes_the_later_entries_from_another_w(probability: float) -> None:
    """Draws, where there are any: cutoff, whether it is kept, the other z.  The average sees the first w alone."""
    kept = set()
    for seed in range(12):
        parts = Parts(style_mixing_prob=probability)
        torch.manual_seed(seed)
        _, ws = parts.loss._fakes(parts.z, parts.c)
        after, average = torch.rand(()), parts.G.mapping.w_avg.clone()
        torch.manual_seed(seed)
        torch.distributions.Beta(2.0, 1.0).sample((4, 1, 1, 1, 1))
        torch.distributions.Beta(1.0, 2.0).sample((4, 1, 1, 1, 1))
        torch.randn(4, 6)
        parts.G.mapping.w_avg.zero_()
        expected = parts.G.mapping(parts.z, parts.c)
        assert torch.equal(average, parts.G.mapping.w_avg)
        if probability:
            cutoff = int(torch.empty([], dtype=torch.int64).random_(1, parts.G.num_ws))
            mixed = bool(torch.rand([]) < probability)
            other = parts.G.mapping(torch.randn_like(parts.z), parts.c)
            kept.add(mixed)
            if mixed:
                expected[:, cutoff:] = other[:, cutoff:]
        assert torch.equal(ws, expected)
        assert torch.equal(after, torch.rand(()))
    assert kept == {0.0: set(), 0.5: {False, True}, 1.0: {True}}[probability]
