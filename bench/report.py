"""Tables and plots from the results of ``pytest bench --benchmark-json=FILE``: ``python -m bench.report FILE``.

Tables replace the text between ``<!-- bench: NAME -->`` and ``<!-- bench: end -->`` in a page.  ``--page`` writes a
machine's tables to a page of its own, without plots, and leaves the others as they are.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from bench import pages, plots
from bench.pages import table
from digan_fast.files import replacing

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("README.md", "docs/performance.md", "docs/results/cpu.md")
IMAGES = Path("docs", "images")
# The rows shown in README.md: the beginning of the work's name, and the quantity.
HEADLINES = (
    ("16 frames at 128², float32", "speed-up over published, from ws"),
    ("16 frames at 128², bfloat16", "speed-up over published, from ws"),
    ("16 frames at 128², float32", "of the roofline"),
    ("16 frames at 128², float32", "resident memory beyond INR and frames"),
    ("generator, forward and backward, 4 videos × 2 frames, float32", "speed-up over published"),
    ("coord_mlp, SIREN 3×256, 64 weight sets × 16,384 points, float32", "speed-up over torch.compile"),
)
FEWEST_ROUNDS = 5  # so that one stalled round moves neither the median nor a quartile

Results = dict[str, Any]


def number(value: float, unit: str) -> str:
    """``value`` formatted for a table: ratios as percentages, everything else with three digits."""
    if unit == "%":
        percent = value * 100
        return f"{percent:.0f} %" if percent >= 20 else f"{percent:.1f} %"
    digits = f"{value:.0f}" if abs(value) >= 100 else f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"
    return f"{digits}×" if unit == "×" else f"{digits} {unit}".rstrip()


def duration(seconds: float) -> str:
    for scale, unit in ((1, "s"), (1e3, "ms")):
        if seconds * scale >= 1:
            return number(seconds * scale, unit)
    return number(seconds * 1e6, "µs")


def target_text(row: dict[str, Any]) -> str:
    """The target as a bound, or an empty string without one."""
    if row["target"] is None:
        return ""
    value = row["target"]
    if row["unit"] == "%":
        bound = f"{value * 100:.3g} %"
    else:
        bound = f"{value:g}×" if row["unit"] == "×" else f"{value:g} {row['unit']}"
    return ("≥ " if row["at_least"] else "≤ ") + bound


def text(row: dict[str, Any]) -> tuple[str, str]:
    """The measured value, and the target."""
    if row["value"] is None:
        return "not available here", target_text(row)
    measured = number(row["value"], row["unit"])
    if row["target"] is not None and row["met"] is None:
        low, high = (number(end, row["unit"]) for end in row["quartiles"])
        return f"{measured}, undecided: {low} – {high}", target_text(row)
    return measured + {True: " ✓", False: " ✗", None: ""}[row["met"]], target_text(row)


def infos(results: Results) -> list[tuple[str, dict[str, Any]]]:
    """Each case's name and recorded data."""
    return [(entry["name"], entry["extra_info"]) for entry in results["benchmarks"]]


def _rows(rows: list[dict[str, Any]]) -> str:
    lines = [[row["work"], row["quantity"], target_text(row) or "–", text(row)[0]] for row in rows]
    return table(["work", "measure", "target", "measured"], lines)


def headlines(results: Results) -> str:
    rows = [row for _, info in infos(results) for row in info.get("rows", ())]
    return _rows(
        [
            row
            for work, measure in HEADLINES
            for row in rows
            if row["work"].startswith(work) and row["quantity"].startswith(measure)
        ]
    )


def all_rows(results: Results) -> str:
    return _rows([row for _, info in infos(results) for row in info.get("rows", ())])


def forms(results: Results) -> str:
    """Every timed form with its median, spread and error."""
    lines = []
    for name, info in infos(results):
        for form, found in info.get("forms", {}).items():
            seconds, share = found["seconds"], found["share_of_roofline"]
            spread = f"{duration(min(seconds))} – {duration(max(seconds))}"
            rate = found["flops_per_second"]
            lines.append(
                [
                    f"`{name}`",
                    form,
                    duration(found["median"]),
                    spread,
                    "–" if rate is None else f"{rate / 1e9:.0f}",
                    "–" if share is None else f"{number(share, '%')} of {found['unit']}",
                    "–" if found["error"] is None else f"{found['error']:.1e}",
                ]
            )
    return table(["case", "form", "median", "rounds", "GFLOP/s", "of the roofline", "error"], lines)


def quality(results: Results) -> str:
    points = [point for _, info in infos(results) for point in info.get("quality", ())]
    lines = [
        [
            point["form"],
            point["precision"],
            str(point["levels"]),
            f"{point['size']}²",
            "exact" if point["psnr"] is None else f"{point['psnr']:.1f} dB",
            f"{point['ssim']:.4f}",
            duration(point["seconds"]),
        ]
        for point in points
    ]
    return table(["form", "precision", "levels", "size", "PSNR", "SSIM", "a frame"], lines)


def generators(results: Results) -> str:
    """Time and memory of clips, as INRs and on a grid, by size."""
    clips = [clip for _, info in infos(results) for clip in info.get("generators", ())]
    found = {(clip["kind"], clip["frames"], clip["side"]): clip for clip in clips}
    lines = []
    for frames, side in sorted({(clip["frames"], clip["side"]) for clip in clips}):
        inr, grid = (found[kind, frames, side] for kind in ("INR", "grid"))
        shown = [
            text for clip in (inr, grid) for text in (duration(clip["seconds"]), number(clip["bytes"] / 1e6, "MB"))
        ]
        lines.append([frames, f"{side}²", *shown])
    return table(["frames", "size", "INR", "its memory", "grid", "its memory"], lines)


def machine(results: Results) -> str:
    """The hardware and software of the measurement, in one sentence."""
    info, commit = results["machine_info"], results["commit_info"]
    ours = info["digan_fast"]
    peaks = {name: peak for _, case in infos(results) for name, peak in case.get("peaks", {}).items()}
    rates = ", ".join(f"{name} {p['median'] / 1e9:.0f} GFLOP/s ({p['unit']})" for name, p in sorted(peaks.items()))
    isa = ours["machine"].get("chosen_instruction_set", "none")
    compiler = ours["native"].get("compiler", "none")
    versions = ours["versions"]
    return (
        f"{info['cpu'].get('brand_raw', info['machine'])}, {info['cpu'].get('count', '?')} cores, {info['threads']} "
        f"threads, instruction set {isa}; measured peaks: {rates or 'none'}, copies "
        f"{info['copy_bytes_per_second'] / 1e9:.0f} GB/s. Python {versions['python']}, torch {versions['torch']}, "
        f"digan_fast {versions['digan_fast']} built by {compiler}, revision {commit['id'][:12]}"
        f"{' with changes' if commit.get('dirty') else ''}, {results['datetime'][:10]}."
    )


SECTIONS: dict[str, Callable[[Results], str]] = {
    "machine": machine,
    "headlines": headlines,
    "rows": all_rows,
    "forms": forms,
    "quality": quality,
    "generators": generators,
}


def fill(page: str, results: Results) -> str:
    """The page with its marked sections replaced.  Raises ValueError for an unknown section name."""
    return pages.fill(page, "bench", {name: partial(make, results) for name, make in SECTIONS.items()})


def rewrite(path: Path, results: Results) -> Path:
    """Fills a page in place; its path."""
    page = fill(path.read_text(encoding="utf-8"), results)
    with replacing(path) as beside:
        Path(beside).write_text(page, encoding="utf-8")
    return path


def write(results: Results, root: Path) -> list[Path]:
    """Rewrites the pages and draws the plots below ``root``; the paths written."""
    written = [rewrite(root / name, results) for name in PAGES]
    (root / IMAGES).mkdir(parents=True, exist_ok=True)
    named = dict(infos(results))
    for draw, entries in (
        (plots.pareto, [point for info in named.values() for point in info.get("quality", ())]),
        (plots.speed, [info for name, info in named.items() if name == "test_video"]),
        (plots.clips, [clip for info in named.values() for clip in info.get("generators", ())]),
    ):
        if entries:
            target = root / IMAGES / f"{draw.__name__}.png"
            draw(entries, target)
            written.append(target)
    return written


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Write measurements into the pages and plots.")
    parser.add_argument("results", type=Path, help="the file written by pytest bench --benchmark-json=FILE")
    parser.add_argument("--root", type=Path, default=ROOT, help="the folder that contains the pages")
    parser.add_argument("--page", type=Path, help="fill this page alone, and draw nothing")
    options = parser.parse_args(arguments)
    results: Results = json.loads(options.results.read_text())
    if results["machine_info"]["quick"]:
        parser.error(f"{options.results} was measured with --quick; its numbers mean nothing")
    if results["machine_info"]["rounds"] < FEWEST_ROUNDS:
        parser.error(f"{options.results} has fewer than {FEWEST_ROUNDS} rounds")
    for path in [rewrite(options.page, results)] if options.page else write(results, options.root):
        print(path)


if __name__ == "__main__":
    main()
