"""The curves of a run, from its log."""

from __future__ import annotations

import json
import os
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

from digan_fast.files import replacing
from digan_fast.networks import discriminators
from digan_fast.training.record import CONFIG, LOG

_REAL, _FAKE, _R1, _MEASURED = "logits/D_real_", "logits/D_fake_", "r1/", "evaluation/"
_BETWEEN_REAL = f"{_MEASURED}real against real"


def _panels(lines: Sequence[Mapping[str, float]]) -> dict[str, list[str]]:
    """The terms of each panel, by title; the discriminator's heads are those named in the log."""
    names = list(dict.fromkeys(name for line in lines for name in line))
    heads = [name.removeprefix(_REAL) for name in names if name.startswith(_REAL)]
    panels = {
        "losses": ["loss/G", "loss/D_fake", "loss/D_real"],
        "logits": [f"{which}{head}" for head in heads for which in (_REAL, _FAKE)],
        "R1 penalty (before γ/2)": [name for name in names if name.startswith(_R1)],
    }
    # A metric has a panel of its own, with its value between real clips.
    for name in names:
        if name.startswith(_MEASURED) and not name.startswith(_BETWEEN_REAL):
            title = name.removeprefix(_MEASURED)
            panels[title] = [name, f"{_BETWEEN_REAL}, {title}"]
    return {title: terms for title, terms in panels.items() if terms}


def _counted(run: Path) -> str:
    """What the run counts, from its configuration if it is there."""
    try:
        saved = json.loads((run / CONFIG).read_text(encoding="utf-8"))
        return "clips" if discriminators.judges_clips(saved["discriminator"]) else "pairs"
    except (OSError, ValueError, KeyError):
        return "pairs"


def _marker(points: Sequence[object]) -> str | None:
    """A single point has no line to be seen by."""
    return "o" if len(points) == 1 else None


def plot(run: str | os.PathLike[str], out: str | os.PathLike[str] | None = None) -> Path:
    """Plot a run's losses, logits, penalties and evaluations over thousands of pairs or clips.

    Writes ``RUN/curves.png`` by default.  Raises FileNotFoundError without a log, ValueError for an
    empty one, ModuleNotFoundError without matplotlib.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError('curves need matplotlib: pip install "digan_fast[plot]"') from error
    log, counted = Path(run) / LOG, _counted(Path(run))
    *whole, _ = log.read_text(encoding="utf-8").split("\n")  # The last line may be truncated by a kill.
    try:
        lines = [json.loads(line) for line in whole if line]
    except ValueError as error:
        raise ValueError(f"{log}: not a log of digan_fast: {error}") from error
    if not lines:
        raise ValueError(f"{log}: no line yet")
    panels = _panels(lines)
    figure = Figure(figsize=(4 * len(panels), 3.4), layout="constrained")
    row = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (title, names) in zip(row, panels.items(), strict=True):
        for name in names:
            points = [(line["pairs"] / 1000, line[name]) for line in lines if name in line]
            if points:
                between = name.startswith(_BETWEEN_REAL)
                label = "real against real" if between else name.partition("/")[2].partition(" [")[0]
                style = {"linestyle": "--", "color": "0.5"} if between else {}
                axes.plot(*zip(*points, strict=True), label=label, linewidth=1, marker=_marker(points), **style)
        name, bracket, protocol = title.partition(" [")
        lines_of_title = [name, *textwrap.wrap(f"{bracket.strip()}{protocol}", 48)]
        axes.set_title("\n".join(lines_of_title), fontsize=9 if protocol else 12)
        axes.set(xlabel=f"thousand {counted}")
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend(fontsize=8)
    target = Path(run) / "curves.png" if out is None else Path(out)
    with replacing(target) as beside:
        figure.savefig(beside, dpi=110)
    return target
