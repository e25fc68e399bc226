"""Layers with spectral normalisation (arXiv 1802.05957) and orthogonal initial weights (arXiv 1312.6120)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from digan_fast import functional

# Iterations for the initial weights; every step of training adds one.
_FIRST_ITERATIONS = 16


class SpectralLayer(nn.Module):
    """A linear layer or convolution by W/σ(W), W seen as a matrix [O, I·k…]; its output has the input's size.

    ``kernel``: its sides, none for a linear layer, odd ones.  σ is uᵀ W v with v = Wᵀu/‖Wᵀu‖, where u [O] approaches
    the first left singular vector by one power iteration per :meth:`advance`.  ``forward`` leaves u as it is.
    """

    u: Tensor

    def __init__(self, in_channels: int, out_channels: int, kernel: tuple[int, ...] = (), bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, *kernel))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        self.register_buffer("u", torch.empty(out_channels))
        if not self.weight.is_meta:  # Where there are no values, the functions below take seconds to be imported.
            nn.init.orthogonal_(self.weight)
            self.u.copy_(F.normalize(torch.randn(out_channels), dim=0))
            self.advance(_FIRST_ITERATIONS)

    @torch.no_grad()
    def advance(self, iterations: int = 1) -> None:
        """Moves u towards the first left singular vector."""
        matrix = self.weight.flatten(1)
        for _ in range(iterations):
            self.u.copy_(F.normalize(matrix @ F.normalize(matrix.T @ self.u, dim=0), dim=0))

    def normalised_weight(self) -> Tensor:
        """W/σ(W), with the gradient of σ at fixed u and v."""
        matrix = self.weight.flatten(1)
        with torch.no_grad():
            v = F.normalize(matrix.T @ self.u, dim=0)
        # u moves in place before the next phase, which the graph of this one may outlive.
        return self.weight / torch.dot(self.u.clone(), matrix @ v)

    def forward(self, x: Tensor) -> Tensor:
        """[N, I] to [N, O], [N, I, H, W] to [N, O, H, W], or [N, I, T, H, W] to [N, O, T, H, W]."""
        weight = self.normalised_weight().to(x.dtype)
        bias = None if self.bias is None else self.bias.to(x.dtype)
        if weight.ndim == 2:
            return F.linear(x, weight, bias)
        if weight.ndim == 5:
            return F.conv3d(x, weight, bias, padding=tuple(side // 2 for side in weight.shape[2:]))
        if weight.shape[2:] == (3, 3):
            x = functional.conv3x3(x, weight, padding=1)
            return x if bias is None else x + bias.view(-1, 1, 1)
        return F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2)


def advance(network: nn.Module) -> None:
    """One power iteration of every :class:`SpectralLayer` of a network."""
    for module in network.modules():
        if isinstance(module, SpectralLayer):
            module.advance()
