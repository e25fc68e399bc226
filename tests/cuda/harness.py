"""The CUDA backend's Python code on CPU tensors, with the simulator or the PTX interpreter instead of a GPU."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import builds
import numpy as np
import torch
from emulator import ptx
from torch import Tensor

from digan_fast.ops import _cuda

# Names of the pointers whose memory kernels write before anything reads it.
WRITTEN = re.compile(r"out$|workspace$|partials$|^d[a-z_]+$")
LARGE_SHARED = 163 * 1024


@functools.cache
def simulated_module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("simulated", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def _in_place_of_cuda(module: Any, address: Any) -> Iterator[None]:
    """The CUDA backend accepts CPU tensors, and ``module`` replaces the compiled one."""
    replaced = {
        "DEVICE": "cpu",
        "module": lambda: module,
        "stream": lambda _: 0,
        "on_device": lambda _: contextlib.nullcontext(),
        "address": address,
    }
    before = {name: getattr(_cuda, name) for name in replaced}
    try:
        for name, value in replaced.items():
            setattr(_cuda, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(_cuda, name, value)


@contextlib.contextmanager
def simulated(root: Path = builds.ROOT, **settings: Any) -> Iterator[ModuleType]:
    """Calls of the CUDA backend run in the simulator; ``settings`` are the arguments of its ``set``."""
    module = simulated_module(builds.simulated_module(root=root))
    module.set(**settings)
    with _in_place_of_cuda(module, _cuda.address):
        yield module
    module.take_launches()
    module.set()


def symbol_name(symbol: str) -> str:
    """`render_stage<Bfloat16, 64, 4>` from a mangled (Itanium) name in digan_fast::cuda."""
    name, rest = _part(symbol.removeprefix("_ZN10digan_fast4cuda").removeprefix("_Z"))
    arguments = []
    if rest.startswith("I"):
        for kind, value in re.findall(r"(NS0_\d+|L[ib])(\w*?)E", rest[1 : rest.index("EE") + 1]):
            arguments.append(value if kind.startswith("NS0_") else int(value))
    return f"{name}<{', '.join(map(str, arguments))}>" if arguments else name


def _part(symbol: str) -> tuple[str, str]:
    digits = re.match(r"\d+", symbol)
    assert digits is not None, symbol
    end = digits.end() + int(digits[0])
    return symbol[digits.end() : end], symbol[end:]


@dataclass(eq=False)
class Launch:
    """One executed kernel launch; ``tensors`` holds the bytes of its tensors by name."""

    kernel: str
    blocks: int
    threads: int
    shared_bytes: int
    counters: ptx.Counters
    tensors: dict[str, int] = field(default_factory=dict)

    @property
    def short_name(self) -> str:
        """The kernel's name with its template arguments."""
        return symbol_name(self.kernel)

    @property
    def bytes_moved(self) -> int:
        return self.counters.unique_bytes_read + self.counters.unique_bytes_written


class _Executing:
    """Stands in for the compiled module: records launches and executes them one after another."""

    def __init__(self, module: ModuleType, nvcc: Path, root: Path) -> None:
        self.module, self.nvcc, self.root = module, nvcc, root
        self.tensors: list[tuple[str, Tensor]] = []
        self.launches: list[Launch] = []

    def address(self, tensor: Tensor | None, name: str, *args: Any, **kwargs: Any) -> int:
        if tensor is not None:
            self.tensors.append((name, tensor))
        return self.stock(tensor, name, *args, **kwargs)

    stock = staticmethod(_cuda.address)

    def __getattr__(self, name: str) -> Any:
        function = getattr(self.module, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            result = function(*args, **kwargs)
            taken = self.module.take_launches()
            if taken:
                self._execute(taken)
                self.tensors.clear()
            return result

        return call

    def _execute(self, taken: list[tuple[str, int, int, int, bytes]]) -> None:
        gpu = ptx.Memory()
        places = []
        for name, tensor in self.tensors:
            values = tensor.detach().view(torch.uint8) if tensor.numel() else torch.empty(0, dtype=torch.uint8)
            flat = values.reshape(-1).numpy()
            written = WRITTEN.search(name) is not None
            found = gpu.empty(flat.size, np.uint8, name=name) if written else gpu.array(flat, read_only=True, name=name)
            places.append((tensor.data_ptr(), flat, found, written))
        sizes = {name: tensor.nbytes for name, tensor in self.tensors}
        for kernel, blocks, threads, shared_bytes, params in taken:
            module = _ptx_with(kernel, self.nvcc, self.root)
            moved = _moved(params, [(start, flat.size, found.address) for start, flat, found, _ in places])
            counters = module.launch(
                kernel, blocks, threads, [moved], memory=gpu, shared_bytes=shared_bytes, budget=1 << 30
            )
            self.launches.append(Launch(kernel, blocks, threads, shared_bytes, counters, sizes))
        for _, flat, found, written in places:
            if written:
                flat[:] = found.array


def _moved(params: bytes, places: list[tuple[int, int, int]]) -> bytes:
    """A launch's parameters, with CPU addresses of tensors translated to addresses in the interpreter's memory."""
    words = np.frombuffer(params, np.uint64).copy()
    for start, size, address in places:
        inside = (words >= start) & (words < start + max(1, size))
        words[inside] = words[inside] - np.uint64(start) + np.uint64(address)
    return words.tobytes()


@functools.cache
def _ptx_modules(nvcc: Path, root: Path) -> dict[str, tuple[str, Path]]:
    found = {}
    for source in builds.cuda_sources(root):
        path = builds.nvcc_ptx(nvcc, source, root)
        for name in re.findall(r"\.entry (\w+)", path.read_text()):
            found[name] = (name, path)
    return found


@functools.cache
def _loaded(path: Path) -> ptx.Module:
    return ptx.load(path.read_text())


def _ptx_with(kernel: str, nvcc: Path, root: Path) -> ptx.Module:
    return _loaded(_ptx_modules(nvcc, root)[kernel][1])


@contextlib.contextmanager
def executed(nvcc: Path, root: Path = builds.ROOT, **settings: Any) -> Iterator[list[Launch]]:
    """Calls of the CUDA backend run as nvcc's PTX in the interpreter; their launches are appended to the list."""
    module = simulated_module(builds.simulated_module(root=root))
    module.set(record=True, **settings)
    executing = _Executing(module, nvcc, root)
    with _in_place_of_cuda(executing, executing.address):
        yield executing.launches
    module.set()


@functools.cache
def recorded() -> dict[str, tuple[int, int]]:
    """Threads and dynamic shared memory of every kernel launched by the tests' cases."""
    import launched

    module = simulated_module(builds.simulated_module())
    found = {}
    for limit in (99 * 1024, LARGE_SHARED):
        module.set(record=True, shared_memory_limit=limit)
        with _in_place_of_cuda(module, _cuda.address):
            launched.launch_everything()
        found.update({kernel: (threads, shared) for kernel, _, threads, shared, _ in module.take_launches()})
    module.set()
    return found
