"""One workload for a profiler or a sanitizer: ``python -m bench.gpu.once small|video|step BACKEND [PRECISION]``.

Video and step run twice; only the second run lies between cudaProfilerStart and cudaProfilerStop.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import torch

from bench.cases import generator
from bench.gpu.smoke import ops, with_gradients
from bench.gpu.training import PAIRS, Step
from bench.gpu.video import Case
from bench.training import networks
from digan_fast import use_backend


def small(backend: str, precision: str) -> None:
    """Each op once at a small odd shape, forward and backward, and a small rendering."""
    dtype = getattr(torch, precision)
    for name, (function, tensors) in ops().items():
        wide = (1, 2) if name == "coord_linear" else ()
        lower = [each.to("cuda", torch.float32 if i in wide else dtype) for i, each in enumerate(tensors)]
        with use_backend(backend):
            with_gradients(function, lower)
    with torch.no_grad():
        Case.of(generator(quick=True).cuda(), 1, 32, "cuda").render(backend, precision)()


def video(backend: str, precision: str) -> Callable[[], Any]:
    with torch.no_grad():
        render = Case.of(generator(quick=False).cuda(), 4, 128, "cuda").render(backend, precision)

    def run() -> None:
        with torch.no_grad():
            render()

    return run


def step(backend: str, precision: str) -> Callable[[], Any]:
    G, D, real = networks(False, "cuda", PAIRS)
    return lambda: Step(backend, G, D, real, precision).phase("Gmain")


def main() -> None:
    work, backend, precision = (*sys.argv[1:], "float32")[:3]
    if work == "small":
        small(backend, precision)
        torch.cuda.synchronize()
        return
    run = {"video": video, "step": step}[work](backend, precision)
    run()
    torch.cuda.synchronize()
    torch.cuda.cudart().cudaProfilerStart()
    run()
    torch.cuda.synchronize()
    torch.cuda.cudart().cudaProfilerStop()


if __name__ == "__main__":
    main()
