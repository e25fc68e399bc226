"""The counted tables of docs/gpu.md and docs/results/counted.md.

A page marks the place of a table by ``<!-- counted: NAME -->`` … ``<!-- counted: end -->``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache, partial
from itertools import pairwise
from pathlib import Path

import torch
from cases import REAL, kernel
from mutants.mutant import tables
from traffic import CountsBytes, Moved, measured

from bench import pages
from bench.cases import generator, video
from bench.coordinate_mlps import Shape
from bench.pages import table
from digan_fast import Generator, use_backend
from digan_fast.levels import flattened

ROOT = Path(__file__).resolve().parents[2]
PAGES = (ROOT / "docs" / "gpu.md", ROOT / "docs" / "results" / "counted.md")
TRITON = "3.9.0"  # the version that compiled the kernels in the pages
FRAMES = 16
# Architectures whose PTX the emulator can execute.
EXECUTED = (80, 90)
# Peak rates from data sheets: memory in bytes/s, bfloat16 tensor cores without sparsity and float32 in FLOP/s.
PEAKS = {
    "A100 SXM 80 GB": (80, 2.039e12, 312e12, 19.5e12),
    "H100 SXM": (90, 3.35e12, 989e12, 67e12),
    "B200": (90, 8.0e12, 2250e12, 80e12),
}


@cache
def generator_of_full_size() -> Generator:
    return generator(quick=False)


@cache
def published_bytes() -> tuple[int, int]:
    """Bytes of the published formulation in float32, each operation's inputs and outputs once: per frame, and from ws.

    Only the affine layers, whose outputs modulate each frame's weights, do not grow with the number of frames.
    """
    counted = []
    for frames in (1, 2):
        made = video(generator_of_full_size(), frames)
        with use_backend("reference"), torch.no_grad(), CountsBytes() as counts:
            made.published()
        counted.append(counts.bytes)
    frame = counted[1] - counted[0]
    return FRAMES * frame, counted[0] + (FRAMES - 1) * frame


@cache
def inr_bytes() -> int:
    """Bytes of computing the INR from ws, once per video."""
    made = video(generator_of_full_size(), FRAMES)
    with use_backend("reference"), torch.no_grad(), CountsBytes() as counted:
        made.inr()
    return counted.bytes


@cache
def rendering(architecture: int) -> tuple[list[Moved], int]:
    """Each launch of 16 frames at 128² in bfloat16, and the bytes of torch's own operations between them."""
    made = video(generator_of_full_size(), FRAMES)
    with torch.no_grad():
        levels = [level.at(made.times[None], level.side) for level in made.inr().levels]
        with CountsBytes() as between:
            call = partial(kernel("render"), *flattened(levels), 128, [0, 0, 128, 128], "bfloat16")
            launches = measured(architecture, call)
    return launches, between.bytes


def rendered_bytes(architecture: int) -> int:
    """Bytes from DRAM of the launches, and of torch's operations between them."""
    launches, between = rendering(architecture)
    return sum(launch.dram for launch in launches) + between


SINGLE = (
    *("linear 16384x256x256", "features 128x128", "render 128x128", "bias 4x64x32x32", "bias channels last"),
    *("mlp 64", "mlp 128", "mlp 256"),
    *("factors 4x256x512", "filter up", "filter down", "filter up channels last"),
)


@cache
def single_kernels(architecture: int) -> list[tuple[str, Moved]]:
    """Kernels at DIGAN's shapes at 128², in bfloat16."""
    found = []
    for shape in SINGLE:

        def work(shape: str = shape) -> None:
            for op, args in REAL[shape](torch.bfloat16):
                kernel(op)(*(each.zero_() if isinstance(each, torch.Tensor) else each for each in args))

        found += [(shape, moved) for moved in measured(architecture, work) if moved.kernel != "add_rows"]
    return found


def megabytes(count: float) -> str:
    return f"{count / 1e6:,.1f}"


def kernels_table() -> str:
    rows = []
    for architecture in EXECUTED:
        for shape, moved in single_kernels(architecture):
            rows.append(
                (
                    f"{shape}, {moved.kernel}",
                    f"sm_{architecture}",
                    megabytes(moved.compulsory),
                    megabytes(moved.dram),
                    f"{moved.activation_factor:.2f}",
                    f"{moved.weights_per_row:.2f}" if moved.weights_per_row else "–",
                    megabytes(moved.asked),
                )
            )
    head = (
        "kernel",
        "for",
        "each tensor once, MB",
        "from DRAM, MB",
        "activations, ×",
        "weights a row, ×",
        "asked of L2, MB",
    )
    return table(head, rows)


def render_table() -> str:
    published, from_ws = published_bytes()
    rows = [("published formulation, float32", megabytes(published), "", "1.0", megabytes(from_ws), "1.0")]
    rows.append(("the same, were all of its bytes halved", megabytes(published / 2), "", "2.0", "", ""))
    for architecture in EXECUTED:
        launches, _ = rendering(architecture)
        ours, whole = rendered_bytes(architecture), rendered_bytes(architecture) + inr_bytes()
        asked = megabytes(sum(launch.asked for launch in launches))
        times = f"{published / ours:.1f}", f"{from_ws / whole:.1f}"
        name = f"`render`, bfloat16, sm_{architecture}, {len(launches)} launches"
        rows.append((name, megabytes(ours), asked, times[0], megabytes(whole), times[1]))
    head = ("16 frames at 128²", "from DRAM, MB", "asked of L2, MB", "times fewer", "from ws, MB", "times fewer")
    return table(head, rows)


def predictions_table() -> str:
    rows = []
    for name, (architecture, memory, tensor, scalar) in PEAKS.items():
        launches, between = rendering(architecture)
        bounds = [(m.dram / memory, m.tensor_flops / tensor, m.flops / scalar) for m in launches]
        total = sum(map(max, bounds)) + between / memory
        by = [sum(max(bound) for bound in bounds if max(bound) == bound[kind]) for kind in range(3)]
        by[0] += between / memory
        shares = ", ".join(
            f"{what} {part / total:.0%}" for what, part in zip(("memory", "tensor", "float32"), by, strict=True)
        )
        baseline = published_bytes()[0] / memory
        rows.append((name, f"{total * 1e3:.2f}", shares, f"{baseline * 1e3:.2f}"))
    head = ("GPU", "16 frames, ms at least", "bound by", "published formulation's bytes alone, ms at least")
    return table(head, rows)


# Coordinate MLPs whose times are predicted, as bench/test_coord_mlp.py has them.
MLPS = (Shape(64, 16_384, 2, 256, 3), Shape(1, 1 << 20, 3, 512, 5), Shape(4096, 1024, 4, 64, 2))
# float32 operations for a unit of a hidden layer, as Triton's kernels executed them for 3×256 forward and 2×64
# backward: most are a sine's, backward with its cosine; products on tensor cores are not among them.
OPERATIONS = {"forward": 28, "forward and backward": 28 + 56}


def mlp_bounds(shape: Shape, direction: str, half: bool) -> tuple[float, float, float]:
    """Bytes from DRAM, tensor and float32 operations of kernels for a coordinate MLP: no fewer than these."""
    points, units = shape.sets * shape.points, shape.width * shape.hidden
    trains = direction != "forward"
    # Forward, and backward again, with two more for the gradients.
    times = 4 if trains else 1
    products = times * 2.0 * points * (shape.hidden - 1) * shape.width**2
    others = float(points * units * OPERATIONS[direction])
    extents = [shape.dimensions, *[shape.width] * shape.hidden, 3]
    parameters = shape.sets * sum((inputs + 1) * outputs for inputs, outputs in pairwise(extents))
    tensors = 4 * (shape.points * shape.dimensions + parameters + 3 * points)
    if trains:
        # Two operands for each unit, written and read; the parameters' gradients, and the colours'.
        tensors += 2 * points * units * (4 if half else 8) + 4 * (2 * parameters + 3 * points)
    return tensors, products if half else 0.0, others if half else others + products


def mlp_predictions_table() -> str:
    rows = []
    for shape in MLPS:
        for precision in ("float32", "bfloat16"):
            for direction in OPERATIONS:
                amounts = mlp_bounds(shape, direction, half=precision == "bfloat16")
                cells = []
                for _, *peaks in PEAKS.values():
                    times = [amount / peak for amount, peak in zip(amounts, peaks, strict=True)]
                    by = ("memory", "tensor", "float32")[times.index(max(times))]
                    cells.append(f"{max(times) * 1e3:.2f} ({by})")
                rows.append((f"{shape}, D = {shape.dimensions}, {precision}, {direction}", *cells))
    return table(("SIREN, ms at least", *PEAKS), rows)


def compiled_table() -> str:
    found: dict[str, dict[str, str]] = {}
    for line in (ROOT / "tests" / "kernels" / "compiled" / f"triton-{TRITON}.txt").read_text().splitlines()[1:]:
        name, resources, instructions = line.split(" | ")
        what, kind, arch = name.rsplit(" ", 2)
        if kind == "bfloat16":
            registers, shared = re.findall(r"\d+", resources)
            tensor = next((word for word in ("wgmma", "tcgen05", "mma") if f"{word} " in f" {instructions} "), "")
            found.setdefault(what, {})[arch] = f"{registers}, {int(shared) / 1024:.0f} KiB{', ' * bool(tensor)}{tensor}"
    archs = ("sm_80", "sm_90", "sm_100", "sm_120")
    return table(("kernel, bfloat16", *archs), [(what, *(by[arch] for arch in archs)) for what, by in found.items()])


def mutants_table() -> str:
    rows = []
    for name, mutants in tables(ROOT / "tests" / "mutants"):
        equivalent = sum(mutant.equivalent is not None for mutant in mutants)
        rows.append((name, len(mutants), len(mutants) - equivalent, equivalent))
    return table(("table", "seeded bugs", "caught", "equivalent"), rows)


SECTIONS: dict[str, Callable[[], str]] = {
    "kernels": kernels_table,
    "render": render_table,
    "predictions": predictions_table,
    "predictions of coordinate MLPs": mlp_predictions_table,
    "compiled": compiled_table,
    "mutants": mutants_table,
}


def filled(page: str) -> str:
    """The page with its tables regenerated."""
    return pages.fill(page, "counted", SECTIONS)
