"""What a CUDA device draws and holds while it works, by nvidia-ml-py."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import torch

SAMPLE_SECONDS = 0.02


def why_not() -> str | None:
    """Why nothing can be measured on a GPU here, or None."""
    return None if torch.cuda.is_available() else "torch sees no CUDA device"


def synchronised(run: Callable[[], Any]) -> Callable[[], Any]:
    """The work and the wait for it."""

    def whole() -> Any:
        result = run()
        torch.cuda.synchronize()
        return result

    return whole


def captured(run: Callable[[], torch.Tensor]) -> Callable[[], torch.Tensor]:
    """The work as a CUDA graph, captured at the first call, and the wait for it."""
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
        torch.cuda.synchronize()
        return result

    return whole


def drawn(run: Callable[[], Any], seconds: float = 1.0) -> dict[str, float | None]:
    """Mean watts over ``seconds`` of repeated work, and the peak of torch's memory beyond what was held, in bytes.

    Watts are None without nvidia-ml-py.
    """
    held = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    synchronised(run)()
    peak = torch.cuda.max_memory_allocated() - held
    try:
        import pynvml
    except ModuleNotFoundError:
        return {"watts": None, "bytes": float(peak)}
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
    return {"watts": sum(watts) / len(watts) if watts else None, "bytes": float(peak)}
