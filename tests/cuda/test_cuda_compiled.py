"""Registers, shared memory and occupancy of each kernel on each architecture as compiled by nvcc; no spills.

They are recorded in compiled.txt, which names the version of nvcc; DIGAN_FAST_RECORD=1 rewrites it.
"""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import builds
import pytest
from harness import LARGE_SHARED, recorded, symbol_name

TABLE = Path(__file__).parent / "compiled.txt"
RECORD = os.environ.get("DIGAN_FAST_RECORD") == "1"
ARCHITECTURES = (80, 86, 89, 90, 100, 120)
# Shared memory in bytes and threads per multiprocessor.
SHARED = {80: 164 << 10, 86: 100 << 10, 89: 100 << 10, 90: 228 << 10, 100: 228 << 10, 120: 100 << 10}
THREADS = {80: 2048, 86: 1536, 89: 1536, 90: 2048, 100: 2048, 120: 1536}
REGISTERS, BLOCKS, RESERVED = 65536, 32, 1024


@dataclass(frozen=True)
class Compiled:
    name: str
    arch: int
    registers: int
    static_bytes: int
    stack: int
    spills: int

    def row(self, threads: int, dynamic_bytes: int) -> str:
        shared = self.static_bytes + dynamic_bytes
        warps = threads // 32
        of_a_warp = -(-self.registers * 32 // 256) * 256
        blocks = min(
            REGISTERS // of_a_warp // warps, SHARED[self.arch] // (shared + RESERVED), THREADS[self.arch] // threads
        )
        cells = (self.name, f"sm_{self.arch}", f"{threads} threads", f"{self.registers} registers", f"{shared} shared")
        spilled = f"{self.stack} stack, {self.spills} spilled"
        return "; ".join((*cells, spilled, f"{min(blocks, BLOCKS)} blocks of {warps} warps"))


def compiled(nvcc: Path, source: Path, arch: int) -> list[Compiled]:
    _, told = builds.nvcc_cubin(nvcc, source, f"sm_{arch}")
    pattern = (
        r"Compiling entry function '(\w+)' for[^\n]*\n(?:[^\n]*\n)?\s*(\d+) bytes stack frame, "
        r"(\d+) bytes spill stores, (\d+) bytes spill loads\n[^\n]*Used (\d+) registers([^\n]*)"
    )
    rows = []
    for symbol, stack, stores, loads, registers, rest in re.findall(pattern, told):
        static = re.search(r"(\d+) bytes smem", rest)
        spills = int(stores) + int(loads)
        rows.append(Compiled(symbol, arch, int(registers), int(static[1]) if static else 0, int(stack), spills))
    assert len(rows) == told.count("Compiling entry function"), told
    return rows


def version(nvcc: Path) -> str:
    told = subprocess.run([str(nvcc), "--version"], text=True, capture_output=True, check=True).stdout
    found = re.search(r"V([\d.]+)", told)
    assert found is not None
    return f"nvcc {found[1]}"


_rows: dict[tuple[str, int], str] = {}


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("source", builds.cuda_sources(), ids=lambda path: path.stem)
def test_fits_without_spills(source: Path, arch: int, nvcc: Path) -> None:
    launches = recorded()
    found = compiled(nvcc, source, arch)
    assert found
    limit = LARGE_SHARED if arch == 80 else SHARED[arch] - RESERVED
    for kernel in found:
        assert kernel.name in launches, f"no test launches {kernel.name}"
        threads, dynamic_bytes = launches[kernel.name]
        assert kernel.spills == kernel.stack == 0
        needs_more = (
            limit < LARGE_SHARED and re.search(r"(render_stage|evaluate_mlp).*Li512ELi4E", kernel.name) is not None
        )
        assert (kernel.static_bytes + dynamic_bytes <= limit) != needs_more
        if not needs_more:
            row = kernel.row(threads, dynamic_bytes).replace(kernel.name, symbol_name(kernel.name))
            _rows[kernel.name, arch] = row
    rows = [_rows[key] for key in sorted(_rows) if key[1] == arch and key[0] in {kernel.name for kernel in found}]
    if not RECORD:
        head, *table = TABLE.read_text().splitlines()
        if head != version(nvcc):
            pytest.skip(f"the table is of {head}")
        assert set(rows) <= set(table), "\n".join(sorted(set(rows) - set(table)))


def test_the_table_lists_no_other_kernels(nvcc: Path) -> None:
    names = {kernel.name for source in builds.cuda_sources() for kernel in compiled(nvcc, source, 80)}
    if RECORD:
        TABLE.write_text("\n".join([version(nvcc), *sorted(_rows.values())]) + "\n")
    table = TABLE.read_text().splitlines()[1:]
    assert {row.split("; ")[0] for row in table} == {symbol_name(name) for name in names}
