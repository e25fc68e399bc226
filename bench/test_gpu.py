"""The same video on a CUDA device: published, its torch.compile, and the INR on each available backend."""

from __future__ import annotations

import contextlib
import copy
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.cases import Video, reference
from bench.gpu.device import captured, drawn, synchronised, why_not
from bench.harness import Effort, Form, Row, error_against, race, report
from bench.work import render_flops
from digan_fast import use_backend
from digan_fast.dispatch import BackendUnavailable, kernel_table

BACKENDS = ("cuda", "triton", "reference")
# Relative in norm, against the published form on the device in float32 without TF32.
BOUNDS = {"float32": 1e-4, "bfloat16": 2e-2}


@pytest.mark.skipif(why_not() is not None, reason=why_not() or "")
@torch.no_grad()
def test_video_on_gpu(benchmark: Any, case: Video, effort: Effort) -> None:
    there = {"ws": case.ws.cuda(), "z_motion": case.z_motion.cuda(), "times": case.times.cuda()}
    on_gpu = Video(copy.deepcopy(case.G).cuda(), **there)
    expected, inr = reference(on_gpu.published)(), on_gpu.inr()
    check, flops = error_against(expected), render_flops(inr, len(case.times))

    def render(backend: str, precision: str) -> Tensor:
        with use_backend(backend):
            return inr.render(on_gpu.times, precision=precision).flatten(0, 1)

    compiled = torch.compile(on_gpu.G.synthesis.published)
    column = on_gpu.column
    published = {
        "published": reference(on_gpu.published),
        "published, compiled": reference(lambda: compiled(on_gpu.ws, column, on_gpu.z_motion)),
    }
    forms = [Form(name, synchronised(run), check, BOUNDS["float32"]) for name, run in published.items()]
    for backend in (name for name in BACKENDS if name in kernel_table()["render"] or name == "reference"):
        for precision, bound in BOUNDS.items():
            run = partial(render, backend, precision)
            with contextlib.suppress(BackendUnavailable):
                run()
                forms.append(Form(f"{backend}, {precision}", synchronised(run), check, bound))
                if backend != "reference":
                    forms.append(Form(f"{backend}, {precision}, graph", synchronised(captured(run)), check, bound))
    times = race(benchmark, forms, effort)
    device = torch.cuda.get_device_name()
    draws = {form.name: drawn(form.run) for form in forms}
    benchmark.extra_info.update(device=device, gpu=draws)
    rows = []
    for form in forms[2:]:
        work = f"{len(case.times)} frames on {device}, {form.name}"
        rows.append(Row(work, "speed-up over published", times.ratio("published", form.name), "×"))
        rows.append(Row(work, "rate", flops / times.median(form.name) / 1e9, "GFLOP/s"))
        rows.append(Row(work, "power", draws[form.name]["watts"], "W"))
        rows.append(Row(work, "memory beyond INR", (draws[form.name]["bytes"] or 0) / 1e6, "MB"))
    report(benchmark, rows)
