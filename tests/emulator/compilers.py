"""nvcc's and Triton's output for the interpreter. Needs no GPU; tests are skipped if a compiler is missing."""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from emulator import ptx
from emulator.toolkit import find_nvcc


def nvcc_ptx(source: Path, architecture: str = "compute_80", flags: Sequence[str] = ()) -> str:
    """The PTX of a CUDA file, compiled once per content and set of flags."""
    nvcc = find_nvcc()
    assert nvcc is not None, "no nvcc"
    command = [str(nvcc), "-ptx", "-O3", "-std=c++17", f"-arch={architecture}", *flags]
    key = hashlib.sha256(repr(command).encode() + source.read_bytes()).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"emulator-ptx-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    target = folder / f"{source.stem}-{key}.ptx"
    if not target.exists():
        partial = target.with_suffix(f".{os.getpid()}")
        subprocess.run([*command, "-o", str(partial), str(source)], check=True)
        partial.replace(target)
    return target.read_text()


def launch_triton(
    compiled: Any,
    grid: int | Sequence[int],
    args: Mapping[str, Any],
    *,
    memory: ptx.Memory | None = None,
    module: ptx.Module | None = None,
    **options: Any,
) -> ptx.Counters:
    """Launches a Triton `CompiledKernel` with its run-time arguments by name; names of constants are ignored.

    Pass `module=ptx.load(compiled.asm["ptx"])` to launch it more than once.
    """
    module = module or ptx.load(compiled.asm["ptx"])
    metadata = compiled.metadata
    names = [name for name, type_ in compiled.src.signature.items() if type_ != "constexpr"]
    missing = [name for name in names if name not in args]
    if missing:
        raise ptx.WrongLaunch(f"no value for {', '.join(missing)}", kernel=metadata.name)
    values = [args[name] for name in names]
    memory = memory or next((v.memory for v in values if isinstance(v, ptx.Allocation)), None) or ptx.Memory()
    name = module.find(metadata.name)
    scratch = len(module.compiled(name).kernel.parameters) - len(values)
    sizes = [getattr(metadata, f"{kind}_scratch_size", 0) or 0 for kind in ("global", "profile")][:scratch]
    blocks = 1
    for extent in (grid,) if isinstance(grid, int) else grid:
        blocks *= extent
    values += [memory.zeros(size * blocks, "u1", name="scratch") if size else 0 for size in sizes]
    if getattr(metadata, "num_ctas", 1) != 1:
        raise ptx.UnsupportedInstruction("clusters of blocks", kernel=metadata.name)
    threads = 32 * metadata.num_warps
    return module.launch(name, grid, threads, values, memory=memory, shared_bytes=metadata.shared, **options)
