"""The generator's part of a training step."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from bench.harness import Effort, Form, Row, error_against, race, report
from bench.training import FRAMES, VIDEOS, Step
from digan_fast import Generator

# Of all gradients together, relative in norm, against plain PyTorch; docs/golden.md has the bound of 2e-3.
BOUND = 2e-3


def test_generator_step(benchmark: Any, digan: Generator, effort: Effort) -> None:
    step = Step.of(digan)
    step.published()
    expected = step.gradients()

    def check(_: object) -> float:
        found: Tensor = step.gradients()
        return error_against(expected)(found)

    forms = [
        Form("ours", step.ours, check, BOUND),
        Form("checkpointed", step.checkpointed, check, BOUND),
        Form("published", step.published, check, BOUND),
    ]
    times = race(benchmark, forms, effort)
    digan.zero_grad(set_to_none=True)
    work = f"generator, forward and backward, {VIDEOS} videos × {FRAMES} frames, float32"
    report(
        benchmark,
        [
            Row(work, "speed-up over published", times.ratio("published", "ours"), "×", 3.0),
            Row(work, "checkpointed, speed-up over published", times.ratio("published", "checkpointed"), "×"),
            Row(work, "steps a second", 1 / times.median("ours"), ""),
        ],
    )
