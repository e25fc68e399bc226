"""``functional.coord_mlp`` against what a user of PyTorch can write: bmm, torch.compile, vmap, a loop."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.coordinate_mlps import Form as Written
from bench.coordinate_mlps import Modulated, Shape, gradients, looped, lowered, mapped, ours, shapes, written
from bench.harness import Effort, Form, Row, error_against, race, report
from bench.work import has_tiles

# Relative in norm, against torch.bmm + sin in float32; written out in bfloat16, the first layer's phases of up to 30
# are rounded too.
BOUND = 1e-4
BFLOAT16_BOUND = 2e-2
ALL_BFLOAT16_BOUND = 2e-1
RIVALS: dict[str, Written] = {"torch.bmm + sin": written, "torch.func.vmap": mapped, "a loop over sets": looped}
INDICES = range(3)


def work(shape: Shape, precision: str, training: bool = False) -> str:
    step = "forward and backward, " if training else ""
    return f"coord_mlp, SIREN {shape}, {step}{precision}"


@pytest.mark.parametrize("index", INDICES)
@torch.no_grad()
def test_siren(benchmark: Any, quick: bool, effort: Effort, index: int) -> None:
    shape = shapes(quick, training=False)[index]
    torch.manual_seed(4)
    points, layers = shape.tensors()
    check = error_against(written(points, layers))
    torch._dynamo.reset()
    low_points, low = points.bfloat16(), lowered(layers)
    compiled, low_compiled = torch.compile(written), torch.compile(written)
    forms = [
        Form("ours", lambda: ours(points, layers), check, BOUND, shape.flops),
        *(Form(name, partial(rival, points, layers), check, BOUND) for name, rival in RIVALS.items()),
        Form("torch.compile", lambda: compiled(points, layers), check, BOUND),
        Form(
            "ours, bfloat16", lambda: ours(points, layers, "bfloat16"), check, BFLOAT16_BOUND, shape.flops, "bfloat16"
        ),
        Form("torch.compile, bfloat16", lambda: low_compiled(low_points, low), check, ALL_BFLOAT16_BOUND),
    ]
    times = race(benchmark, forms, effort)
    single = work(shape, "float32")
    rows = [Row(single, f"speed-up over {name}", times.ratio(name, "ours"), "×") for name in RIVALS]
    rows += [
        Row(single, "speed-up over torch.compile", times.ratio("torch.compile", "ours"), "×", 2.3),
        Row(single, f"of the roofline ({times.unit('float32')})", times.share("ours"), "%"),
        Row(
            work(shape, "bfloat16"),
            "speed-up over torch.compile, bfloat16",
            times.ratio("torch.compile, bfloat16", "ours, bfloat16"),
            "×",
            8.0 if has_tiles() and index == 0 else None,
        ),
        Row(
            work(shape, "bfloat16"),
            f"of the roofline ({times.unit('bfloat16')})",
            times.share("ours, bfloat16"),
            "%",
        ),
    ]
    report(benchmark, rows)


@pytest.mark.parametrize("index", INDICES)
def test_siren_gradients(benchmark: Any, quick: bool, effort: Effort, index: int) -> None:
    shape = shapes(quick, training=True)[index]
    torch.manual_seed(4)
    points, layers = shape.tensors()
    probe = torch.randn(shape.sets, shape.points, 3)
    check = error_against(gradients(written, points, layers, probe))
    torch._dynamo.reset()
    compiled: Written = torch.compile(written)
    flops = 3 * shape.flops  # recomputation is not counted
    forms = [
        Form("ours", lambda: gradients(ours, points, layers, probe), check, BOUND, flops),
        *(
            Form(name, partial(gradients, rival, points, layers, probe), check, BOUND)
            for name, rival in ({"torch.compile": compiled} | RIVALS).items()
        ),
        Form(
            "ours, bfloat16",
            lambda: gradients(partial(ours, precision="bfloat16"), points, layers, probe),
            check,
            10 * BFLOAT16_BOUND,
            flops,
            "bfloat16",
        ),
    ]
    times = race(benchmark, forms, effort)
    single = work(shape, "float32", training=True)
    rows = [Row(single, f"speed-up over {name}", times.ratio(name, "ours"), "×") for name in RIVALS]
    rows += [
        Row(single, "speed-up over torch.compile", times.ratio("torch.compile", "ours"), "×", 2.0),
        Row(single, f"of the roofline ({times.unit('float32')})", times.share("ours"), "%"),
        Row(work(shape, "bfloat16", training=True), "time of float32's", times.ratio("ours, bfloat16", "ours"), "%"),
    ]
    report(benchmark, rows)


@pytest.mark.parametrize("training", [False, True], ids=["forward", "gradients"])
def test_modulated_siren(benchmark: Any, quick: bool, effort: Effort, training: bool) -> None:
    shape = shapes(quick, training)[0]
    torch.manual_seed(4)
    film, probe = Modulated(shape), torch.randn(shape.sets, shape.points, 3)

    def measured(form: Callable[[], Tensor]) -> Callable[[], Tensor]:
        def run() -> Tensor:
            if training:
                return film.gradients(form, probe)
            with torch.no_grad():
                return form()

        return run

    check = error_against(measured(film.written)())
    torch._dynamo.reset()
    flops = shape.flops * (3 if training else 1)
    forms = [
        Form("ours", measured(film.ours), check, BOUND, flops),
        Form("torch.matmul + sin", measured(film.written), check, BOUND),
        Form("torch.compile", measured(torch.compile(film.written)), check, BOUND),
    ]
    times = race(benchmark, forms, effort)
    single = work(shape, "float32", training).replace("weight sets", "samples' modulations")
    report(
        benchmark,
        [
            Row(single, "speed-up over torch.matmul + sin", times.ratio("torch.matmul + sin", "ours"), "×"),
            Row(
                single,
                "speed-up over torch.compile",
                times.ratio("torch.compile", "ours"),
                "×",
                2.0 if training else 2.3,
            ),
        ],
    )
