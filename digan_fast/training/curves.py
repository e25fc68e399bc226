"""The curves of a run, from its log."""

from __future__ import annotations

import json
import os
from pathlib import Path

from digan_fast.files import replacing

_PANELS = {
    "losses": ("loss/G", "loss/D_fake", "loss/D_real"),
    "logits": (
        "logits/D_real_motion",
        "logits/D_fake_motion",
        "logits/D_real_image",
        "logits/D_fake_image",
    ),
    "R1 penalty (before γ/2)": ("r1/motion", "r1/image"),
}


def plot(run: str | os.PathLike[str], out: str | os.PathLike[str] | None = None) -> Path:
    """Draw losses, logits and penalties of a run's folder over thousands of pairs; default ``RUN/curves.png``.

    Raises FileNotFoundError without a log, ValueError for an empty one, ModuleNotFoundError without matplotlib.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError('curves need matplotlib: pip install "digan_fast[plot]"') from error
    log = Path(run) / "log.jsonl"
    *whole, _ = log.read_text(encoding="utf-8").split("\n")  # A kill may have cut the last line.
    try:
        lines = [json.loads(line) for line in whole if line]
    except ValueError as error:
        raise ValueError(f"{log}: not a log of digan_fast: {error}") from error
    if not lines:
        raise ValueError(f"{log}: no line yet")
    figure = Figure(figsize=(12, 3.4), layout="constrained")
    for axes, (title, names) in zip(figure.subplots(1, len(_PANELS)), _PANELS.items(), strict=True):
        for name in names:
            points = [(line["pairs"] / 1000, line[name]) for line in lines if name in line]
            if points:
                axes.plot(*zip(*points, strict=True), label=name.split("/")[1], linewidth=1)
        axes.set(title=title, xlabel="thousand pairs")
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend(fontsize=8)
    target = Path(run) / "curves.png" if out is None else Path(out)
    with replacing(target) as beside:
        figure.savefig(beside, dpi=110)
    return target
