"""The curves of a run, from its log."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from digan_fast.files import replacing

_REAL, _FAKE, _R1 = "logits/D_real_", "logits/D_fake_", "r1/"


def _panels(lines: Sequence[Mapping[str, float]]) -> dict[str, list[str]]:
    """The terms of each panel, by title; the discriminator's heads are those named in the log."""
    names = list(dict.fromkeys(name for line in lines for name in line))
    heads = [name.removeprefix(_REAL) for name in names if name.startswith(_REAL)]
    return {
        "losses": ["loss/G", "loss/D_fake", "loss/D_real"],
        "logits": [f"{which}{head}" for head in heads for which in (_REAL, _FAKE)],
        "R1 penalty (before γ/2)": [name for name in names if name.startswith(_R1)],
    }


def plot(run: str | os.PathLike[str], out: str | os.PathLike[str] | None = None) -> Path:
    """Plot the losses, logits and penalties of a run's folder over thousands of pairs; default ``RUN/curves.png``.

    Raises FileNotFoundError without a log, ValueError for an empty one, ModuleNotFoundError without matplotlib.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError('curves need matplotlib: pip install "digan_fast[plot]"') from error
    log = Path(run) / "log.jsonl"
    *whole, _ = log.read_text(encoding="utf-8").split("\n")  # The last line may be truncated by a kill.
    try:
        lines = [json.loads(line) for line in whole if line]
    except ValueError as error:
        raise ValueError(f"{log}: not a log of digan_fast: {error}") from error
    if not lines:
        raise ValueError(f"{log}: no line yet")
    figure = Figure(figsize=(12, 3.4), layout="constrained")
    panels = _panels(lines)
    for axes, (title, names) in zip(figure.subplots(1, len(panels)), panels.items(), strict=True):
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
