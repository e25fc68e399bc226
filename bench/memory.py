"""Measures the growth of a process's resident memory during a workload: ``python -m bench.memory CASE``.

Each case runs in its own process, which

1. creates the network and the inputs, and does the same work once with a tiny network, so that code is loaded, thread
   pools are started and the allocator has its arenas, without large freed blocks in them;
2. returns freed memory to the system (``malloc_trim``), writes 5 to ``/proc/self/clear_refs``, which resets the peak of
   the resident size (``VmHWM`` in ``/proc/self/status``) to the current size, and reads it;
3. does the work once and reads the peak again.

The growth is the difference of the two.  It includes the result (the frames), whose size is subtracted.  Linux counts
resident pages per thread and sums them lazily, so numbers are accurate to about 1 MB.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.cases import Video, generator, reference, video
from bench.coordinate_mlps import Form, gradients, ours, shapes, written
from bench.training import PHASES, Step, WholeStep, networks
from digan_fast.allocator import keep_freed_memory

ROOT = Path(__file__).resolve().parents[1]
CLEAR_REFS, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")
BOUND = 1e-5
STREAMED, STREAMED_QUICK = 1000, 64


def why_not() -> str | None:
    """Why memory cannot be measured here, or None."""
    return None if CLEAR_REFS.exists() else "only Linux can reset the peak of the resident size"


def resident_peak() -> int:
    """The peak of the resident size, in bytes."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def reset_peak() -> int:
    """Resets the peak to the current resident size, and returns it."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
    CLEAR_REFS.write_text("5")
    return resident_peak()


@dataclass
class Work:
    """``run`` returns the size of its result in bytes; ``error``, called after it, the result's error."""

    run: Callable[[], int]
    error: Callable[[], float]
    marks: dict[str, int]  # intermediate peaks


def rendering(case: Video, size: int, published: bool = False) -> Work:
    with torch.no_grad():
        inr = case.inr()
    kept: list[Tensor] = []

    def ours() -> Tensor:
        return inr.render(case.times, size=size).flatten(0, 1)

    form = reference(case.published) if published else ours

    @torch.no_grad()
    def run() -> int:
        kept.append(form())
        return kept[-1].nbytes

    @torch.no_grad()
    def error() -> float:
        expected = reference(ours)()
        return float((kept[-1] - expected).norm() / expected.norm())

    return Work(run, error, {})


def streaming(case: Video, size: int, frames: int) -> Work:
    """Frames are consumed one by one; the peak after a tenth of them is recorded."""
    with torch.no_grad():
        inr = case.inr()
    times = torch.linspace(0, 1, frames)
    last: list[Tensor] = []
    marks: dict[str, int] = {}

    def run() -> int:
        stream: Iterator[Tensor] = inr.frames(times, size=size)
        for index, frame in enumerate(stream):
            last[:] = [frame]
            if index + 1 == max(1, frames // 10):
                marks["a tenth"] = resident_peak()
        last[0] = last[0].clone()
        return 0  # the stream owns its frames

    @torch.no_grad()
    def error() -> float:
        expected = reference(lambda: inr.render(times[-1:], size=size))()[:, 0]
        return float((last[0] - expected).norm() / expected.norm())

    return Work(run, error, marks)


def training(step: Step, form: Callable[[Step], None]) -> Work:
    """The growth includes the parameters' gradients, for every form."""

    def run() -> int:
        form(step)
        return 0

    def error() -> float:
        found = step.gradients()
        step.published()
        expected = step.gradients()
        return float((found - expected).norm() / expected.norm())

    return Work(run, error, {})


def whole_step(form: str | None, tiny: bool, pairs: int = 2, keeps: bool | None = None) -> Work:
    """All phases, in sequence; freed memory is kept as in ``digan-fast train``, or not as with its ``--checkpoint``."""
    if keeps is not None:
        keep_freed_memory(keeps)
    G, D, real = networks(tiny, "cpu", pairs)
    step = WholeStep(form, G, D, real, "float32")

    def run() -> int:
        for phase in PHASES:
            step.phase(phase)
        return 0

    def error() -> float:
        found = step.gradients("Dmain")
        expected = WholeStep("published", G, D, real, "float32").gradients("Dmain")
        return float((found - expected).norm() / expected.norm())

    return Work(run, error, {})


def checkpointed(step: Step) -> None:
    """As ``digan-fast train --checkpoint`` does it."""
    keep_freed_memory(False)
    step.checkpointed()


def coordinate_mlps(form: Form, tiny: bool) -> Work:
    """A training step of a batch of coordinate MLPs; the gradients are the result."""
    torch.manual_seed(4)
    shape = shapes(tiny, training=True)[0]
    points, layers = shape.tensors()
    probe = torch.randn(shape.sets, shape.points, 3)
    kept: list[Tensor] = []

    def run() -> int:
        kept.append(gradients(form, points, layers, probe))
        return 2 * kept[-1].nbytes  # with those that were concatenated

    def error() -> float:
        expected = gradients(written, points, layers, probe)
        return float((kept[-1] - expected).norm() / expected.norm())

    return Work(run, error, {})


def side(tiny: bool, scale: int = 1) -> int:
    return (32 if tiny else 128) * scale


def cases(quick: bool) -> dict[str, Callable[[bool], Work]]:
    """Each case is a function of whether to use the tiny network."""

    def of(tiny: bool, frames: int = 16) -> Video:
        return video(generator(tiny), frames)

    streamed = STREAMED_QUICK if quick else STREAMED
    return {
        "frames": lambda tiny: rendering(of(tiny), side(tiny)),
        "frames, published": lambda tiny: rendering(of(tiny), side(tiny), published=True),
        "stream": lambda tiny: streaming(of(tiny), side(tiny), 4 if tiny and not quick else streamed),
        "large": lambda tiny: rendering(of(tiny, 1), side(tiny, 8)),
        "training": lambda tiny: training(Step.of(generator(tiny)), Step.ours),
        "training, bfloat16": lambda tiny: training(Step.of(generator(tiny)), Step.lower),
        "training, checkpointed": lambda tiny: training(Step.of(generator(tiny)), checkpointed),
        "training, published": lambda tiny: training(Step.of(generator(tiny)), Step.published),
        "training, coord_mlp": lambda tiny: coordinate_mlps(ours, tiny),
        "training, coord_mlp compiled": lambda tiny: coordinate_mlps(torch.compile(written), tiny),
        "training, whole step": lambda tiny: whole_step(None, tiny),
        "training, whole step, kept": lambda tiny: whole_step(None, tiny, keeps=True),
        "training, whole step, returned": lambda tiny: whole_step(None, tiny, keeps=False),
        "training, whole step, published": lambda tiny: whole_step("published", tiny),
        "training, whole step, published, kept": lambda tiny: whole_step("published", tiny, keeps=True),
    }


def measure(name: str, quick: bool) -> dict[str, Any]:
    case = cases(quick)[name]
    work = case(quick)
    case(True).run()
    begin = reset_peak()
    result = work.run()
    end = resident_peak()
    bound = 0.15 if name == "training, bfloat16" else 2e-3 if name.startswith("training") else BOUND
    return {
        "growth": end - begin,
        "result": result,
        "beyond": end - begin - result,
        "marks": {mark: peak - begin for mark, peak in work.marks.items()},
        "error": work.error(),
        "bound": bound,
    }


def in_child(case: str, quick: bool, module: str = "bench.memory") -> Any:
    """What the module's ``measure`` finds in a process of its own, with the same number of threads."""
    command = [sys.executable, "-m", module, case, "--threads", str(torch.get_num_threads())]
    done = subprocess.run(command + ["--quick"] * quick, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr}")
    return json.loads(done.stdout)


def main(description: str, choices: Sequence[str], measured: Callable[[str, bool], Any]) -> None:
    """The child: prints what is measured of a case as JSON."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("case", choices=choices)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(json.dumps(measured(options.case, options.quick)))


if __name__ == "__main__":
    main("Print the growth of the resident memory as JSON, in bytes.", list(cases(False)), measure)
