"""Fills in the measured tables of the GPU pages: ``python -m bench.gpu.report``.

The results are read from docs/results/gpu.  A page marks a table by ``<!-- measured: NAME -->`` …
``<!-- measured: end -->``.  To publish another run, replace the file there by that run's
results.json, under the device's name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from bench import pages
from bench.pages import table

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "docs" / "results" / "gpu"
PAGES = ("docs/gpu.md", "docs/results/gpu.md", "docs/cuda-engine.md")

Parts = dict[str, dict[str, Any]]


def machine(parts: Parts) -> str:
    found = parts["smoke"]["machine"]
    device, versions = found["device"], found["versions"]
    rates = parts["video"]["rates"]
    return (
        f"{device['name']}, {device['multiprocessors']} multiprocessors, {device['L2'] / 2**20:.0f} MiB of L2; torch "
        f"{versions['torch']}, Triton {versions['triton']}, Python {versions['python']}, digan_fast "
        f"{versions['digan_fast']} built by {found['native'].get('compiler', 'none')}, revision "
        f"{found['revision'] or 'unknown'}. In the same process torch "
        f"copies {rates['copy'] / 1e12:.2f} TB/s, read and written, and multiplies square matrices of side 8192 at "
        f"{rates['bfloat16'] / 1e12:.0f} (bfloat16), {rates['tf32'] / 1e12:.0f} (tf32) and "
        f"{rates['float32'] / 1e12:.0f} TFLOP/s (float32)."
    )


def checks(parts: Parts) -> str:
    tests = parts["tests"]
    smoke = sum(case["state"] == "passed" for case in parts["smoke"].values())
    summaries = {name: case["summary"][-1] for name, case in parts["sanitize"].items() if case.get("summary")}
    rows = [
        ["`pytest -m gpu`", f"{tests['passed']} passed, {tests['failed']} failed, {tests['skipped']} skipped"],
        ["smoke, against float64", f"{smoke} of {len(parts['smoke'])} passed"],
        *([f"compute-sanitizer {name}", summary.lower()] for name, summary in summaries.items()),
    ]
    return table(["check", "found"], rows)


def video(parts: Parts) -> str:
    rows = []
    for name, case in parts["video"].items():
        if "ms" not in case:
            continue
        work, form = name.split(": ", 1)
        compiled = work.endswith(", compiled")
        # The comparison with torch.compile repeats forms; list each once.
        if compiled and not form.endswith(", compiled"):
            continue
        rows.append(
            [
                work.removesuffix(", compiled").replace("1 videos", "1 video"),
                form,
                f"{case['ms']:.3g}",
                f"{case['frames/s']:,.0f}",
                f"{case['of the roofline']:.0%}",
                f"{case['error']:.1e}",
            ]
        )
    return table(["16 frames of", "form", "ms", "frames/s", "of the roofline", "error"], rows)


def ops(parts: Parts) -> str:
    rows = []
    for name, case in parts["ops"].items():
        if "floor ms" not in case:
            continue
        work, direction = name.rsplit(": ", 1)
        times, graphs = case["ms"], case.get("ms as a graph", {})
        cells = []
        for form in ("cuda", "triton"):
            graph = f" ({graphs[form]:.3g})" if form in graphs else ""
            cells.append(f"{times[form]:.3g}{graph}" if form in times else "")
        rows.append([work, direction, f"{case['floor ms']:.3g}", f"{times['reference']:.3g}", *cells])
    return table(["op", "", "roofline, ms", "plain PyTorch, ms", "cuda (as a graph)", "triton (as a graph)"], rows)


def training(parts: Parts) -> str:
    rows = []
    for name, case in parts["training"].items():
        if "ms" not in case:
            continue
        precision, phase = name.split(": ")
        times, peaks = case["ms"], case.get("peak MB", {})
        rows.append(
            [
                precision,
                phase,
                *(f"{times[form]:.0f}" for form in ("published", "reference", "triton", "cuda")),
                f"{times['published'] / times['cuda']:.2f}×",
                f"{peaks['cuda'] / 1e3:.1f} / {peaks['published'] / 1e3:.1f}" if peaks else "",
            ]
        )
    head = ["precision", "16 pairs", "published, ms", "plain PyTorch", "triton", "cuda", "published / cuda", "peak GB"]
    return table(head, rows)


def kernels(parts: Parts) -> str:
    rows = []
    for name, case in parts["sanitize"].items():
        for kernel, found in list(case.get("kernels", {}).items())[:2]:
            short = re.sub(r"^void |digan_fast::|\(.*$", "", kernel)
            rows.append(
                [
                    name.removeprefix("ncu, "),
                    f"`{short}`",
                    str(found["launches"]),
                    f"{found['us'] / 1e3:.2f}",
                    f"{found['tensor pipe %']:.0f}",
                    f"{found['warps %']:.0f}",
                    f"{found['L2 MB'] / 1e3:.2f}",
                    f"{found['DRAM MB'] / 1e3:.2f}",
                ]
            )
    head = ["4 videos", "kernel", "launches", "ms", "tensor pipe, %", "warps, %", "L2, GB", "DRAM, GB"]
    return table(head, rows)


SECTIONS: dict[str, Callable[[Parts], str]] = {
    "machine": machine,
    "checks": checks,
    "video": video,
    "ops": ops,
    "training": training,
    "kernels": kernels,
}


def fill(page: str, parts: Parts) -> str:
    """The page with its marked sections replaced.  Raises ValueError for an unknown section name."""
    return pages.fill(page, "measured", {name: partial(make, parts) for name, make in SECTIONS.items()})


def filled(results: Path) -> dict[Path, str]:
    """Each page's text, filled with the results of one device."""
    parts: Parts = json.loads(results.read_text(encoding="utf-8"))["parts"]
    return {ROOT / name: fill((ROOT / name).read_text(encoding="utf-8"), parts) for name in PAGES}


def main() -> None:
    for path, text in filled(RESULTS / "nvidia-h200.json").items():
        path.write_text(text, encoding="utf-8")
        print(path)


if __name__ == "__main__":
    main()
