"""A training step of DIGAN at full size, ours against the published formulation in plain PyTorch; and a training run.

The published formulation computes the same losses on the generator's published form, with every op in plain PyTorch.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from bench.gpu.device import interleaved, multiplying, peak_bytes
from bench.gpu.record import Record, opened
from bench.training import PHASES, WholeStep, networks
from digan_fast.training.config import TrainConfig
from digan_fast.training.loop import train
from digan_fast.video import write_image

PAIRS = 16
FORMS = ("published", "reference", "triton", "cuda")
STEPS = 200


class Step(WholeStep):
    """The same on a GPU, also in tf32 and mixed precision."""

    @contextlib.contextmanager
    def computing(self) -> Iterator[None]:
        mixed = self.precision == "mixed"
        with super().computing(), multiplying("tf32" if self.precision != "float32" else "float32"):
            self.D.set_precision("bfloat16" if mixed else "float32")
            yield


def measure(record: Record, precision: str) -> None:
    G, D, real = networks(record.dry, record.device, 2 if record.dry else PAIRS)
    forms = ("published", "reference", "native") if record.dry else FORMS
    steps = {form: Step(form, G, D, real, precision) for form in forms}
    seconds: dict[str, dict[str, float]] = {form: {} for form in forms}
    for name in PHASES:
        with record.case(f"{precision}: {name}") as found:
            # In float32 without tf32 all forms compute the same gradients; the bound is that of the golden values.
            expected = steps["published"].gradients(name)
            errors = {form: step.gradients(name) for form, step in steps.items()}
            found["errors"] = {form: float((g - expected).norm() / expected.norm()) for form, g in errors.items()}
            del errors
            calls = {form: lambda step=step, name=name: step.phase(name) for form, step in steps.items()}
            times = interleaved(calls, 2 if record.dry else 5, 1.0 if record.dry else 20.0)
            for form, rounds in times.items():
                seconds[form][name] = median(rounds)
            found["ms"] = {form: median(rounds) for form, rounds in times.items()}
            first = times["published"]
            found["speed-up over published"] = {
                form: median(a / b for a, b in zip(first, rounds, strict=True)) for form, rounds in times.items()
            }
            if not record.dry:
                found["peak MB"] = {form: peak_bytes(call) / 1e6 for form, call in calls.items()}
            assert precision != "float32" or max(found["errors"].values()) <= 2e-3, "gradients differ"
    with record.case(f"{precision}: whole step") as found:
        found["ms"] = {form: sum(PHASES[name] * ms for name, ms in each.items()) for form, each in seconds.items()}
        found["pairs/s"] = {form: 1e3 * len(real) / ms for form, ms in found["ms"].items()}
        found["speed-up over published"] = {form: found["ms"]["published"] / ms for form, ms in found["ms"].items()}


def frames(folder: Path, side: int) -> None:
    """Writes a video as a folder of frames: a bright square that crosses the picture."""
    for index in range(32):
        picture = np.zeros((3, side, side), np.uint8)
        picture[:, side // 4 : side // 2, 2 * index % side :][:, :, : side // 4] = 200
        write_image(folder / "clip" / f"{index:03d}.png", torch.from_numpy(picture))


def run(record: Record) -> None:
    """Trains for :data:`STEPS` steps in two halves, the second resumed from the first."""
    folder = record.path.parent / "run"
    shutil.rmtree(folder, ignore_errors=True)
    side, batch = (16, 4) if record.dry else (128, 4)
    frames(folder / "data", side)
    steps = 4 if record.dry else STEPS
    small: dict[str, Any] = {"channel_base": 256, "d_channel_base": 256, "z_dim": 16, "w_dim": 16} if record.dry else {}

    def config(part: float, resume: bool) -> TrainConfig:
        kimg = part * steps * batch / 1000
        return TrainConfig(
            folder / "data" / "clip",
            out=folder / "out",
            resolution=side,
            batch=batch,
            kimg=kimg,
            resume=resume,
            **small,
        )

    with record.case("train, the first half") as found:
        found["snapshot"] = Path(train(config(0.5, False))).name
    with record.case("train, resumed") as found:
        train(config(1, True))
        lines = (folder / "out" / "log.jsonl").read_text().splitlines()
        found["last line"] = lines[-1]
        found["pairs/s"] = steps * batch / max(1e-9, float(lines[-1].split('"seconds": ')[1].split(",")[0]))
    shutil.rmtree(folder, ignore_errors=True)


def main() -> int:
    record = opened(__doc__)
    for precision in ("tf32", "mixed"):
        with record.case(precision):
            measure(record, precision)
    run(record)
    with record.case("float32"):
        measure(record, "float32")
    return int(record.failed)


if __name__ == "__main__":
    sys.exit(main())
