"""Two real processes, connected by gloo, against one."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import ranks
import rows
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_runs import SMALL, frame_folder

from digan_fast.training.config import TrainConfig
from digan_fast.training.draws import of_batch, part_of_batch

# Both regularisers are due in the first step, and path length in the fifth; runs go on from a state in between.
STEPS = 5
CASES: dict[str, dict[str, Any]] = {
    "plain": {"batch": 8},
    "accumulated": {"batch": 16, "batch_per_process": 4},
    "conditional": {"batch": 8, "conditional": True, "augment": "color,translation,cutout", "style_mixing": 0.5},
    "clips": {"batch": 8, "batch_per_process": 4, "discriminator": "dvd-gan", "conditional": True, "r1_gamma": 1.0},
    "paths": {"batch": 8, "batch_per_process": 4, "path_length": 2.0},
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of each case: CASE-one in one process, CASE-two in two; halves of "plain": begun in one and gone on with in
    two (changed), in two both times (kept)."""
    root = tmp_path_factory.mktemp("ranks")
    for name in ("a", "b"):
        frame_folder(root / "data" / name / "video", 20)
    configs: dict[str, TrainConfig] = {}
    for name, changes in CASES.items():
        batch = changes["batch"]
        kimg = {"kimg": STEPS * batch / 1000, "tick_kimg": batch / 1000, "snapshot_kimg": 4 * batch / 1000}
        configs[name] = TrainConfig(data=root / "data", out=root, **{**SMALL, **kimg, **changes})
    whole = configs["plain"]
    half = replace(whole, kimg=3 * whole.kimg / STEPS)
    changed, kept = root / "changed", root / "kept"
    ranks.together(
        1, [*(replace(each, out=root / f"{name}-one") for name, each in configs.items()), replace(half, out=changed)]
    )
    ranks.together(
        2,
        [
            *(replace(each, out=root / f"{name}-two") for name, each in configs.items()),
            replace(half, out=kept),
            *(replace(whole, out=out, resume=True) for out in (changed, kept)),
        ],
    )
    return root


def gradients(run: Path, rank: int = 0) -> list[tuple[str, dict[str, torch.Tensor]]]:
    """Of each phase, in order, with its name."""
    found: list[tuple[str, dict[str, torch.Tensor]]] = torch.load(f"{run}.{rank}.pt", weights_only=True)
    return found


def state(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = torch.load(run / "state.pt", weights_only=True)
    return found


def log(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def distance(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> float:
    """Relative, of all tensors together."""
    assert found.keys() == expected.keys()
    a, b = (torch.cat([each[name].flatten().double() for name in sorted(each)]) for each in (found, expected))
    return float((a - b).norm() / b.norm())


@pytest.mark.parametrize("name", CASES)
def test_two_processes_are_one(root: Path, name: str) -> None:
    """Gradients of all phases of five steps, measured to 1.3e-6, and what comes of them, measured to 1.4e-8."""
    one, two = root / f"{name}-one", root / f"{name}-two"
    phases = gradients(one)
    # Of clips, every other step trains the generator.
    assert len(phases) == {"paths": STEPS * 2 + 3, "clips": STEPS + 3 + 1}.get(name, STEPS * 2 + 1)
    differences: dict[str, float] = {}
    for (phase, found), (expected_phase, expected) in zip(gradients(two), phases, strict=True):
        assert phase == expected_phase
        differences[phase] = max(differences.get(phase, 0), distance(found, expected))
    assert max(differences.values()) < 1e-5
    for network in ("G", "D", "G_ema"):
        differences[network] = distance(state(two)[network], state(one)[network])
        assert differences[network] < 1e-6
    assert differences.keys() <= set(ranks.DIFFERENCES)
    shown = [f"{differences[column]:.1e}" if column in differences else "" for column in ranks.DIFFERENCES[1:]]
    rows.note("processes", name, *shown)
    assert float(state(two)["pl_mean"]) == pytest.approx(float(state(one)["pl_mean"]), rel=1e-6)
    assert torch.equal(state(two)["torch_rng"], state(one)["torch_rng"])
    for found, expected in zip(log(two), log(one), strict=True):
        assert found.keys() == expected.keys()
        for key in found.keys() - {"seconds", "seconds_left", "waiting"}:
            assert found[key] == pytest.approx(expected[key], rel=1e-4, abs=1e-5), key


@pytest.mark.parametrize("name", CASES)
def test_both_have_the_same_gradients(root: Path, name: str) -> None:
    for first, second in zip(*(gradients(root / f"{name}-two", rank) for rank in (0, 1)), strict=True):
        assert all(torch.equal(gradient, second[1][key]) for key, gradient in first[1].items())


def test_accumulation_changes_no_gradient(root: Path) -> None:
    """The case "paths" is "plain" in micro-batches until the first path length, the second phase."""
    assert distance(gradients(root / "paths-one")[0][1], gradients(root / "plain-one")[0][1]) < 1e-5


def test_a_resumed_run_is_the_uninterrupted_one(root: Path) -> None:
    """Bit for bit in as many processes; to rounding in others."""
    for network in ("G", "D", "G_ema"):
        kept, whole = (state(root / name)[network] for name in ("kept", "plain-two"))
        assert all(torch.equal(kept[key], tensor) for key, tensor in whole.items())
        assert distance(state(root / "changed")[network], whole) < 1e-6
    assert [line["pairs"] for line in log(root / "changed")] == [8, 16, 24, 32, 40]


def test_a_batch_that_cannot_be_divided() -> None:
    config = TrainConfig(Path(), resolution=128)
    assert [config.at_once(world) for world in (1, 2, 8)] == [32, 16, 4]
    assert replace(config, batch_per_process=8).at_once(2) == 8
    for world, changes, message in (
        (3, {}, r"batch: 32, expected a multiple of 12 \(3 processes · groups of 4\), such as 24 or 36$"),
        (16, {}, "batch: 32, expected a multiple of 64 .*, such as 64; or --batch-per-process 2, whose groups"),
        (2, {"batch": 4}, "batch: 4, expected a multiple of 8 .*, such as 8; or --batch-per-process 2,"),
        (3, {"batch_per_process": 8}, r"batch: 32, .* of 24 \(3 processes · micro-batches of 8\), such as 24 or 48$"),
        (8, {"batch_per_process": 8}, "batch_per_process: 8, expected a divisor of a process's 4"),
        (1, {"batch_per_process": 6}, "batch_per_process: 6, expected 1, 2, 3, or a multiple of 4"),
        (1, {"batch_per_process": 12}, "batch_per_process: 12, expected a divisor of the batch, 32"),
    ):
        with pytest.raises(ValueError, match=message):
            replace(config, **changes).at_once(world)  # type: ignore[arg-type]


@settings(deadline=None)
@given(st.integers(1, 12), st.sampled_from([1, 2, 3, *range(4, 44, 4)]), st.sampled_from([None, 1, 2, 3, 4, 8]))
def test_what_a_refusal_proposes_is_accepted(world: int, batch: int, at_once: int | None) -> None:
    config = TrainConfig(Path(), batch=batch, batch_per_process=at_once)
    try:
        config.check()
    except ValueError:
        return
    try:
        assert batch % (config.at_once(world) * world) == 0
    except ValueError as error:
        if str(error).startswith("batch_per_process"):
            for size in (size for size in (1, 2, 3, 4) if batch // world % size == 0):
                replace(config, batch_per_process=size).at_once(world)
            return
        proposed = re.search(r"such as ([\d or]+)(?:; or --batch-per-process (\d))?", str(error))
        assert proposed is not None
        for number in map(int, proposed[1].split(" or ")):
            replace(config, batch=number).at_once(world)
        if proposed[2]:
            replace(config, batch_per_process=int(proposed[2])).at_once(world)


def test_a_part_has_every_nth_row() -> None:
    def drawn(part: int, parts: int) -> torch.Tensor:
        torch.manual_seed(0)
        with part_of_batch(part, parts):
            return of_batch(lambda rows: torch.randn(rows, 2), 6 // parts)

    whole = drawn(0, 1)
    for parts in (2, 3, 6):
        dealt = torch.stack([drawn(part, parts) for part in range(parts)], dim=1).flatten(0, 1)
        assert torch.equal(dealt, whole)
