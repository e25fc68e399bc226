"""What is computed again for derivatives: functions, sample by sample, and the filtered inputs of convolutions."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from digan_fast import functional
from digan_fast.networks.convolution import Conv
from digan_fast.networks.discriminators.digan import Discriminator
from digan_fast.networks.recompute import recomputed


def _layers(frozen: bool = False) -> nn.Sequential:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.Softplus(), nn.Conv2d(3, 2, 3, stride=2)).double()
    layers[0].requires_grad_(not frozen)
    return layers


def _penalty(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Of the input's gradient, of a loss that depends on it nonlinearly."""
    out = function(x)
    (gradient,) = torch.autograd.grad(out.square().sum(), x, create_graph=True)
    return gradient.square().sum() + out.sin().sum()


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("count", [1, 3, 4, 5])
def test_gradient_penalties_are_those_of_the_function(count: int, frozen: bool) -> None:
    layers = _layers(frozen)
    parameters, trained = list(layers.parameters()), [p for p in layers.parameters() if p.requires_grad]
    x = torch.randn(count, 2, 6, 5, dtype=torch.float64, requires_grad=True)
    expected = torch.autograd.grad(_penalty(layers, x), [x, *trained])
    found = torch.autograd.grad(_penalty(lambda x: recomputed(layers, x, parameters), x), [x, *trained])
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-13)


def test_gradgradcheck() -> None:
    layers = _layers()
    parameters = list(layers.parameters())

    def function(x: Tensor, *_: Tensor) -> Tensor:
        return recomputed(layers, x, parameters)

    x = torch.randn(3, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(function, (x, *parameters))
    assert torch.autograd.gradgradcheck(function, (x, *parameters), gen_non_contig_grad_outputs=True)


def test_the_parameters_gradients_alone() -> None:
    layers = _layers()
    x = torch.randn(3, 2, 6, 5, dtype=torch.float64)
    parameters = list(layers.parameters())
    expected = torch.autograd.grad(layers(x).square().sum(), parameters)
    found = torch.autograd.grad(recomputed(layers, x, parameters).square().sum(), parameters)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-13)


def test_no_samples() -> None:
    layers = _layers()
    assert recomputed(layers, torch.zeros(0, 2, 6, 5, dtype=torch.float64), list(layers.parameters())).shape == (
        0,
        2,
        2,
        2,
    )


def test_no_graph_outlives_its_sample() -> None:
    """At most the graph of one sample exists at a time, whatever derivative is being taken."""
    layers, alive, most = _layers(), 0, 0

    class Counted(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            nonlocal alive, most
            if x.requires_grad:
                alive += 1
                most = max(most, alive)
                weakref.finalize(ctx, freed)
            return x.clone()

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> Tensor:
            return grad

    def freed() -> None:
        nonlocal alive
        alive -= 1

    x = torch.randn(6, 2, 6, 5, dtype=torch.float64, requires_grad=True)
    _penalty(
        lambda x: recomputed(lambda sample: layers(Counted.apply(sample)), x, list(layers.parameters())), x
    ).backward()
    assert most == 1


@pytest.mark.parametrize("architecture", ["resnet", "orig", "skip"])
@pytest.mark.parametrize("c_dim", [0, 3])
def test_discriminators_penalties(architecture: str, c_dim: int) -> None:
    torch.manual_seed(0)
    D = Discriminator(c_dim, 16, architecture=architecture, channel_base=64, channel_max=4).double()
    pairs = torch.randn(2, 7, 16, 16, dtype=torch.float64)
    c = torch.randn(2, c_dim, dtype=torch.float64)

    def gradients(recompute: bool) -> Tensor:
        D.zero_grad()
        for name in D.head_names:
            x = pairs.clone().requires_grad_()
            head = D(x, c, head=name, recompute=recompute).heads(x)[name]
            (gradient,) = torch.autograd.grad(head.logits.sum(), head.penalised, create_graph=True)
            (gradient.square().sum() + head.logits.square().sum()).backward()
        return torch.cat([p.grad.flatten() for p in D.parameters() if p.grad is not None])

    torch.testing.assert_close(gradients(True), gradients(False), rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("trainable", [True, False], ids=["trained", "frozen"])
def test_a_downsampling_convolution_does_not_keep_the_filtered_input(
    monkeypatch: pytest.MonkeyPatch, trainable: bool
) -> None:
    filtered = []
    filter_ = functional.upfirdn2d

    def watched(*args: Any, **options: Any) -> Tensor:
        found = filter_(*args, **options)
        filtered.append(weakref.ref(found))
        return found

    monkeypatch.setattr(functional, "upfirdn2d", watched)
    conv = Conv(3, 5, 3, down=2).requires_grad_(trainable)
    out = conv(torch.randn(2, 3, 8, 8, requires_grad=True) * 1)
    assert [each() for each in filtered] == [None]
    out.sum().backward()
