"""Operation counts, and this machine's peak rates."""

from __future__ import annotations

import time

import torch

from digan_fast import dispatch
from digan_fast.inr import VideoINR

# The instructions that can compute products in a precision; the fastest that the CPU has sets the roofline. A float32
# product as terms is six of bfloat16.
UNITS = {
    "float32": ("tdpbf16ps / 6", "fma"),
    "bfloat16": ("tdpbf16ps", "vdpbf16ps", "fma"),
    "int8": ("tdpbsud", "vpdpbusd", "fma"),
}
PEAK_SECONDS = 0.05


def render_flops(inr: VideoINR, frames: int, size: int | None = None) -> float:
    """Floating-point operations of the layers' products in ``frames`` frames of side ``size``, for all videos.

    Counted after the algebraic simplifications: a level's first layer multiplies the coarser level's activations on the
    grid of half the side.  A multiply-add counts as two.  Sines, activations and the to-RGB products (0.3 % at DIGAN's
    full size) are left out, so the fraction of the roofline is never overstated.
    """
    scale = 1 if size is None else size / inr.img_resolution
    products, below = 0.0, 0
    for level in inr.levels:
        pixels = (level.side * scale) ** 2
        for index, layer in enumerate(level.layers):
            outputs, inputs = layer.weight.shape[1:]
            if index == 0 and level.coordinates is not None:
                products += outputs * below * pixels / 4
                inputs -= below
            products += outputs * inputs * pixels
        below = level.layers[-1].weight.shape[1]
    return 2.0 * products * frames * len(inr)


def has_tiles() -> bool:
    """Whether the native ops multiply bfloat16 and int8 on AMX's tiles."""
    try:
        return str(dispatch.native_module().isa()) == "amx"
    except ImportError:
        return False


def peak_rate(unit: str, threads: int) -> float | None:
    """Operations per second of one of ``UNITS``, or None if the native module or this CPU lacks it."""
    instruction, _, each = unit.partition(" / ")
    try:
        return float(dispatch.native_module().peak_rate(instruction, threads, PEAK_SECONDS)) / int(each or 1)
    except (ImportError, ValueError):
        return None


def copy_rate(size: int = 1 << 28) -> float:
    """Bytes per second, read and written, as torch copies ``size`` bytes, far more than the caches hold."""
    source, target = torch.ones(size // 4), torch.zeros(size // 4)
    seconds = []
    for _ in range(3):
        begin = time.perf_counter()
        target.copy_(source)
        seconds.append(time.perf_counter() - begin)
    return 2 * size / min(seconds)
