"""A video of DIGAN at full size: from the latents, from its INR, in parts, at several sizes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from bench.cases import Video, reference
from bench.harness import Effort, Form, Row, error_against, race, report
from bench.work import has_tiles, render_flops
from digan_fast import Generator
from digan_fast.inr import VideoINR

# Relative in norm, against plain PyTorch in float32.
BOUNDS = {"float32": 1e-5, "bfloat16": 2e-2, "int8": 5e-2}
# The published form in bfloat16 also has its times and coordinates in bfloat16.
PUBLISHED_BOUND = 2e-1
# Minimum speed-ups over the published form, over our algebra in plain PyTorch, and over torch.compile of each.
FASTER: dict[str, dict[str, float | None]] = {
    "float32": {
        "published": 4.5,
        "published, compiled": 3.5,
        "plain PyTorch, float32": None,
        "plain PyTorch, float32, compiled": None,
    },
    "bfloat16": {
        "published": 8.5,
        "published, bfloat16": None,
        "plain PyTorch, bfloat16": None,
        "plain PyTorch, bfloat16, compiled": None,
    },
    "int8": {"bfloat16, from ws": 1.3},
}
OF_FLOOR = {"float32": 0.90, "bfloat16": 0.80, "int8": None}
# Instead of those above, with AMX.
FASTER_ON_TILES = {
    "bfloat16": {"published": 25.0, "plain PyTorch, bfloat16": 4.0},
    "int8": {"bfloat16, from ws": 1.4},
}
OF_FLOOR_ON_TILES = {"float32": 0.50, "bfloat16": 0.50}


def whole(case: Video) -> list[Form]:
    """All frames: from ws and z_motion in each precision, from the INR, as published, and in plain PyTorch.

    Plain PyTorch starts from the INR, which saves it the 2 % that ours spends on computing the INR from ws.
    """
    with torch.no_grad():
        expected, inr = reference(case.published)(), case.inr()
    flops = render_flops(inr, len(case.times))
    check = error_against(expected)

    def synthesis(precision: str) -> Tensor:
        if precision == "float32":
            return case.G.synthesis(case.ws, case.column, case.z_motion)
        return case.inr().render(case.times, precision=precision).flatten(0, 1)

    def render(precision: str) -> Tensor:
        return inr.render(case.times, precision=precision).flatten(0, 1)

    forms = []
    for name, run in (("from ws", synthesis), ("from the INR", render)):
        for precision, bound in BOUNDS.items():
            forms.append(Form(f"{precision}, {name}", partial(run, precision), check, bound, flops, precision))
    compiled = torch.compile(case.G.synthesis.published)
    others: dict[str, tuple[Callable[[], Tensor], float]] = {
        "published": (case.published, BOUNDS["float32"]),
        "published, compiled": (partial(compiled, case.ws, case.column, case.z_motion), BOUNDS["float32"]),
        "published, bfloat16": (case.published_in(torch.bfloat16), PUBLISHED_BOUND),
    }
    for precision in ("float32", "bfloat16"):
        plain, bound = case.plain(precision), BOUNDS[precision]
        others[f"plain PyTorch, {precision}"] = plain, bound
        others[f"plain PyTorch, {precision}, compiled"] = torch.compile(plain), bound
    return forms + [Form(name, reference(run), check, bound) for name, (run, bound) in others.items()]


def parts(case: Video) -> list[Form]:
    """All frames; one frame; windows of 1/16 of the area, block-aligned and not; everything before the first pixel."""
    with torch.no_grad():
        inr = case.inr()
        full = reference(lambda: inr.render(case.times))()
    side = case.G.img_resolution
    extent = side // 4

    def window(name: str, top: int, left: int) -> Form:
        expected = full[..., top : top + extent, left : left + extent]
        run = partial(inr.render, case.times, window=(top, left, extent, extent))
        return Form(name, run, error_against(expected), BOUNDS["float32"])

    return [
        Form("INR to frames", lambda: inr.render(case.times), error_against(full), BOUNDS["float32"]),
        Form("ws to frames", lambda: case.inr().render(case.times), error_against(full), BOUNDS["float32"]),
        Form("one frame", lambda: inr.render(case.times[:1]), error_against(full[:, :1]), BOUNDS["float32"]),
        window("window, in the centre", 3 * side // 8, 3 * side // 8),
        window("window, in a corner", 0, 0),
        window("window, unaligned", 37 * side // 128, 51 * side // 128),
        Form("ws to INR", case.inr),
        Form(
            "ws to the first pixel",
            lambda: case.inr().render(case.times[:1], window=(0, 0, 1, 1)),
            error_against(full[:, :1, :, :1, :1]),
            BOUNDS["float32"],
        ),
    ]


@torch.no_grad()
def test_video(benchmark: Any, case: Video, effort: Effort) -> None:
    times = race(benchmark, whole(case), effort)
    frames, side = len(case.times), case.G.img_resolution
    rows = []
    floors = OF_FLOOR | (OF_FLOOR_ON_TILES if has_tiles() else {})
    for precision in BOUNDS:
        least_of = FASTER[precision] | (FASTER_ON_TILES.get(precision, {}) if has_tiles() else {})
        work = f"{frames} frames at {side}², {precision}"
        inr, ws = f"{precision}, from the INR", f"{precision}, from ws"
        roofline = f"of the roofline ({times.unit(precision)}), from the INR"
        rows.append(Row(work, roofline, times.share(inr), "%", floors[precision]))
        rows += [
            Row(work, f"speed-up over {form.removesuffix(', from ws')}, from ws", times.ratio(form, ws), "×", least)
            for form, least in least_of.items()
        ]
        rows.append(Row(work, "frames a second, from ws", frames / times.median(ws), ""))
        rows.append(Row(work, "rate, from the INR", times.forms[0].flops / times.median(inr) / 1e9, "GFLOP/s"))
    report(benchmark, rows)


@torch.no_grad()
def test_parts(benchmark: Any, case: Video, effort: Effort) -> None:
    """With three times as many rounds: they are short, and small ratios inherit the noise of both times."""
    times = race(benchmark, parts(case), replace(effort, rounds=3 * effort.rounds))
    of_16 = f"of the time of {len(case.times)} frames"

    def row(work: str, quantity: str, form: str, whole: str, most: float) -> Row:
        return Row(work, quantity, times.ratio(form, whole), "%", most, at_least=False)

    windows = [form.name for form in times.forms if form.name.startswith("window, ")]
    report(
        benchmark,
        [
            row("one frame, float32", of_16, "one frame", "INR to frames", 1 / 13),
            *(
                row(
                    name.replace("window", "a window of 1/16 of the area"),
                    "of the time of the whole",
                    name,
                    "INR to frames",
                    0.09,
                )
                for name in windows
            ),
            row(
                "from ws to the first pixel (modulation, packing)",
                of_16,
                "ws to the first pixel",
                "ws to frames",
                0.05,
            ),
        ],
    )


@torch.no_grad()
def test_sizes(benchmark: Any, digan: Generator, case: Video, effort: Effort) -> None:
    """The same number of pixels at once, two and four times the size of the same INR."""
    inr: VideoINR = case.inr()
    side, frames = digan.img_resolution, len(case.times)

    def form(scale: int) -> Form:
        count, size = frames // scale**2, side * scale
        run = partial(inr.render, case.times[:count], size=size)
        check = error_against(reference(run)())
        return Form(f"{count} at {size}²", run, check, BOUNDS["float32"], render_flops(inr, count, size))

    forms = [form(scale) for scale in (1, 2, 4)]
    times = race(benchmark, forms, effort)
    quantity = f"of the time a pixel takes at {side}²"
    report(
        benchmark,
        [
            Row(f"{name.split()[-1]} of the same INR", quantity, times.ratio(name, forms[0].name), "%", 1.10, False)
            for name in (forms[1].name, forms[2].name)
        ],
    )
