"""Cost and quality of a frame of the shipped snapshot: form × precision × levels × size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.cases import reference
from bench.harness import Effort, Form, race
from digan_fast import Generator, load
from digan_fast.inr import VideoINR
from digan_fast.metrics.psnr import psnr
from digan_fast.metrics.ssim import ssim
from digan_fast.precision import RENDER_PRECISIONS
from digan_fast.snapshot import shipped

SIZE = 128  # four times the snapshot's training resolution: an INR renders at any size
SIZES = (32, 64, 128)
OURS = "digan_fast"
EXACT = 100  # dB, stands for float32 against itself


class Setting(NamedTuple):
    """A form with its precision, number of levels and picture size."""

    form: str
    precision: str
    levels: int
    size: int


def shown(frames: Tensor) -> Tensor:
    """Frames [N, 3, SIZE, SIZE] in [−1, 1]; smaller pictures are enlarged (bicubic)."""
    if frames.shape[-1] != SIZE:
        frames = F.interpolate(frames, (SIZE, SIZE), mode="bicubic", align_corners=False)
    return frames.clamp(-1, 1)


def picture(inr: VideoINR, times: Tensor, size: int, levels: int, precision: str) -> Tensor:
    return shown(inr.render(times, size=size, levels=levels, precision=precision).flatten(0, 1))


def as_published(synthesis: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    return shown(synthesis(*inputs))


def settings(G: Generator, times: Tensor, videos: int, sizes: Sequence[int]) -> dict[Setting, Callable[[], Tensor]]:
    """Functions that render frames [N, 3, SIZE, SIZE]: ours first, and all levels in float32 first among them.

    The published form has only one size, all levels, and float32.
    """
    ws = G.mapping(torch.randn(videos, G.z_dim), None)
    z_motion = torch.randn(videos, G.w_dim)
    inr = G.synthesis.inr(ws, z_motion)
    most = len(inr.levels)
    found: dict[Setting, Callable[[], Tensor]] = {}
    for form, precisions in ((OURS, RENDER_PRECISIONS), ("plain PyTorch", ("float32", "bfloat16"))):
        for precision in precisions:
            for levels in range(most, 0, -1):
                for size in sizes:
                    run = partial(picture, inr, times, size, levels, precision)
                    found[Setting(form, precision, levels, size)] = run if form == OURS else reference(run)
    column = times.repeat(videos).view(-1, 1, 1, 1)
    for form, synthesis in (
        ("published", G.synthesis.published),
        ("published, compiled", torch.compile(G.synthesis.published)),
    ):
        run = partial(as_published, synthesis, ws, column, z_motion)
        found[Setting(form, "float32", most, G.img_resolution)] = reference(run)
    return found


@torch.no_grad()
def test_cost_against_quality(benchmark: Any, quick: bool, effort: Effort) -> None:
    G = load(shipped()).G_ema
    assert G is not None
    torch.manual_seed(0)
    times = torch.linspace(0, 1, 2 if quick else 8)
    chosen = settings(G, times, 1 if quick else 4, SIZES[-1:] if quick else SIZES)
    best = next(setting for setting in chosen if setting.size == SIZE)
    most, expected = best.levels, chosen[best]()
    forms: list[Form] = []
    points: list[dict[str, Any]] = []
    for setting, run in chosen.items():
        found = run()
        decibels = psnr(found, expected)
        points.append(
            {
                **setting._asdict(),
                "psnr": decibels if decibels < EXACT else None,
                "ssim": ssim(found, expected),
            }
        )
        name = f"{setting.form}, {setting.precision}, {setting.levels} of {most} levels, {setting.size}²"
        forms.append(Form(name, run))
    # All levels in a lower precision must show the same picture: 40 dB is an RMS error of 1/100 of the range.
    assert all(p["psnr"] is None or p["psnr"] > 40 for p in points if p["levels"] == most and p["size"] == SIZE)
    race(benchmark, forms, effort)
    seconds = benchmark.extra_info["forms"]
    for point, form in zip(points, forms, strict=True):
        point["seconds"] = seconds[form.name]["median"] / len(expected)
    benchmark.extra_info["quality"] = points
