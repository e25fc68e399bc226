"""Structural design decisions of csrc/cpu and csrc/cuda (see their README.md), enforced as tests."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from instruction_sets import ISAS

ROOT = Path(__file__).resolve().parents[2]
CPU = ROOT / "csrc" / "cpu"
SOURCES = sorted(path for path in CPU.rglob("*") if path.suffix in {".cpp", ".h"})
# Includes run from later strata to earlier ones, or within one.
STRATA = (("runtime", "simd"), ("gemm",), ("fourier",), ("ops", "render"), ("dispatch.cpp",))
RANK = {name: rank for rank, names in enumerate(STRATA) for name in names}
CUDA = ROOT / "csrc" / "cuda"
CUDA_SOURCES = sorted(path for path in CUDA.rglob("*") if path.suffix in {".cu", ".cuh", ".h", ".in"})
# Files directly in the folder are the lowest stratum, "".
CUDA_RANK = {"": 0, "fused": 1, "gemm": 1, "reduce": 1, "ops": 2, "mlp": 3}


def included(path: Path) -> set[str]:
    return set(re.findall(r'#\s*include "([^"]+)"', path.read_text()))


def stratum(name: str) -> str:
    return name.split("/")[0]


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(CPU)))
def test_includes_run_one_way(path: Path) -> None:
    here = stratum(path.relative_to(CPU).as_posix())
    for name in included(path):
        there = stratum(name)
        if there == "digan_fast":
            assert (ROOT / "csrc" / "include" / name).exists()
            continue
        assert (CPU / name).exists(), name
        assert RANK[there] < RANK[here] or there == here, f"{path.relative_to(CPU)} includes {name}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(CPU)))
def test_file_names_tell_what_is_compiled_per_instruction_set(path: Path) -> None:
    in_namespace = "namespace digan_fast::DIGAN_FAST_ISA {" in path.read_text()
    per_isa = path.name.endswith(("_kernel.cpp", "-inl.h"))
    assert in_namespace == per_isa
    assert per_isa or not {name for name in included(path) if name.endswith("-inl.h")}


def test_instruction_set_macros_are_confined() -> None:
    """Instruction set macros occur only in simd/, the GEMM's traits and microkernels, and the loops of peak rates."""
    macro = re.compile(r"__AVX\w*__|__FMA__")
    found = {path.relative_to(CPU).as_posix() for path in SOURCES if macro.search(path.read_text())}
    assert {name for name in found if stratum(name) != "simd"} <= {
        "gemm/isa_traits-inl.h",
        "gemm/microkernel-inl.h",
        "ops/peak_kernel.cpp",
    }


@pytest.mark.parametrize("path", CUDA_SOURCES, ids=lambda p: str(p.relative_to(CUDA)))
def test_includes_of_cuda_run_one_way(path: Path) -> None:
    here = path.relative_to(CUDA).parent.as_posix().removeprefix(".")
    for name in included(path):
        there = Path(name).parent.as_posix().removeprefix(".")
        if there == "digan_fast":
            assert (ROOT / "csrc" / "include" / name).exists()
            continue
        if name == "simulator.h":
            assert path.name in {"launch.h", "ptx.cuh"}
            continue
        assert (CUDA / name).exists(), name
        assert CUDA_RANK[there] < CUDA_RANK[here] or there == here, f"{path.relative_to(CUDA)} includes {name}"


def test_inline_ptx_is_in_one_file() -> None:
    assert [path.name for path in CUDA_SOURCES if re.search(r"\basm\b", path.read_text())] == ["ptx.cuh"]


@pytest.mark.parametrize("isa", ISAS)
def test_no_weak_symbol_leaves_its_namespace(isa: str) -> None:
    """The linker could keep a weak symbol compiled with AVX-512 for every processor."""
    objects = [o for folder in ROOT.glob("build/native-*") for o in folder.glob(f"CMakeFiles/cpu_{isa}.dir/**/*.o")]
    nm = shutil.which("nm")
    if not objects or nm is None:
        pytest.skip("no object files in the tree, or no nm")
    own = f"{len('digan_fast')}digan_fast{len(isa)}{isa}"
    for path in objects:
        told = subprocess.run(
            [nm, "--format=posix", "--defined-only", path], capture_output=True, text=True, check=True
        )
        for line in told.stdout.splitlines():
            name, kind = line.split()[:2]
            if kind in "WVu" and not name.startswith("DW.ref"):
                assert own in name, f"{path.name} emits {name}"
