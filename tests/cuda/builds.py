"""Builds csrc/cuda without a GPU: with g++ for the simulator, with nvcc to PTX and cubins. Cached by content."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import subprocess
import sysconfig
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pybind11

ROOT = Path(__file__).parents[2]
SIMULATOR = Path(__file__).parent / "simulator"
# ThreadSanitizer must not instrument the thread scheduler.
_UNSEEN = ("-fno-sanitize=thread", "-DSIMULATOR_FOR_THREAD_SANITIZER")
WARNINGS = ("-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas")


def kept(name: str, key: Sequence[str], sources: Sequence[Path]) -> Path:
    """A cache folder for the build products of these sources with these options."""
    digest = hashlib.sha256(repr([part for part in key if not part.startswith("-I")]).encode())
    for source in sources:
        digest.update(source.read_bytes())
    folder = Path(tempfile.gettempdir()) / f"digan-fast-cuda-{os.getuid()}" / f"{name}-{digest.hexdigest()[:16]}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def with_headers(source: Path, root: Path) -> list[Path]:
    """The file and the project headers that it includes, directly or not, sorted."""
    found, left = {source}, [source]
    while left:
        for name in re.findall(r'#\s*include "(.+)"', (file := left.pop()).read_text()):
            for folder in (file.parent, *include_folders(root), root / "csrc" / "bindings", SIMULATOR):
                header = (folder / name).resolve()
                if header.is_file() and header not in found:
                    found.add(header)
                    left.append(header)
    return sorted(found)


def optimisation() -> str:
    """The optimisation flag: -O2, unless SIMULATOR_OPTIMISATION trades run time for compile time."""
    return os.environ.get("SIMULATOR_OPTIMISATION", "-O2")


def simulated_module(root: Path = ROOT) -> Path:
    """``simulated``, a Python module with the bindings of all CUDA kernels of ``root``, which run in the simulator."""
    sources = [SIMULATOR / f"{name}.cpp" for name in ("simulator", "numbers", "module")]
    sources += sorted((root / "csrc" / "bindings" / "cuda").glob("*.cpp"))
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    includes = (pybind11.get_include(), sysconfig.get_path("include"))
    options = [optimisation(), *(f"-I{path}" for path in (*includes, root / "csrc" / "bindings"))]
    headers = (suffix, pybind11.__version__)
    return _linked(f"simulated{suffix}", [*sources, *_kernels(root)], [*options, "-fPIC"], ["-shared"], root, headers)


def simulated_program(flags: Sequence[str], root: Path = ROOT) -> Path:
    """A program that runs every kernel on random inputs, for sanitizers."""
    sources = [SIMULATOR / f"{name}.cpp" for name in ("simulator", "numbers", "program")]
    return _linked("program", [*sources, *_kernels(root)], flags, [flag for flag in flags if "sanitize" in flag], root)


def include_folders(root: Path = ROOT) -> tuple[Path, Path]:
    return root / "csrc" / "include", root / "csrc" / "cuda"


def _kernels(root: Path) -> list[Path]:
    written = [path for path in (root / "csrc" / "cuda").rglob("*.cu") if path.stem != "device"]
    return sorted([*written, *_instantiations(root)], key=lambda path: path.stem)


def _instantiations(root: Path) -> Iterator[Path]:
    """The sources that CMakeLists.txt generates from each instantiate.cu.in, one per element type."""
    listed = re.search(r"set\(cuda_dtypes ([\w ]+)\)", (root / "CMakeLists.txt").read_text())
    assert listed is not None
    for template in (root / "csrc" / "cuda").rglob("instantiate.cu.in"):
        folder = kept("instantiated", [template.parent.name], [template])
        for dtype in listed[1].split():
            path = folder / f"{template.parent.name}_{dtype.lower()}.cu"
            if not path.exists():
                partial = path.with_suffix(f".{os.getpid()}")
                partial.write_text(template.read_text().replace("@dtype@", dtype))
                partial.replace(path)
            yield path


def _linked(
    name: str,
    sources: Sequence[Path],
    options: Sequence[str],
    link: Sequence[str],
    root: Path,
    headers: Sequence[str] = (),
) -> Path:
    """Compiles and links; ``headers`` are versions of third-party headers: the cache key has no include paths."""
    compiler = os.environ.get("CXX", "g++")
    command = [compiler, "-x", "c++", "-std=c++17", "-ffp-contract=off", "-DDIGAN_FAST_SIMULATED", *WARNINGS, *options]
    command += [f"-I{SIMULATOR}", *(f"-I{folder}" for folder in include_folders(root))]

    def compiled(source: Path) -> Path:
        own = _UNSEEN if "-fsanitize=thread" in options and source.stem in ("simulator", "numbers") else ()
        if source.stem == "module" or source.parent.parent.name == "bindings":
            own = ("-std=c++20", "-fvisibility=hidden")
        target = kept("object", [*command, *own, *headers], with_headers(source, root)) / f"{source.stem}.o"
        return target if target.exists() else _made(target, [*command, *own, "-c", str(source)])

    with _alone(command), ThreadPoolExecutor(2) as pool:
        objects = list(pool.map(compiled, sources))
    target = kept("linked", [*command, *link], objects) / name
    return target if target.exists() else _made(target, [compiler, *link, *map(str, objects), "-ldl"])


@contextlib.contextmanager
def _alone(command: Sequence[str]) -> Iterator[None]:
    """One process compiles, another that needs the same waits and finds it made."""
    with (kept("object", command, []) / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _made(target: Path, command: Sequence[str], told: Path | None = None) -> Path:
    partial = target.with_suffix(f".{os.getpid()}")
    done = subprocess.run([*command, "-o", str(partial)], text=True, capture_output=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    if told is not None:
        told.write_text(done.stderr)
    partial.replace(target)
    return target


def nvcc_ptx(nvcc: Path, source: Path, root: Path = ROOT) -> Path:
    """The PTX of a .cu file, compiled as CMakeLists.txt compiles it for all architectures."""
    command = [str(nvcc), "-ptx", "-O3", "-std=c++17", "-arch=compute_80"]
    command += [f"-I{folder}" for folder in include_folders(root)]
    target = kept("nvcc", command, with_headers(source, root)) / f"{source.stem}.ptx"
    return target if target.exists() else _made(target, [*command, str(source)])


def nvcc_cubin(nvcc: Path, source: Path, architecture: str, root: Path = ROOT) -> tuple[Path, str]:
    """The machine code for sm_80 or another architecture, and the messages of ptxas."""
    ptx = nvcc_ptx(nvcc, source, root)
    command = [str(nvcc), "-cubin", f"-arch={architecture}", "-Xptxas=-v,--warn-on-spills,--warning-as-error"]
    folder = kept("nvcc", command, [ptx])
    target, told = folder / f"{source.stem}.cubin", folder / f"{source.stem}.txt"
    if not target.exists():
        _made(target, [*command, str(ptx)], told)
    return target, told.read_text()


def cuda_sources(root: Path = ROOT) -> list[Path]:
    """The sources that contain kernels."""
    own = root / "csrc"

    def has_kernels(path: Path) -> bool:
        return any("__global__" in file.read_text() for file in with_headers(path, root) if file.is_relative_to(own))

    return [path for path in _kernels(root) if has_kernels(path)]
