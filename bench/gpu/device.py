"""Timing on a CUDA device with CUDA events; power (nvidia-ml-py) and peak memory."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from statistics import median
from typing import Any

import torch

SAMPLE_SECONDS = 0.02


def why_not() -> str | None:
    """Why no GPU can be measured here, or None."""
    return None if torch.cuda.is_available() else "torch sees no CUDA device"


def elapsed(call: Callable[[], Any], repeats: int) -> float:
    """Milliseconds per call, over ``repeats`` back-to-back calls without synchronisation in between."""
    if not torch.cuda.is_available():
        begin = time.perf_counter()
        for _ in range(repeats):
            call()
        return 1e3 * (time.perf_counter() - begin) / repeats
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    for _ in range(repeats):
        call()
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end)) / repeats


def interleaved(calls: Mapping[str, Callable[[], Any]], rounds: int = 7, turn: float = 20.0) -> dict[str, list[float]]:
    """Milliseconds of each call in each round, in interleaved runs of about ``turn`` ms, after two warm-up calls."""
    repeats = {}
    for name, call in calls.items():
        call()
        repeats[name] = max(1, min(1000, math.ceil(turn / max(1e-3, elapsed(call, 1)))))
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            times[name].append(elapsed(call, repeats[name]))
    return times


def milliseconds(call: Callable[[], Any], rounds: int = 7) -> float:
    """The median of the rounds, in milliseconds."""
    return median(interleaved({"": call}, rounds)[""])


def synchronised(run: Callable[[], Any]) -> Callable[[], Any]:
    """The work, followed by a device synchronisation."""

    def whole() -> Any:
        result = run()
        torch.cuda.synchronize()
        return result

    return whole


def captured(run: Callable[[], torch.Tensor]) -> Callable[[], torch.Tensor]:
    """The work as a CUDA graph, captured at the first call; all replays write to the same tensor."""
    graphs: list[tuple[torch.cuda.CUDAGraph, torch.Tensor]] = []

    def whole() -> torch.Tensor:
        if not graphs:
            run()
            torch.cuda.synchronize()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                result = run()
            graphs.append((graph, result))
        graph, result = graphs[0]
        graph.replay()
        return result

    return whole


@contextlib.contextmanager
def multiplying(precision: str) -> Iterator[None]:
    """Within the block, torch and cuDNN multiply float32 as tf32 if ``precision`` is tf32, else in full float32."""
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    torch.backends.cudnn.allow_tf32 = precision == "tf32"
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]


def peak_bytes(run: Callable[[], Any]) -> float:
    """Peak of torch's memory, in bytes, above what was allocated before."""
    torch.cuda.empty_cache()
    held = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    synchronised(run)()
    return float(torch.cuda.max_memory_allocated() - held)


def drawn(run: Callable[[], Any], seconds: float = 1.0) -> dict[str, float | None]:
    """Mean watts over ``seconds`` of repeated work, and peak of torch's memory, in bytes, as in :func:`peak_bytes`.

    Watts are None without nvidia-ml-py.
    """
    peak = peak_bytes(run)
    try:
        import pynvml
    except ModuleNotFoundError:
        return {"watts": None, "bytes": peak}
    pynvml.nvmlInit()
    handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(0).uuid}")
    watts: list[float] = []
    done = threading.Event()

    def sample() -> None:
        while not done.wait(SAMPLE_SECONDS):
            watts.append(pynvml.nvmlDeviceGetPowerUsage(handle) / 1000)

    sampler = threading.Thread(target=sample)
    sampler.start()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        synchronised(run)()
    done.set()
    sampler.join()
    pynvml.nvmlShutdown()
    return {"watts": sum(watts) / len(watts) if watts else None, "bytes": peak}
