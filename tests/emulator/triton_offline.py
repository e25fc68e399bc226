"""Triton's JIT without a GPU: launches in a block compile for an architecture and optionally run in the emulator.

    with offline(80, execute=True) as launches:
        some_kernel[grid](out, x, n, BLOCK=64, num_warps=4)  # CPU tensors
    launches[0].resources, launches[0].ptx, launches[0].counters

A launch takes the JIT's own path up to the driver, so the code is specialised for the real types, addresses (16-byte
alignment) and integers (divisibility by 16, equality to 1), as it would be on the device.
"""

from __future__ import annotations

import contextlib
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.backends.driver import DriverBase
from triton.runtime import driver
from triton.runtime.jit import JITFunction

from emulator import ptx
from emulator.compilers import launch_triton

ARCHITECTURES = (80, 90, 100, 120)
# Shared memory available to one block.
SHARED_LIMIT = {80: 99 << 10, 90: 227 << 10, 100: 227 << 10, 120: 99 << 10}
# Address space of a launch's tensors, in bytes.
CAPACITY = 1 << 30

_TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
_INSTRUCTIONS = {
    "mma": r"\bmma\.sync",
    "wgmma": r"\bwgmma\.mma_async",
    "tcgen05": r"\btcgen05\.mma",
    "ldmatrix": r"\bldmatrix",
    "cp.async.16": r"\bcp\.async\.c[ag]\.shared\.global[^;]*, (?:0x10|16)\b",
    "ld.16": r"\bld\.global\S*\.v4\.b32|\bld\.global\S*\.v2\.b64|\bld\.global\S*\.v8\.",
    "st.16": r"\bst\.global\S*\.v4\.b32|\bst\.global\S*\.v2\.b64|\bst\.global\S*\.v8\.",
    "atom": r"\b(?:atom|red)\.",
}


@dataclass(frozen=True)
class Resources:
    """Resources of the machine code: registers and stack (accessed by spills) per thread, shared memory per block."""

    registers: int
    stack: int
    spills: int
    shared: int


@dataclass(frozen=True)
class Launch:
    """One launch: the compiled kernel, its arguments by name, and the emulator's counts if it ran."""

    name: str
    compiled: Any
    grid: tuple[int, ...]
    arguments: Mapping[str, Any]
    counters: ptx.Counters | None = field(default=None, compare=False)

    @property
    def ptx(self) -> str:
        text: str = self.compiled.asm["ptx"]
        return text

    @property
    def resources(self) -> Resources:
        return resources(self.compiled)

    @property
    def instructions(self) -> dict[str, int]:
        """Occurrences of each relevant kind of instruction in the PTX."""
        return {name: len(re.findall(pattern, self.ptx)) for name, pattern in _INSTRUCTIONS.items()}

    @property
    def compulsory_bytes(self) -> int:
        """Bytes of every tensor passed, counted once."""
        tensors = (a for a in self.arguments.values() if isinstance(a, torch.Tensor))
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _tool(name: str, *arguments: str, cubin: bytes) -> str:
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        command = [str(_TOOLS / name), *arguments, file.name]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def resources(compiled: Any) -> Resources:
    usage = _tool("cuobjdump", "--dump-resource-usage", cubin=compiled.asm["cubin"])
    found = {key: int(value) for key, value in re.findall(r"(REG|STACK|LOCAL):(\d+)", usage)}
    code = _tool("nvdisasm", "-c", cubin=compiled.asm["cubin"])
    spills = len(re.findall(r"^\s*/\*[0-9a-f]+\*/\s+(?:@!?U?P\w+ +)?(?:LDL|STL)\b", code, re.MULTILINE))
    return Resources(found["REG"], found["STACK"] + found["LOCAL"], spills, compiled.metadata.shared)


class _OfflineDriver(DriverBase):
    """The driver interface that the JIT uses before a launch.  Each architecture is a device with caches of its own."""

    def __init__(self, architecture: int) -> None:
        self.architecture = architecture

    @staticmethod
    def is_active() -> bool:
        return False

    def map_python_to_cpp_type(self, ty: str) -> str:
        raise NotImplementedError("offline")

    def get_benchmarker(self) -> Any:
        raise NotImplementedError("offline")

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", self.architecture, 32)

    def get_active_torch_device(self) -> torch.device:
        return torch.device("cpu")

    def get_current_device(self) -> int:
        return self.architecture

    def get_current_stream(self, device: int | None = None) -> int:
        return 0


@contextlib.contextmanager
def offline(
    architecture: int,
    execute: bool = False,
    programs: Callable[[Mapping[str, Any]], int] | None = None,
    **options: Any,
) -> Iterator[list[Launch]]:
    """Launches within this block compile for sm_``architecture``; with ``execute`` the emulator runs their PTX.

    Tensors are on the CPU.  Of each launch, the first ``programs(arguments)`` programs run, or all.  ``options`` are
    passed to the emulator's launch.
    """
    launches: list[Launch] = []
    stock = JITFunction.run

    def run(kernel: Any, *args: Any, grid: Any, warmup: bool, **named: Any) -> Any:
        compiled = stock(kernel, *args, grid=grid, warmup=True, **named)
        parameters = set(kernel.signature.parameters)
        bound = kernel.signature.bind(*args, **{key: value for key, value in named.items() if key in parameters})
        bound.apply_defaults()
        blocks = grid(bound.arguments) if callable(grid) else grid
        chosen = {} if programs is None else {"blocks": range(programs(bound.arguments))}
        counters = _execute(compiled, blocks, bound.arguments, {**options, **chosen}) if execute else None
        launches.append(Launch(kernel.fn.__name__, compiled, tuple(blocks), dict(bound.arguments), counters))
        return compiled

    active = driver._active
    JITFunction.run = run
    driver.set_active(_OfflineDriver(architecture))
    try:
        yield launches
    finally:
        JITFunction.run = stock
        driver._active = active


def _bytes(tensor: torch.Tensor) -> np.ndarray:
    """The tensor's storage from its first element on, as bytes that alias it."""
    extent = 1 + sum((n - 1) * step for n, step in zip(tensor.shape, tensor.stride(), strict=True))
    flat = tensor.detach().as_strided((extent,), (1,)).view(torch.uint8)
    return flat.numpy()


def _execute(
    compiled: Any, grid: tuple[int, ...], arguments: Mapping[str, Any], options: Mapping[str, Any]
) -> ptx.Counters:
    memory = ptx.Memory(CAPACITY)
    passed: dict[str, Any] = dict(arguments)
    allocations: dict[str, ptx.Allocation] = {}
    for name, value in arguments.items():
        if isinstance(value, torch.Tensor):
            content = _bytes(value) if value.numel() else np.zeros(0, np.uint8)
            allocations[name] = passed[name] = memory.array(content, name=name)
    counters = launch_triton(compiled, grid, passed, memory=memory, **options)
    for name, allocation in allocations.items():
        if arguments[name].numel():
            _bytes(arguments[name])[:] = allocation.array
    return counters
