"""Every op at DIGAN's shapes, forward and backward: each backend and plain PyTorch, interleaved, and the roofline.

A call's roofline is the larger of two times: its products at the rate of torch's large matrix product in that type, and
its tensors, each moved once, at the rate of a copy.  The backward is timed on its own, with the graph retained.
"""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor

from bench.coordinate_mlps import Layers, Shape, ours, written
from bench.gpu.device import captured, interleaved, multiplying
from bench.gpu.rates import measured
from bench.gpu.record import Record, opened
from bench.test_ops import calls
from digan_fast import dispatch, functional, use_backend

PRECISIONS = ("float32", "tf32", "bfloat16")
# Relative in norm, of outputs and gradients, against plain PyTorch in float32 on the same inputs.  Pre-activations near
# lrelu's kink may change sign: in float32 this costs 4.2e-4 of a gradient of coord_linear, the largest error observed.
BOUNDS = {"float32": 1e-3, "tf32": 3e-2, "bfloat16": 5e-2}


@dataclass(frozen=True)
class Op:
    """A call as a function of its tensors; FLOP of its products, forward; the tensors ``wide`` stay float32.

    ``triton``: of a coordinate MLP, whether Triton's kernels fit in both directions and are timed by name too.
    """

    run: Callable[..., Tensor]
    tensors: Callable[[], Sequence[Tensor]]
    flops: float = 0.0
    wide: tuple[int, ...] = ()
    precisions: tuple[str, ...] = PRECISIONS
    triton: bool = False


def layer(rows: int, outputs: int, inputs: int) -> Op:
    def tensors() -> Sequence[Tensor]:
        weight = torch.randn(1, outputs, inputs) / math.sqrt(inputs)
        return torch.randn(1, rows, inputs), weight, torch.randn(outputs)

    return Op(partial(functional.linear_act, activation="lrelu"), tensors, 2.0 * rows * outputs * inputs)


def coordinates(frames: int, side: int, sinusoids: int, outputs: int) -> Op:
    def run(base: Tensor, frequency: Tensor, phase: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return functional.coord_linear(base, frequency, phase, weight, bias, [side, 0, 0, side, side], "lrelu")

    def tensors() -> Sequence[Tensor]:
        base = torch.randn(1, frames, side // 2, side // 2, outputs)
        waves = torch.randn(1, sinusoids, 2) * 5, torch.randn(1, frames, sinusoids) * 3
        return base, *waves, torch.randn(1, outputs, 2 * sinusoids) / math.sqrt(sinusoids), torch.randn(outputs)

    return Op(run, tensors, 2.0 * frames * side**2 * outputs * 2 * sinusoids, (1, 2))


def factors(videos: int, outputs: int, inputs: int, rank: int) -> Op:
    def tensors() -> Sequence[Tensor]:
        thin = torch.randn(videos, outputs, rank), torch.randn(videos, rank, inputs)
        return torch.randn(outputs, inputs), *thin

    return Op(functional.fmm_weights, tensors, 2.0 * videos * outputs * inputs * rank, precisions=("float32",))


def of_discriminators(name: str, dry: bool) -> Op:
    """The discriminators' largest call."""
    with pytest.MonkeyPatch.context() as patch:
        largest = max(calls(name, dry, patch, "cpu" if dry else "cuda"), key=lambda call: math.prod(call.shape))

    def tensors() -> Sequence[Tensor]:
        x = torch.randn(largest.shape)
        x = x.contiguous(memory_format=torch.channels_last) if largest.last else x
        return (x,) if largest.other is None else (x, torch.rand(largest.other))

    function, options = getattr(functional, name), dict(largest.options)
    if name == "bias_act":
        return Op(partial(function, **options), tensors, precisions=("float32", "bfloat16"))
    taps = tensors()[1].to("cpu" if dry else "cuda")

    def filtered(x: Tensor) -> Tensor:
        return function(x, taps, **options)

    return Op(filtered, lambda: tensors()[:1], precisions=("float32", "bfloat16"))


def coord_mlp(shape: Shape, precision: str = "float32", triton: bool = False) -> Op:
    """A SIREN; lower precisions are the op's own, of float32 tensors."""

    def tensors() -> Sequence[Tensor]:
        points, layers = shape.tensors()
        return [points, *(each for pair in layers for each in pair)]

    def run(points: Tensor, *flat: Tensor) -> Tensor:
        layers: Layers = list(zip(flat[::2], flat[1::2], strict=True))
        return ours(points, layers, precision)

    if precision == "float32":
        return Op(run, tensors, shape.flops, precisions=("float32",), triton=triton)
    wide = tuple(range(1 + 2 * (shape.hidden + 1)))
    return Op(run, tensors, shape.flops, wide, (precision,), triton)


def ops(dry: bool) -> dict[str, Op]:
    if dry:
        return {
            "linear_act": layer(64, 8, 8),
            "coord_linear": coordinates(2, 8, 4, 8),
            "fmm_weights": factors(2, 8, 8, 2),
            "bias_act": of_discriminators("bias_act", dry),
            "upfirdn2d": of_discriminators("upfirdn2d", dry),
            "coord_mlp": coord_mlp(Shape(2, 64, 2, 8, 3)),
            "coord_mlp of float32 tensors": coord_mlp(Shape(2, 64, 2, 8, 3), "bfloat16"),
        }
    wide, deep, narrow = Shape(64, 16_384, 2, 256, 3), Shape(1, 1 << 20, 3, 512, 5), Shape(4096, 1024, 4, 64, 2)
    return {
        "linear_act 256 → 256, 16 frames of 128²": layer(16 * 128**2, 256, 256),
        "linear_act 512 → 512, 16 frames of 64²": layer(16 * 64**2, 512, 512),
        "coord_linear 128 sinusoids → 256, 16 frames of 128²": coordinates(16, 128, 128, 256),
        "fmm_weights 4 × 512 × 768, rank 10": factors(4, 512, 768, 10),
        "bias_act, the discriminators' largest": of_discriminators("bias_act", dry),
        "upfirdn2d, the discriminators' largest": of_discriminators("upfirdn2d", dry),
        # In float32 a kernel of its own holds 128 channels, with operands in bfloat16 256.
        "coord_mlp, SIREN 3 × 128, 64 sets × 16,384 points": coord_mlp(Shape(64, 16_384, 2, 128, 3)),
        "coord_mlp, SIREN 3 × 256, 64 sets × 16,384 points": coord_mlp(wide),
        "coord_mlp of float32 tensors, SIREN 3 × 256, 64 sets × 16,384 points": coord_mlp(wide, "bfloat16"),
        "coord_mlp, SIREN 5 × 512, one set × 1,048,576 points": coord_mlp(deep),
        "coord_mlp of float32 tensors, SIREN 5 × 512, one set × 1,048,576 points": coord_mlp(deep, "bfloat16"),
        # The kernels that hold gradients' sums in registers.
        "coord_mlp, SIREN 2 × 64, 4,096 sets × 1,024 points": coord_mlp(narrow, triton=True),
        "coord_mlp of float32 tensors, SIREN 2 × 64, 4,096 sets × 1,024 points": coord_mlp(narrow, "bfloat16", True),
    }


def on(backend: str) -> contextlib.AbstractContextManager[None]:
    return contextlib.nullcontext() if backend == "default" else use_backend(backend)


def gradients(out: Tensor, leaves: Sequence[Tensor], grad: Tensor) -> list[Tensor]:
    wanted = [leaf for leaf in leaves if leaf.requires_grad]
    return list(torch.autograd.grad(out, wanted, grad, retain_graph=True))


def steps_of(record: Record, op: Op, tensors: Sequence[Tensor], grad: Tensor) -> dict[str, Callable[[], Any]]:
    """A forward and its backward: of ``coord_mlp``, of its layers one by one, and of the formula compiled."""
    own = [tensor.detach().requires_grad_() for tensor in tensors]

    def step(run: Callable[..., Tensor], backend: str = "default", fused: bool = True) -> list[Tensor]:
        layerwise = contextlib.nullcontext() if fused else mock.patch.object(dispatch, "runs", return_value=False)
        with torch.enable_grad(), on(backend), layerwise:
            out = run(*own)
            return list(torch.autograd.grad(out, own, grad.to(out.dtype)))

    steps: dict[str, Callable[[], Any]] = {
        "reference": partial(step, op.run, "reference"),
        "default": partial(step, op.run),
    }
    if op.triton:
        steps["triton"] = partial(step, op.run, "triton")
    if not record.dry:
        compiled = torch.compile(written)

        def formula(points: Tensor, *flat: Tensor) -> Tensor:
            return compiled(points, list(zip(flat[::2], flat[1::2], strict=True)))

        steps["layer by layer"] = partial(step, op.run, fused=False)
        steps["torch.compile of torch.bmm + sin"] = partial(step, formula)
    return steps


def measure(record: Record, name: str, op: Op, precision: str, rates: dict[str, float]) -> None:
    torch.manual_seed(0)
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    tensors = [
        each.to(record.device, torch.float32 if place in op.wide else dtype) for place, each in enumerate(op.tensors())
    ]
    of_mlps = ("default", "triton") if op.triton else ("default",)
    backends = ("native",) if record.dry else of_mlps if name.startswith("coord_mlp") else ("cuda", "triton")
    forward: dict[str, Callable[[], Any]] = {}
    backward: dict[str, Callable[[], Any]] = {}
    with use_backend("reference"), multiplying("float32"):
        leaves = [tensor.detach().float().requires_grad_() for tensor in tensors]
        out = op.run(*leaves)
        grad = torch.randn_like(out)
        expected = [out.detach(), *gradients(out, leaves, grad)]
        del out, leaves
    moved = sum(each.nbytes for each in tensors) + expected[0].numel() * dtype.itemsize
    for backend in ("reference", *backends):
        with record.case(f"{name}, {precision}: {backend}") as found:

            def run(backend: str = backend) -> Tensor:
                with on(backend), torch.no_grad():
                    return op.run(*tensors)

            own = [tensor.detach().requires_grad_() for tensor in tensors]
            with on(backend), multiplying(precision):
                out = op.run(*own)
                graded = [out.detach(), *gradients(out, own, grad.to(out.dtype))]
            off = [float((a.float() - b).norm() / b.norm()) for a, b in zip(graded, expected, strict=True)]
            found["errors"] = off
            assert max(off) <= BOUNDS[precision], f"off by {max(off):.2g}"
            forward[backend] = run

            def back(backend: str = backend, out: Tensor = out, own: Sequence[Tensor] = own) -> list[Tensor]:
                with on(backend):
                    return gradients(out, own, grad.to(out.dtype))

            backward[backend] = back
    training: dict[str, Callable[[], Any]] = {}
    if name.startswith("coord_mlp"):
        layers: Layers = list(zip(tensors[1::2], tensors[2::2], strict=True))
        compiled = torch.compile(written)
        points = tensors[0]
        forward["torch.bmm + sin"] = lambda: written(points, layers)
        forward["torch.compile of it"] = lambda: compiled(points, layers)
        training = steps_of(record, op, tensors, grad)
    rate = rates[precision] if op.flops else 1.0
    floors = {
        "forward": 1e3 * max(op.flops / rate, moved / rates["copy"]),
        # The backward of a product is two products; everything read has a gradient to write.
        "backward": 1e3 * max(2 * op.flops / rate, 2 * moved / rates["copy"]),
    }
    floors["forward and backward"] = floors["forward"] + floors["backward"]
    directions = {"forward": forward, "backward": backward, "forward and backward": training}
    for direction, runs in directions.items():
        if not runs:
            continue
        with record.case(f"{name}, {precision}: {direction}") as found, multiplying(precision), torch.no_grad():
            times = interleaved(runs, 3 if record.dry else 7, 1.0 if record.dry else 10.0)
            found["floor ms"] = floors[direction]
            found["ms"] = {form: median(rounds) for form, rounds in times.items()}
            found["of the roofline"] = {form: floors[direction] / ms for form, ms in found["ms"].items()}
            first = times["reference"]
            found["speed-up over plain PyTorch"] = {
                form: median(a / b for a, b in zip(first, rounds, strict=True)) for form, rounds in times.items()
            }
            if not record.dry and direction == "forward":
                graphs = {form: captured(runs[form]) for form in backends if form in runs}
                found["ms as a graph"] = {form: median(each) for form, each in interleaved(graphs, 5, 5.0).items()}


def main() -> int:
    record = opened(__doc__)
    rates = measured(record, PRECISIONS)
    for name, op in ops(record.dry).items():
        for precision in op.precisions[: 1 if record.dry else None]:
            with record.case(f"{name}, {precision}"):
                measure(record, name, op, precision, rates)
    return int(record.failed)


if __name__ == "__main__":
    sys.exit(main())
