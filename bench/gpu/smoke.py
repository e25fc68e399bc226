"""Versions, the device, and one small call of each op on each GPU backend, forward and backward, against float64."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from bench.cases import Video, generator, reference, video
from bench.gpu.record import opened
from digan_fast import backends, functional, use_backend
from digan_fast.cli.info import collect
from digan_fast.dispatch import kernel_table

ROOT = Path(__file__).resolve().parents[2]
# Relative in norm: a few rounding errors of each type.
BOUNDS = {"float32": 1e-5, "bfloat16": 3e-2}


def revision() -> str | None:
    """The revision of the sources according to git, or None without git."""
    try:
        done = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True)
    except OSError:
        return None
    return done.stdout.strip() or None


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def ops() -> dict[str, tuple[Callable[..., Tensor], Sequence[Tensor]]]:
    """Each op as a function of its tensors, at small odd shapes."""
    filters = torch.rand(4, 4, dtype=torch.float64)
    return {
        "linear_act": (
            partial(functional.linear_act, activation="lrelu", gain=1.4),
            (normal(2, 133, 70), normal(2, 40, 70) / 8, normal(40)),
        ),
        "coord_linear": (
            lambda base, frequency, phase, weight, bias: functional.coord_linear(
                base, frequency, phase, weight, bias, [16, 0, 0, 16, 16], "lrelu", 1.4
            ),
            (normal(2, 3, 8, 8, 40), normal(2, 17, 2) * 5, normal(2, 3, 17), normal(2, 40, 34) / 6, normal(40)),
        ),
        "fmm_weights": (
            partial(functional.fmm_weights, activation="demod"),
            (normal(40, 70), normal(3, 40, 10), normal(3, 10, 70)),
        ),
        "bias_act": (partial(functional.bias_act, activation="lrelu", gain=1.4), (normal(3, 5, 17, 9), normal(5))),
        "upfirdn2d": (
            lambda x: functional.upfirdn2d(x, filters.to(x), up=2, padding=[2, 1, 2, 1]),
            (normal(2, 5, 17, 9),),
        ),
    }


def error(found: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    pairs = zip(found, expected, strict=True)
    return max(float((ours.double().cpu() - right).norm() / right.norm()) for ours, right in pairs)


def with_gradients(function: Callable[..., Tensor], tensors: Sequence[Tensor]) -> list[Tensor]:
    leaves = [tensor.detach().requires_grad_() for tensor in tensors]
    out = function(*leaves)
    weights = torch.linspace(-1, 1, out.numel(), dtype=torch.float64).reshape(out.shape).to(out)
    return [out.detach(), *torch.autograd.grad(out, leaves, weights)]


def main() -> int:
    record = opened(__doc__)
    with record.case("machine") as found:
        found |= collect() | {"revision": revision()}
        if not record.dry:
            properties = torch.cuda.get_device_properties(0)
            found["device"] = {
                "name": properties.name,
                "memory": properties.total_memory,
                "multiprocessors": properties.multi_processor_count,
                "L2": properties.L2_cache_size,
                "capability": list(torch.cuda.get_device_capability()),
            }
    torch.manual_seed(0)
    tried = ("native",) if record.dry else ("cuda", "triton")
    for name, (function, tensors) in ops().items():
        for backend in (each for each in tried if each in kernel_table()[name]):
            for precision, bound in BOUNDS.items():
                if record.dry and precision != "float32":
                    continue
                with record.case(f"{name}, {backend}, {precision}") as found, use_backend(backend):
                    wide = (1, 2) if name == "coord_linear" else ()
                    dtype = getattr(torch, precision)
                    lower = [
                        tensor.to(record.device, torch.float32 if place in wide else dtype)
                        for place, tensor in enumerate(tensors)
                    ]
                    # From the same rounded inputs, so that both lie on the same side of an activation's kink.
                    expected = with_gradients(function, [tensor.double().cpu() for tensor in lower])
                    found["error"] = error(with_gradients(function, lower), expected)
                    found["bound"] = bound
                    assert found["error"] <= bound, f"off by {found['error']:.2g}, bound {bound:.2g}"
    G = generator(quick=True)
    case = video(G, frames=3)
    exact = reference(case.published)().detach().double()
    G.to(record.device)
    there = Video(G, *(tensor.to(record.device) for tensor in (case.ws, case.z_motion, case.times)))
    for backend in tried:
        for precision, bound in BOUNDS.items():
            with record.case(f"render, {backend}, {precision}") as found, torch.no_grad(), use_backend(backend):
                assert backends()[backend] is None, backends()[backend]
                rendered = there.inr().render(there.times, precision=precision).flatten(0, 1)
                found["error"] = error([rendered], [exact])
                found["bound"] = bound
                assert found["error"] <= bound, f"off by {found['error']:.2g}, bound {bound:.2g}"
    return int(record.failed)


if __name__ == "__main__":
    sys.exit(main())
