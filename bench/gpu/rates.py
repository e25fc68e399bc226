"""The device's ceilings: copies, matrix products in each type, and the cost of a launch."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any

import torch

from bench.gpu.device import milliseconds, multiplying
from bench.gpu.record import Record, opened
from digan_fast import functional, use_backend

# The element type of each product's operands.
PRODUCTS = {
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "tf32": torch.float32,
    "float32": torch.float32,
}
SIDE, COPIED = 8192, 1 << 32


def product_rate(precision: str, device: str, side: int = SIDE) -> float:
    """FLOP per second of torch's product of two square random matrices."""
    with multiplying(precision):
        a, b = (torch.randn(side, side, device=device, dtype=PRODUCTS[precision]) for _ in range(2))
        return 2e3 * side**3 / milliseconds(lambda: a @ b, 5)


def copy_rate(device: str, size: int = COPIED) -> float:
    """Bytes per second, read and written, of torch's copy within the device."""
    source = torch.randint(-100, 100, (size,), dtype=torch.int8, device=device)
    target = torch.empty_like(source)
    return 2e3 * size / milliseconds(lambda: target.copy_(source), 5)


def measured(record: Record, precisions: Iterable[str]) -> dict[str, float]:
    """The rates of products in these precisions and of a copy, by name; also recorded as a case."""
    found: dict[str, float] = {}
    with record.case("rates") as entry:
        found |= {name: product_rate(name, record.device, 64 if record.dry else SIDE) for name in precisions}
        found["copy"] = copy_rate(record.device, 1 << 20 if record.dry else COPIED)
        entry |= found
    return found


def launches(record: Record, name: str, call: Callable[[], Any]) -> None:
    """Microseconds of a small call, launched repeatedly by the host and replayed in a CUDA graph."""
    with record.case(f"launch, {name}") as found:
        found["us"] = 1e3 * milliseconds(call)
        if record.dry:
            return
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            for _ in range(100):
                call()
        found["us in a graph"] = 10 * milliseconds(graph.replay)


def main() -> int:
    record = opened(__doc__)
    measured(record, PRODUCTS)
    small = torch.randn(1, 64, 64, device=record.device)
    launches(record, "torch, add", lambda: small.add_(0.0))
    for backend in ("native",) if record.dry else ("cuda", "triton"):
        with use_backend(backend), torch.no_grad():
            launches(record, f"{backend}, linear_act", lambda: functional.linear_act(small, small, activation="lrelu"))
    return int(record.failed)


if __name__ == "__main__":
    sys.exit(main())
