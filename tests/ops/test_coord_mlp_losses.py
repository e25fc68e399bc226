"""Losses that contain derivatives of a coordinate MLP by its coordinates."""

from __future__ import annotations

import math
from typing import Any

import torch
from coordinate_mlps import evaluated, network, tensors_of
from torch import Tensor

from digan_fast.functional import MLPLayer, mlp_layers


def siren(width: int, hidden: int, dtype: torch.dtype = torch.float32) -> list[MLPLayer]:
    """Sines whose first frequencies are at most 3 radians per unit."""
    weights, biases = network(1, [2, *[width] * hidden, 1], True, dtype)
    weights[0] = weights[0] / 5
    return mlp_layers(weights, biases, "sine", 30.0)


def grid(side: int) -> Tensor:
    axis = torch.linspace(-1, 1, side)
    return torch.stack(torch.meshgrid(axis, axis, indexing="ij"), -1).reshape(1, -1, 2)


def laplacian(function: Any, x: Tensor) -> Tensor:
    gradient = torch.autograd.grad(function(x).sum(), x, create_graph=True)[0]
    return sum(  # type: ignore[return-value]
        torch.autograd.grad(gradient[..., d].sum(), x, create_graph=True)[0][..., d] for d in range(x.shape[-1])
    )


def test_a_poisson_fit_recovers_a_function_from_its_laplacian() -> None:
    """As in SIREN's section 4: u = sin 3x · cos 2y from Δu = −13u, and u on the border."""
    torch.manual_seed(0)
    layers = siren(32, 2)
    alive = [t.requires_grad_() for t in tensors_of(layers)]
    function = evaluated(layers)
    points = grid(12)
    target = torch.sin(3 * points[0, :, 0]) * torch.cos(2 * points[0, :, 1])
    border = points[0].abs().amax(1) == 1
    optimiser = torch.optim.Adam(alive, 2e-3)
    losses = []
    for _ in range(150):
        x = points.clone().requires_grad_()
        inside = (laplacian(lambda at: function(at, *alive), x)[0] + 13 * target).square().mean()
        outside = (function(points, *alive)[0, border, 0] - target[border]).square().mean()
        loss = inside + 100 * outside
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] / 100
    with torch.no_grad():
        error = (function(points, *alive)[0, :, 0] - target).norm() / target.norm()
    assert float(error) < 0.1


def test_an_eikonal_loss_makes_a_signed_distance() -> None:
    """|∇f| = 1 with f = 0 on a circle."""
    torch.manual_seed(0)
    layers = siren(32, 2)
    alive = [t.requires_grad_() for t in tensors_of(layers)]
    function = evaluated(layers)
    angles = torch.linspace(0, 2 * math.pi, 49)[:-1]
    circle = 0.5 * torch.stack((angles.cos(), angles.sin()), -1).unsqueeze(0)
    optimiser = torch.optim.Adam(alive, 1e-3)
    eikonals = []
    for _ in range(120):
        x = (torch.rand(1, 128, 2) * 2 - 1).requires_grad_()
        gradient = torch.autograd.grad(function(x, *alive).sum(), x, create_graph=True)[0]
        eikonal = (gradient.norm(dim=-1) - 1).square().mean()
        loss = eikonal + 100 * function(circle, *alive).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        eikonals.append(float(eikonal.detach()))
    assert sum(eikonals[-10:]) < sum(eikonals[:10]) / 10
    with torch.no_grad():
        assert function(circle, *alive).abs().mean() < 0.02


def test_second_derivatives_in_float32() -> None:
    """The Laplacian, and its gradient by the weights, against float64."""
    layers = siren(16, 2)

    def both(dtype: torch.dtype) -> list[Tensor]:
        own = [t.detach().to(dtype).requires_grad_() for t in tensors_of(layers)]
        x = grid(5).to(dtype).requires_grad_()
        value = laplacian(lambda at: evaluated(layers)(at, *own), x)
        return [value.detach(), *torch.autograd.grad(value.square().sum(), own[:-1])]

    for found, exact in zip(both(torch.float32), both(torch.float64), strict=True):
        assert float((found.double() - exact).norm() / exact.norm()) < 1e-4
