"""A training step: the generator's part, and the whole."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor

from bench.harness import Effort, Form, Measure, Row, error_against, race, report
from bench.training import FRAMES, PHASES, VIDEOS, Step, WholeStep, networks
from bench.work import has_tiles
from digan_fast import Generator
from digan_fast.precision import PRECISIONS

# Of all gradients together, relative in norm, against plain PyTorch; docs/results/golden.md has the bound of 2e-3.
BOUND = 2e-3
# Of the discriminators' phases, which the check computes without kinks: 1.5e-6 at 128², 2.1e-5 of --quick's networks.
SMOOTH_BOUND = 5e-5
# The same in bfloat16: 0.086 for DIGAN at 128² with random weights, and for plain PyTorch in bfloat16 as well.
LOW_BOUND = 0.15
PAIRS = 2


def test_generator_step(benchmark: Any, digan: Generator, effort: Effort) -> None:
    step = Step.of(digan)
    step.published()
    expected = step.gradients()

    def check(_: object) -> float:
        found: Tensor = step.gradients()
        return error_against(expected)(found)

    forms = [
        Form("ours", step.ours, check, BOUND),
        Form("bfloat16", step.lower, check, LOW_BOUND),
        Form("checkpointed", step.checkpointed, check, BOUND),
        Form("published", step.published, check, BOUND),
    ]
    times = race(benchmark, forms, effort)
    digan.zero_grad(set_to_none=True)
    work, low = (f"generator, forward and backward, {VIDEOS} videos × {FRAMES} frames, {p}" for p in PRECISIONS)
    report(
        benchmark,
        [
            Row(work, "speed-up over published", times.ratio("published", "ours"), "×", 3.0),
            Row(work, "checkpointed, speed-up over published", times.ratio("published", "checkpointed"), "×"),
            Row(work, "steps a second", 1 / times.median("ours"), ""),
            Row(low, "speed-up over published", times.ratio("published", "bfloat16"), "×"),
            Row(low, "speed-up over float32", times.ratio("ours", "bfloat16"), "×", 3.0 if has_tiles() else 1.6),
        ],
    )


def test_whole_step(benchmark: Any, quick: bool, effort: Effort) -> None:
    """Generator, discriminator, and R1 in every sixteenth step."""
    G, D, real = networks(quick, "cpu", PAIRS)
    ours, published = WholeStep(None, G, D, real, "float32"), WholeStep("published", G, D, real, "float32")
    forms = []
    for phase in PHASES:
        expected = published.gradients(phase)
        for name, step in (("ours", ours), ("published", published)):

            def check(_: object, step: WholeStep = step, phase: str = phase, expected: Tensor = expected) -> float:
                return error_against(expected)(step.gradients(phase))

            bound = SMOOTH_BOUND if phase.startswith("D") else BOUND
            forms.append(Form(f"{name}: {phase}", partial(step.phase, phase), check, bound))
        forms.append(Form(f"bfloat16: {phase}", partial(ours.lower, phase)))
    times = race(benchmark, forms, effort)

    def total(name: str, *phases: str) -> list[float]:
        return times.total({f"{name}: {phase}": PHASES[phase] for phase in phases})

    def ratio(some: list[float], others: list[float]) -> Measure:
        return Measure.of(a / b for a, b in zip(some, others, strict=True))

    work, quantity = f"whole training step, {PAIRS} pairs, float32", "speed-up over published"
    whole = total("ours", *PHASES)
    rows = [Row(work, quantity, ratio(total("published", *PHASES), whole), "×", 2.0)]
    low = ratio(total("published", *PHASES), total("bfloat16", *PHASES))
    rows.append(Row(work.replace("float32", "bfloat16"), quantity, low, "×", 3.0))
    for phase in PHASES:
        rows.append(Row(work, f"{phase}, {quantity}", times.ratio(f"published: {phase}", f"ours: {phase}"), "×"))
    rows.append(Row(work, "the discriminator's phases, of the step", ratio(total("ours", "Dmain", "Dreg"), whole), "%"))
    report(benchmark, rows)
