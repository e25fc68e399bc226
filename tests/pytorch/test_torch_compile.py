"""torch.compile with its default backend, which relies on the fakes for memory layouts."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from digan_fast import Discriminator, Generator, VideoINR
from digan_fast.networks.config import coordinate_config


class Window(nn.Module):
    """A rectangle of odd height, so that its regions on coarser grids are not aligned."""

    def __init__(self, inr: VideoINR) -> None:
        super().__init__()
        self.inr = inr

    def forward(self, times: Tensor) -> Tensor:
        return self.inr.render(times, window=(1, 0, 3, 8))


def generator() -> Generator:
    cfg = coordinate_config(4, 4, 2)
    return Generator(8, 0, 8, 8, synthesis_kwargs={"channel_base": 64, "channel_max": 8}, cfg=cfg)


def window() -> tuple[nn.Module, tuple[Tensor, ...]]:
    inr = generator().inr(torch.randn(2, 8)).detach()
    return Window(inr), (torch.rand(2, 3, requires_grad=True),)


def synthesis() -> tuple[nn.Module, tuple[Tensor, ...]]:
    G = generator()
    return G.synthesis, (torch.randn(2, G.num_ws, 8, requires_grad=True), torch.rand(4, 1, 1, 1), torch.randn(2, 8))


def discriminator() -> tuple[nn.Module, tuple[Tensor, ...]]:
    return Discriminator(0, 8, channel_base=64, channel_max=8), (torch.randn(4, 7, 8, 8, requires_grad=True),)


@pytest.mark.parametrize("case", [window, synthesis, discriminator])
def test_one_graph_forward_and_backward(case) -> None:  # type: ignore[no-untyped-def]
    module, inputs = case()
    torch._dynamo.reset()
    compiled = torch.compile(module, fullgraph=True)

    def outputs(function: nn.Module) -> tuple[Tensor, Tensor]:
        out = function(*inputs)
        out = out if isinstance(out, Tensor) else torch.cat(out[:2])
        (gradient,) = torch.autograd.grad(out.square().sum(), inputs[0])
        return out.detach(), gradient

    torch.testing.assert_close(outputs(compiled), outputs(module), rtol=1e-4, atol=1e-5)
