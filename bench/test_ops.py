"""The discriminators' ops at the shapes of a training step, forward and backward."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.cases import reference
from bench.harness import Effort, Form, Row, error_against, race, report
from bench.work import copy_rate
from digan_fast import Discriminator, functional
from digan_fast.reference.conv3x3 import output_size

PAIRS = 4
OPS = ("bias_act", "upfirdn2d", "conv3x3")


@dataclass(frozen=True)
class Call:
    """One call: shape and layout of x, shape of the second tensor, and the options."""

    shape: tuple[int, ...]
    last: bool  # channels last
    other: tuple[int, ...] | None
    options: tuple[tuple[str, Any], ...]


def calls(op: str, quick: bool, monkeypatch: pytest.MonkeyPatch, device: str = "cpu") -> Counter[Call]:
    """The discriminators' calls of ``op``, counted in a pass on the device, on which their layouts depend."""
    found: Counter[Call] = Counter()
    real = getattr(functional, op)

    def recorded(x: Tensor, other: Tensor | None = None, **options: Any) -> Tensor:
        if x.ndim == 4:
            last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
            plain = {k: tuple(v) if isinstance(v, list) else v for k, v in options.items()}
            found[Call(tuple(x.shape), last, None if other is None else tuple(other.shape), tuple(plain.items()))] += 1
        out: Tensor = real(x, other, **options)
        return out

    monkeypatch.setattr(functional, op, recorded)
    channel_base, channel_max = (128, 16) if quick else (32768, 512)
    side = 16 if quick else 128
    with torch.device(device), torch.no_grad():
        Discriminator(0, side, channel_base=channel_base, channel_max=channel_max)(torch.empty(PAIRS, 7, side, side))
    monkeypatch.undo()
    assert found
    return found


def tensors(pool: Tensor, call: Call) -> tuple[Tensor, Tensor | None]:
    """x, a view of the pool so that all shapes fit into memory one after the other; and the second tensor."""
    n, c, h, w = call.shape
    flat = pool[: math.prod(call.shape)]
    x = flat.view(n, h, w, c).permute(0, 3, 1, 2) if call.last else flat.view(call.shape)
    other = None if call.other is None else torch.rand(call.other).to(pool.dtype)
    return x.detach(), other


def forward_and_backward(
    function: Callable[..., Tensor], x: Tensor, other: Tensor | None, by_other: bool, options: dict[str, Any]
) -> list[Tensor]:
    x.requires_grad_()
    inputs = [x]
    if by_other and other is not None:
        inputs.append(other.requires_grad_())
    out = function(x, other, **options)
    # Any tensor of out's shape and layout serves as the gradient: out itself.
    return [out.detach(), *torch.autograd.grad(out, inputs, out.detach())]


def outputs_of(call: Call) -> tuple[int, ...]:
    """The shape of a convolution's result."""
    assert call.other is not None
    options = dict(call.options)
    size = output_size(call.shape[2:], options["stride"], options["padding"])
    return call.shape[0], call.other[0], *size


@pytest.mark.parametrize(("op", "precision"), [*((op, "float32") for op in OPS), ("conv3x3", "bfloat16")])
def test_discriminator_op(
    benchmark: Any, op: str, precision: str, quick: bool, effort: Effort, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = calls(op, quick, monkeypatch)
    torch.manual_seed(3)
    narrow = precision == "bfloat16"
    dtype = torch.bfloat16 if narrow else torch.float32
    pool = torch.randn(max(math.prod(call.shape) for call in counted)).to(dtype)
    function = getattr(functional, op)
    prepared = [(*tensors(pool, call), dict(call.options), count) for call, count in counted.items()]
    one = partial(forward_and_backward, function, by_other=op != "upfirdn2d")

    def all_calls() -> None:
        for x, other, options, count in prepared:
            for _ in range(count):
                one(x=x, other=other, options=options)

    def check(_: object) -> float:
        """The largest error of all outputs and gradients."""
        worst = 0.0
        for x, other, options, _ in prepared:
            run = partial(one, x=x, other=other, options=options)
            pairs = zip(run(), reference(run)(), strict=True)
            worst = max(worst, *(error_against(expected)(found) for found, expected in pairs))
        return worst

    # The bias gradient sums 10⁶ pixels in another order, which changes its last digit; bfloat16 rounds results.
    forms = [Form("ours", all_calls, check, 1e-2 if narrow else 1e-5), Form("reference", reference(all_calls))]
    times = race(benchmark, forms, effort)
    elements = sum(math.prod(call.shape) * count for call, count in counted.items())
    rate = copy_rate(1 << 24 if quick else 1 << 28)
    # Forward reads x and writes y; backward reads the gradient and y and writes the gradient of x.  The filter's
    # outputs are as large as its inputs, up to a border, or a quarter of them.
    moved = elements * 4 * (5 if op == "bias_act" else 4)
    name = f"{op}, bfloat16" if narrow else op
    work = f"{name}, forward and backward, all {sum(counted.values())} calls of the discriminators, {PAIRS} pairs"
    speed_up = times.ratio("reference", "ours")
    # In bfloat16, stride 2 with VDPBF16PS, and everything with AMX, is PyTorch's convolution.
    target = None if narrow else 2.0 if op == "conv3x3" else 3.0
    rows = [Row(work, "speed-up over plain PyTorch", speed_up, "×", target)]
    if op == "conv3x3":
        # Three products, of 18 operations for each pair of channels at each pixel of the output.
        work_done = sum(
            54 * call.other[1] * math.prod(outputs_of(call)) * n for call, n in counted.items() if call.other
        )
        rows.append(Row(work, "rate, counted as direct convolution", work_done / 1e9 / times.median("ours"), "GFLOP/s"))
    else:
        rows.append(Row(work, "of the rate of a copy", moved / rate / times.median("ours"), "%"))
    report(benchmark, rows)
    benchmark.extra_info["calls"] = [
        {"shape": call.shape, "channels_last": call.last, "options": dict(call.options), "count": count}
        for call, count in counted.items()
    ]
