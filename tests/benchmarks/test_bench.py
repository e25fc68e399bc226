"""The benchmarks' machinery: operation counts, peak rates, interleaving, memory, the report."""

from __future__ import annotations

import json
import math
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from bench import harness, memory, plots, report, work
from bench.cases import generator
from bench.harness import Effort, Form, Measure, Row, Times
from digan_fast import Generator, dispatch

ROOT = Path(__file__).resolve().parents[2]


class Benchmark:
    """The part of pytest-benchmark's fixture that the harness uses."""

    def __init__(self) -> None:
        self.extra_info: dict[str, Any] = {}

    def pedantic(self, target: Any, setup: Any, rounds: int, warmup_rounds: int) -> None:
        for _ in range(rounds + warmup_rounds):
            setup()
            target()


def test_the_work_of_digan_is_236_gflop() -> None:
    with torch.device("meta"), torch.no_grad():
        G = Generator()
        inr = G.inr(torch.empty(1, 512), z_motion=torch.empty(1, 512))
    assert sum(p.numel() for p in G.parameters()) == pytest.approx(63.5e6, rel=1e-3)
    assert work.render_flops(inr, 16) == pytest.approx(236.2e9, rel=1e-4)
    assert work.render_flops(inr, 1) == pytest.approx(2 * 7.38e9, rel=1e-3)
    assert work.render_flops(inr, 1, size=256) == 4 * work.render_flops(inr, 1)


def test_inputs_from_the_coarser_level_count_on_its_grid() -> None:
    with torch.no_grad():
        inr = generator(quick=True).inr(torch.randn(2, 16))
    # Grids of 8², 8², 16², 32²; 32, 32, 32, 16 channels; 8 sines and 8 cosines on every new grid.
    macs = 8**2 * (32 * 16 + 2 * 32 * 32) + 16**2 * (32 * 32 / 4 + 32 * 16 + 32 * 32)
    macs += 32**2 * (16 * 32 / 4 + 16 * 16 + 2 * 16 * 16)
    assert work.render_flops(inr, 3) == 2 * macs * 3 * 2


def peak_rate() -> Any:
    try:
        return dispatch.native_module().peak_rate
    except ImportError:
        pytest.skip("the native module is not built")


def test_peaks_are_rates_of_this_machine() -> None:
    rate = peak_rate()
    assert 1e8 < rate("fma", 1, 0.01) < 1e13
    isa = dispatch.native_module().isa()
    vectors = {"vdpbf16ps", "vpdpbusd"} if isa == "avx512bf16" or isa.startswith("amx") else set()
    tiles = {"tdpbf16ps", "tdpbsud"} if isa.startswith("amx") else set()
    for unit in {unit for units in work.UNITS.values() for unit in units}:
        found, instruction = work.peak_rate(unit, 1), unit.partition(" / ")[0]
        if instruction not in {"fma", *vectors, *tiles}:
            assert found is None
            with pytest.raises(ValueError, match=f"'{instruction}', which the instruction set"):
                rate(instruction, 1, 0.01)
        else:
            assert found is not None
            assert found > 1e8


def test_bad_arguments_of_the_peak_are_named() -> None:
    rate = peak_rate()
    for arguments, named in (
        (("mul", 1, 0.1), "instruction is 'mul', expected fma, vdpbf16ps, vpdpbusd, tdpbf16ps or tdpbsud"),
        (("fma", 0, 0.1), "threads is 0"),
        (("fma", 1, 0.0), "seconds is 0"),
        (("fma", 1, math.nan), "seconds is nan"),
        (("fma", 1, 61.0), "seconds is 61"),
    ):
        with pytest.raises(ValueError, match=named):
            rate(*arguments)


def test_forms_are_interleaved_and_ratios_are_within_rounds() -> None:
    order: list[str] = []
    forms = [Form(name, lambda name=name: order.append(name)) for name in "ABC"]  # type: ignore[misc]
    benchmark = Benchmark()
    times = harness.race(benchmark, forms, Effort(rounds=3, seconds=0.0))
    assert "".join(order) == "ABC" + "BCA" * 4  # the calls' durations, a warm-up, three rounds
    assert {len(seconds) for seconds in times.seconds.values()} == {3}
    assert set(benchmark.extra_info["forms"]) == set("ABC")
    assert json.loads(json.dumps(benchmark.extra_info)) == benchmark.extra_info

    times = Times([Form("A", print, flops=6.0)])
    times.seconds = {"A": [1.0, 2.0, 8.0], "B": [3.0, 4.0, 8.0]}
    times.rates = {"fma": [8.0, 6.0, 1.0]}
    assert times.ratio("B", "A") == Measure(2, 1, 3)  # of 3, 2, 1
    share = times.share("A")  # of 6/8/1, 6/6/2, 6/1/8
    assert share is not None
    assert share.value == 0.75


def test_the_roofline_is_that_of_the_fastest_unit() -> None:
    times = Times([Form("A", print, flops=8.0, precision="bfloat16")])
    times.seconds = {"A": [1.0, 1.0, 1.0]}
    times.rates = {"fma": [16.0, 16.0, 16.0], "vdpbf16ps": [8.0, 40.0, 8.0]}
    assert times.unit("bfloat16") == "fma"
    assert times.share("A") == Measure(0.5, 0.5, 0.5)
    assert times.as_data()["forms"]["A"]["unit"] == "fma"
    assert times.unit("int8") == "fma"
    times.rates = {}
    assert times.unit("float32") is None
    assert times.share("A") is None


def test_a_stalled_round_does_not_decide_a_verdict() -> None:
    times = Times([])
    times.seconds = {"ours": [3.24, 3.26], "compiled": [5.46, 237.5]}
    row = Row("work", "speed-up", times.ratio("compiled", "ours"), "×", 2.0)
    assert row.met is None
    assert "undecided" in report.text(row.as_data())[0]
    times.seconds = {"ours": [3.2] * 7, "compiled": [5.2, 5.1, 237.5, 5.2, 5.3, 5.2, 5.1]}
    row = Row("work", "speed-up", times.ratio("compiled", "ours"), "×", 2.0)
    assert row.met is False
    assert report.text(row.as_data())[0] == "1.62× ✗"


def test_wrong_results_are_not_timed() -> None:
    benchmark = Benchmark()
    with pytest.raises(AssertionError, match=r"off: its error is 2.00e\+00, bound 1e\+00"):
        harness.race(benchmark, [Form("off", lambda: None, lambda _: 2.0, 1.0)], Effort(1, 0.0))
    assert not benchmark.extra_info


@pytest.mark.skipif(memory.why_not() is not None, reason=memory.why_not() or "")
def test_peak_memory_is_measured_after_it_is_freed() -> None:
    begin = memory.reset_peak()
    torch.ones(16 << 20)
    assert 62e6 < memory.resident_peak() - begin < 72e6
    assert memory.reset_peak() - begin < 16e6


def results(quick: bool = False) -> dict[str, Any]:
    """In the format of `pytest bench --benchmark-json`."""
    times = Times([Form("float32, from ws", print, flops=1e9), Form("published", print)])
    times.seconds = {"float32, from ws": [0.010, 0.011, 0.012], "published": [0.05, 0.06, 0.07]}
    times.rates = {"fma": [1.2e11] * 3}
    times.errors = {"published": 1e-7}
    video = Benchmark()
    video.extra_info.update(times.as_data())
    rows = [
        Row("16 frames at 128², float32", "speed-up over published, from ws", 5.4, "×", 4.5),
        Row("one frame", "of the time of 16 frames", 0.08, "%", 1 / 13, at_least=False),
        Row("16 frames at 128², bfloat16", "of the roofline", None, "%", 0.8),
        Row("16 frames at 128², float32", "frames a second", 1234.5, ""),
    ]
    harness.report(video, rows)
    points = [
        {"form": f, "precision": p, "levels": n, "size": s, "psnr": d, "ssim": m, "seconds": t}
        for f, p, n, s, d, m, t in (
            ("digan_fast", "float32", 2, 128, None, 1.0, 0.004),
            ("digan_fast", "bfloat16", 2, 128, 52.0, 0.999, 0.002),
            ("digan_fast", "bfloat16", 1, 64, 20.0, 0.7, 0.0004),
            ("digan_fast", "float32", 1, 64, 19.0, 0.6, 0.001),
            ("plain PyTorch", "float32", 1, 64, 19.0, 0.6, 0.003),
            ("plain PyTorch", "bfloat16", 2, 128, 51.0, 0.999, 0.02),
            ("published", "float32", 2, 64, 19.0, 0.6, 0.01),
        )
    ]  # fmt: skip
    ours = {
        "versions": {"python": "3.11", "torch": "2.13", "digan_fast": "0.1.0"},
        "machine": {"chosen_instruction_set": "avx512bf16"},
        "native": {"compiler": "GNU 12.2.0"},
    }
    return {
        "machine_info": {
            "machine": "x86_64", "cpu": {"brand_raw": "AMD EPYC", "count": 2}, "threads": 2, "quick": quick,
            "rounds": 7, "copy_bytes_per_second": 3e10, "digan_fast": ours,
        },
        "commit_info": {"id": "0123456789abcdef", "dirty": True},
        "datetime": "2026-01-02T03:04:05",
        "benchmarks": [
            {"name": "test_video", "extra_info": video.extra_info},
            {"name": "test_cost_against_quality", "extra_info": {"quality": points}},
        ],
    }  # fmt: skip


def test_the_report_fills_its_pages(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    measured = tmp_path / "results.json"
    measured.write_text(json.dumps(results()))
    (tmp_path / "docs" / "results").mkdir(parents=True)
    for page in report.PAGES:
        shutil.copy(ROOT / page, tmp_path / page)
    report.main([str(measured), "--root", str(tmp_path)])
    written = capsys.readouterr().out.split()
    pages = [Path(page).name for page in report.PAGES]
    assert [Path(path).name for path in written] == [*pages, "pareto.png", "speed.png"]
    assert all(Path(path).stat().st_size > 1000 for path in written)
    readme, performance, page = ((tmp_path / name).read_text() for name in report.PAGES)
    headline = "| 16 frames at 128², float32 | speed-up over published, from ws | ≥ 4.5× | 5.40× ✓ |"
    for line in (
        headline,
        "| one frame | of the time of 16 frames | ≤ 7.69 % | 8.0 % ✗ |",
        "| 16 frames at 128², bfloat16 | of the roofline | ≥ 80 % | not available here |",
        "| 16 frames at 128², float32 | frames a second | – | 1234 |",
    ):
        assert line in page
        assert (line in readme) == (line in performance) == (line == headline)
    assert "AMD EPYC, 2 cores, 2 threads, instruction set avx512bf16" in page
    assert "float32 120 GFLOP/s (fma)" in page
    assert "revision 0123456789ab with changes, 2026-01-02." in page
    assert "| `test_video` | float32, from ws | 11.0 ms | 10.0 ms – 12.0 ms | 91 | 76 % of fma | – |" in page
    assert "| digan_fast | float32 | 2 | 128² | exact | 1.0000 | 4.00 ms |" in page
    report.main([str(measured), "--root", str(tmp_path)])
    assert (tmp_path / "README.md").read_text() == readme


def test_the_report_fills_one_page_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    measured, page = tmp_path / "results.json", tmp_path / "page.md"
    measured.write_text(json.dumps(results()))
    shutil.copy(ROOT / "docs" / "results" / "cpu-amx.md", page)
    report.main([str(measured), "--page", str(page)])
    assert capsys.readouterr().out.split() == [str(page)]
    assert "| 16 frames at 128², float32 | speed-up over published, from ws | ≥ 4.5× | 5.40× ✓ |" in page.read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["page.md", "results.json"]


def test_quick_and_short_runs_are_not_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    measured = tmp_path / "results.json"
    measured.write_text(json.dumps(results(quick=True)))
    with pytest.raises(SystemExit):
        report.main([str(measured), "--root", str(tmp_path)])
    assert "its numbers mean nothing" in capsys.readouterr().err
    few = results()
    few["machine_info"]["rounds"] = 2
    measured.write_text(json.dumps(few))
    with pytest.raises(SystemExit):
        report.main([str(measured), "--root", str(tmp_path)])
    assert "fewer than 5 rounds" in capsys.readouterr().err


def test_marks_of_the_pages() -> None:
    with pytest.raises(ValueError, match="nonsense -->: expected one of machine"):
        report.fill("<!-- bench: nonsense -->\n<!-- bench: end -->", results())
    for name in report.PAGES:
        marks = re.findall(r"<!-- bench: (\S+) -->", (ROOT / name).read_text())
        assert marks[1::2] == ["end"] * (len(marks) // 2)
        assert set(marks[::2]) <= set(report.SECTIONS)
        assert len(marks) >= 2


def test_the_pareto_front() -> None:
    points = [{"seconds": t, "ssim": q} for t, q in ((1, 0.5), (2, 0.4), (3, 0.9), (3, 0.8), (4, 0.9))]
    assert plots.front(points, "ssim") == [{"seconds": 1, "ssim": 0.5}, {"seconds": 3, "ssim": 0.9}]
