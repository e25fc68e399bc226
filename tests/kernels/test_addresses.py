"""Elements beyond 2³¹, in tensors whose pages are mostly never touched; only the last programs are interpreted."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from cases import reference
from emulator.triton_interpreter import last_programs
from torch import Tensor

from digan_fast.kernels import bias_act, coord_linear, fmm_weights, linear_act, upfirdn2d

ELEMENTS = 2**31
ROWS = 40


def untouched(*shape: int) -> Tensor:
    """Virtual memory: a page is allocated when it is first written, and reads as zeros before."""
    found = torch.empty(shape, dtype=torch.float16)
    assert found.numel() > ELEMENTS
    return found


def last(tensor: Tensor, rows: int) -> Tensor:
    """The last rows, filled with noise."""
    return tensor[-rows:].normal_()


def linear() -> tuple[Tensor, Tensor]:
    x, weight = untouched(ELEMENTS // 64 + 5, 64), torch.randn(1, 16, 64).half() / 8
    args = [weight, None, "lrelu", 1.4, None]
    part = last(x, ROWS)
    found = linear_act.linear_act(x[None], *args)[0, -ROWS:]
    return found, reference("linear_act", part[None].float(), weight.float(), *args[1:])[0][0]


def linear_videos() -> tuple[Tensor, Tensor]:
    x = untouched(3, ELEMENTS // 2 + 32)
    x = x[:, : ROWS * 16].view(3, ROWS, 16)
    weight = torch.randn(3, 16, 16).half() / 4
    last(x, 1)
    found = linear_act.linear_act(x, weight, None, "lrelu", 1.4, None)[-1:]
    return found, reference("linear_act", x[-1:].float(), weight[-1:].float(), None, "lrelu", 1.4, None)[0]


def linear_dx() -> tuple[Tensor, Tensor]:
    grad, weight = untouched(ELEMENTS // 64 + 5, 64), torch.randn(1, 64, 16).half() / 8
    part = last(grad, ROWS)
    found = linear_act._run_backward_x(grad[None], weight, None, "linear", 1.0, None)[0, -ROWS:]
    return found, part.float() @ weight[0].float()


def biased() -> tuple[Tensor, Tensor]:
    x, bias = untouched(ELEMENTS // 64 + 5, 64), torch.randn(64).half()
    part = last(x, ROWS)
    found = bias_act.bias_act(x, bias, 1, "lrelu", 1.4, None)[-ROWS:]
    return found, reference("bias_act", part.float(), bias.float(), 1, "lrelu", 1.4, None)[0]


def biased_dx() -> tuple[Tensor, Tensor]:
    grad, out = untouched(ELEMENTS // 64 + 5, 64), untouched(ELEMENTS // 64 + 5, 64)
    parts = last(grad, ROWS), last(out, ROWS)
    found = bias_act.bias_act_backward(grad, None, None, out, 1, "lrelu", 1.4, None)[0][-ROWS:]
    return found, parts[0].float() * torch.where(parts[1] > 0, 1.0, 0.2) * 1.4


def sinusoids() -> tuple[Tensor, Tensor]:
    """The lowest rows of the last of several frames of 256²."""
    frames, side, outputs = ELEMENTS // (256 * 256 * 64) + 1, 256, 64
    frequency, phase = torch.randn(1, 16, 2), torch.randn(1, frames, 16)
    args = [torch.randn(1, outputs, 32).half() / 6, None]
    options = ["lrelu", 1.4, None]
    found = coord_linear.coord_linear(None, frequency, phase, *args, [side, 0, 0, side, side], *options)
    assert found.numel() > ELEMENTS
    wide = [None, frequency, phase[:, -1:], args[0].float(), None, [side, side - 1, side - ROWS, 1, ROWS], *options]
    return found[0, -1, -1, -ROWS:], reference("coord_linear", *wide)[0][0, 0, 0]


def factors() -> tuple[Tensor, Tensor]:
    videos = ELEMENTS // (512 * 512) + 1
    weight, left, right = (
        torch.randn(512, 512).half(),
        torch.zeros(videos, 512, 2).half(),
        torch.zeros(videos, 2, 512).half(),
    )
    parts = last(left, 1), last(right, 1)
    found = fmm_weights.fmm_weights(weight, left, right, "demod")
    assert found.numel() > ELEMENTS
    expected = reference("fmm_weights", weight.float(), parts[0].float(), parts[1].float(), "demod")[0]
    return found[-1, -16:], expected[0, -16:]


def filtered() -> tuple[Tensor, Tensor]:
    x = untouched(ELEMENTS // (64 * 64) + 1, 1, 64, 64)
    part, taps = last(x, 1), torch.rand(4, 4)
    args = [taps, 1, 1, [2, 1, 2, 1], False, 1.0]
    found = upfirdn2d.upfirdn2d(x, *args)[-1, :, -8:]
    return found, reference("upfirdn2d", part.float(), *args)[0][0, :, -8:]


CASES: dict[str, Callable[[], tuple[Tensor, Tensor]]] = {
    "linear_act": linear,
    "linear_act videos": linear_videos,
    "linear_act dx": linear_dx,
    "bias_act": biased,
    "bias_act dx": biased_dx,
    "coord_linear": sinusoids,
    "fmm_weights": factors,
    "upfirdn2d": filtered,
}


@pytest.mark.parametrize("name", CASES)
def test_addresses(name: str) -> None:
    with last_programs(4):
        found, expected = CASES[name]()
    torch.testing.assert_close(found.float(), expected, rtol=2e-3, atol=2e-3)
