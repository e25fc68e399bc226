"""Growth of the resident memory, each case in its own process, measured as :mod:`bench.memory` describes."""

from __future__ import annotations

from typing import Any

import pytest

from bench import memory
from bench.coordinate_mlps import shapes
from bench.harness import Row, report

MB = 1e6

pytestmark = pytest.mark.skipif(memory.why_not() is not None, reason=memory.why_not() or "")


def found(benchmark: Any, names: tuple[str, ...], quick: bool) -> dict[str, dict[str, Any]]:
    """Runs each case once and checks its error."""
    results: dict[str, dict[str, Any]] = {}

    def run() -> None:
        for name in names:
            results[name] = memory.in_child(name, quick)

    benchmark.pedantic(run, rounds=1)
    benchmark.extra_info["memory"] = results
    for name, result in results.items():
        assert result["error"] <= result["bound"], f"{name}: its error is {result['error']:.2e}"
    return results


def beyond(result: dict[str, Any]) -> float:
    return float(result["beyond"]) / MB


def test_rendering(benchmark: Any, quick: bool) -> None:
    results = found(benchmark, ("frames", "frames, published", "stream", "large"), quick)
    quantity = "resident memory beyond INR and frames"
    stream = results["stream"]
    frames = memory.STREAMED_QUICK if quick else memory.STREAMED
    work = f"{frames:,} streamed frames"
    side, large = memory.side(quick), memory.side(quick, 8)
    later = (stream["growth"] - stream["marks"]["a tenth"]) / MB
    report(
        benchmark,
        [
            Row(f"16 frames at {side}², float32", quantity, beyond(results["frames"]), "MB", 32, at_least=False),
            Row(f"16 frames at {side}², published", quantity, beyond(results["frames, published"]), "MB"),
            Row(work, quantity, beyond(stream), "MB", 32, at_least=False),
            Row(work, "of it after the first tenth", later, "MB"),
            Row(f"one frame at {large}², float32", quantity, beyond(results["large"]), "MB", 64, at_least=False),
        ],
    )


def test_training(benchmark: Any, quick: bool) -> None:
    names = ("training", "training, bfloat16", "training, checkpointed", "training, published")
    step_names = tuple(
        f"training, whole step{how}" for how in ("", ", kept", ", returned", ", published", ", published, kept")
    )
    results = found(benchmark, (*names, *step_names), quick)
    ours, low, checkpointed, published = (float(results[name]["growth"]) for name in names)
    step, kept, returned, published_step, published_kept = (float(results[name]["growth"]) for name in step_names)
    work = "generator, forward and backward, 4 videos × 2 frames, float32"
    quantity = "of the peak memory of published, gradients included"
    whole = "whole training step, 2 pairs, float32"
    report(
        benchmark,
        [
            Row(work, quantity, ours / published, "%"),
            Row(work, f"checkpointed, {quantity}", checkpointed / published, "%", 0.25, at_least=False),
            Row(work, "peak memory, gradients included", ours / MB, "MB"),
            Row(work.replace("float32", "bfloat16"), quantity, low / published, "%"),
            Row(
                work.replace("float32", "bfloat16"), "of the peak memory of float32", low / ours, "%", 1, at_least=False
            ),
            Row(whole, quantity, step / published_step, "%", 0.5, at_least=False),
            Row(whole, "peak memory, gradients included", step / MB, "MB"),
            Row(whole, f"both keep freed memory, as digan-fast train does, {quantity}", kept / published_kept, "%"),
            Row(whole, f"freed memory returned, {quantity}", returned / published_step, "%"),
        ],
    )


def test_coordinate_mlps(benchmark: Any, quick: bool) -> None:
    names = "training, coord_mlp", "training, coord_mlp compiled"
    results = found(benchmark, names, quick)
    own, compiled = (beyond(results[name]) for name in names)
    work = f"coord_mlp, SIREN {shapes(quick, training=True)[0]}, forward and backward, float32"
    report(
        benchmark,
        [
            Row(work, "of the memory of torch.compile", own / compiled, "%", 0.25, at_least=False),
            Row(work, "peak memory beyond gradients", own, "MB"),
        ],
    )
