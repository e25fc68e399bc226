"""What a frame of the shipped snapshot costs and how good it is: precision × levels × size."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.harness import Effort, Form, race
from bench.pictures import psnr, ssim
from digan_fast import load
from digan_fast.inr import VideoINR
from digan_fast.precision import RENDER_PRECISIONS
from digan_fast.snapshot import shipped

SIZE = 128  # four times what the snapshot was trained at: its INR has no size of its own
SIZES = (32, 64, 128)


def picture(inr: VideoINR, times: Tensor, size: int, levels: int, precision: str) -> Tensor:
    """Frames [N, 3, SIZE, SIZE] in [−1, 1]; a smaller picture is enlarged (bicubic)."""
    frames = inr.render(times, size=size, levels=levels, precision=precision).flatten(0, 1)
    if size != SIZE:
        frames = F.interpolate(frames, (SIZE, SIZE), mode="bicubic", align_corners=False)
    return frames.clamp(-1, 1)


@torch.no_grad()
def test_cost_against_quality(benchmark: Any, quick: bool, effort: Effort) -> None:
    G = load(shipped()).G_ema
    assert G is not None
    torch.manual_seed(0)
    inr = G.inr(torch.randn(1 if quick else 4, G.z_dim))
    times = torch.linspace(0, 1, 2 if quick else 8)
    most = len(inr.levels)
    expected = picture(inr, times, SIZE, most, "float32")
    settings = [
        (precision, levels, size)
        for precision in RENDER_PRECISIONS
        for levels in range(most, 0, -1)
        for size in (SIZES[-1:] if quick else SIZES)
    ]
    forms: list[Form] = []
    points: list[dict[str, Any]] = []
    for precision, levels, size in settings:
        run = partial(picture, inr, times, size, levels, precision)
        found = run()
        decibels = psnr(found, expected)
        points.append(
            {
                "form": f"{precision}, {levels} of {most} levels, {size}²",
                "precision": precision,
                "levels": levels,
                "size": size,
                "psnr": decibels if math.isfinite(decibels) else None,
                "ssim": ssim(found, expected),
            }
        )
        forms.append(Form(points[-1]["form"], run))
    frames = len(expected)
    # All levels in a lower precision are the same picture still: 40 dB is a mean difference of 1/50 of the range.
    assert all(p["psnr"] is None or p["psnr"] > 40 for p in points if p["levels"] == most and p["size"] == SIZE)
    race(benchmark, forms, effort)
    seconds = benchmark.extra_info["forms"]
    for point in points:
        point["seconds"] = seconds[point["form"]]["median"] / frames
    benchmark.extra_info["quality"] = points
