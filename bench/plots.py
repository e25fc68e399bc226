"""The plots of the performance page."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

from digan_fast.files import replacing

MARKERS = ("o", "s", "^", "D")
CROSSES = ("x", "+")
COLOURS = ("#c77c11", "#2a7f9e", "#5b3a8c", "#3d7d3a")


def _save(figure: Any, target: Path) -> None:
    with replacing(target) as beside:
        figure.savefig(beside, dpi=110, format="png")


def front(points: list[dict[str, Any]], measure: str) -> list[dict[str, Any]]:
    """The points that no other point beats in both time and quality (the Pareto front), fastest first."""
    best: list[dict[str, Any]] = []
    for point in sorted(points, key=lambda p: (p["seconds"], -p[measure])):
        if not best or point[measure] > best[-1][measure]:
            best.append(point)
    return best


def pareto(points: list[dict[str, Any]], target: Path) -> None:
    """Quality over time per frame, by form, precision, levels and size.

    The exact picture has an SSIM but no PSNR.  The first form's markers are filled, those of forms with several
    precisions hollow, those of forms with one precision crosses.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    figure = Figure(figsize=(11, 4.6), layout="constrained")
    sizes = sorted({point["size"] for point in points})
    precisions, forms = (list(dict.fromkeys(point[key] for point in points)) for key in ("precision", "form"))
    single = [f for f in forms[1:] if len({p["precision"] for p in points if p["form"] == f}) == 1]
    for axes, measure, label in zip(figure.subplots(1, 2), ("psnr", "ssim"), ("PSNR, dB", "SSIM"), strict=True):
        shown = [point for point in points if point[measure] is not None]
        line = front(shown, measure)
        axes.plot([p["seconds"] * 1e3 for p in line], [p[measure] for p in line], color="0.75", linewidth=1.5, zorder=1)
        labelled = set()
        for form, precision, size in itertools.product(forms, precisions, sizes):
            own = [p for p in shown if (p["form"], p["precision"], p["size"]) == (form, precision, size)]
            if not own:
                continue
            first, colour = form == forms[0], COLOURS[sizes.index(size) % len(COLOURS)]
            marker = MARKERS[precisions.index(precision) % len(MARKERS)]
            name = f"{precision}, {size}²" if first else form
            filled = first or form in single
            paint = {"color": colour} if filled else {"facecolors": "none", "edgecolors": colour}
            axes.scatter(
                [p["seconds"] * 1e3 for p in own],
                [p[measure] for p in own],
                s=[14 + 14 * p["levels"] for p in own],
                marker=CROSSES[single.index(form) % len(CROSSES)] if form in single else marker,
                **paint,
                alpha=0.85,
                linewidths=0 if first else 1.2,
                label="_" if name in labelled else name,
                zorder=2,
            )
            labelled.add(name)
        for p in line:
            axes.annotate(
                str(p["levels"]), (p["seconds"] * 1e3, p[measure]), (0, 7), textcoords="offset points", fontsize=8,
                ha="center",
            )  # fmt: skip
        axes.set(xscale="log", xlabel="time per frame, ms", ylabel=label)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.grid(alpha=0.3)
        axes.margins(y=0.12)
    figure.axes[0].set_title("larger markers: more levels; the exact picture has no PSNR", fontsize=9)
    figure.axes[1].set_title("numbers: levels on the Pareto front", fontsize=9)
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside right center", fontsize=8)
    _save(figure, target)


def speed(infos: list[dict[str, Any]], target: Path) -> None:
    """Seconds for the whole video by form, and the roofline of each."""
    from matplotlib.figure import Figure

    names = (
        "published",
        "published, compiled",
        "plain PyTorch",
        "float32, from ws",
        "bfloat16, from ws",
        "int8, from ws",
    )
    found = infos[0]["forms"]
    labels = [name for name in names if name in found]
    figure = Figure(figsize=(8, 0.55 * len(labels) + 1), layout="constrained")
    axes = figure.subplots()
    for row, name in enumerate(reversed(labels)):
        form = found[name]
        first, last = min(form["seconds"]), max(form["seconds"])
        colour = COLOURS[1] if form["flops"] else "0.65"
        axes.barh(row, form["median"], color=colour, height=0.6)
        axes.plot([first, last], [row, row], color="0.2", linewidth=1)
        axes.annotate(
            f"{form['median']:.2f} s", (last, row), (5, 0), textcoords="offset points", va="center",
            fontsize=9,
        )  # fmt: skip
        peak = infos[0]["peaks"].get(name.split(",")[0])
        if form["flops"] and peak:
            floor = form["flops"] / peak["median"]
            axes.plot([floor, floor], [row - 0.42, row + 0.42], color=COLOURS[0], linewidth=2)
    axes.set_yticks(range(len(labels)), list(reversed(labels)))
    axes.set_xlabel("seconds; vertical line: roofline (operations at the instruction's peak rate)")
    axes.margins(x=0.14)
    axes.grid(alpha=0.3, axis="x")
    axes.set_axisbelow(True)
    _save(figure, target)


def clips(points: list[dict[str, Any]], target: Path) -> None:
    """Time and memory of a clip over its frames, by side, as an INR and on a grid."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.8), layout="constrained")
    sides = sorted({point["side"] for point in points})
    kinds = list(dict.fromkeys(point["kind"] for point in points))
    titles = {"seconds": ("seconds", 1.0), "bytes": ("memory, MB", 1e-6)}
    for axes, (measure, (label, scale)) in zip(figure.subplots(1, 2), titles.items(), strict=True):
        for (index, side), kind in itertools.product(enumerate(sides), kinds):
            own = sorted((p["frames"], p[measure] * scale) for p in points if (p["side"], p["kind"]) == (side, kind))
            style = "-" if kind == kinds[0] else "--"
            marker = MARKERS[index % len(MARKERS)]
            axes.plot(
                *zip(*own, strict=True), style, marker=marker, color=COLOURS[index % len(COLOURS)],
                label=f"{kind}, {side}²",
            )  # fmt: skip
        axes.set(xscale="log", yscale="log", xlabel="frames", ylabel=label)
        axes.set_xticks(frames := sorted({point["frames"] for point in points}), [str(count) for count in frames])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside right center", fontsize=8)
    _save(figure, target)
