"""Builds digan_fast with its native module, `digan_fast._C`; metadata is in pyproject.toml.

Environment variables:

======================  =========================================================================
DIGAN_FAST_NATIVE       `auto` (default): pure Python where there is no C++ compiler or the build
                        fails; `1`: either is an error; `0`: pure Python.
DIGAN_FAST_CUDA         `auto` (default): with CUDA if nvcc is found, for the GPUs of this machine,
                        without where there are none or the build with CUDA fails; `1`: with CUDA,
                        for every architecture, or an error; `0`: CPU only.
DIGAN_FAST_CUDA_ARCHS   CUDA architectures as CMake writes them, such as `80;90a`, GPUs or not;
                        every architecture is `80-real;86-real;89-real;90-real;100-real;120`.
CXX                     The C++ compiler; otherwise the first of c++, g++, clang++, cl on PATH.
CUDACXX, CUDA_HOME      nvcc, or the toolkit whose bin/nvcc it is; otherwise nvcc on PATH.
CMAKE_ARGS              Further options of CMake, such as `-DDIGAN_FAST_X86_ISAS=OFF`.
======================  =========================================================================

What is left out of a build, and why, is in the package's `_native.txt`, and said by `digan-fast info`.
"""

import ctypes
import importlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py
from setuptools.errors import CompileError

ROOT = Path(__file__).resolve().parent
ARCH = re.compile(r"\d+[af]?(-real|-virtual)?")
OLDEST_ARCH = 80  # of the kernels: csrc/cuda asks for bfloat16 and asynchronous copies


def switch(name: str) -> str:
    value = os.environ.get(name, "").strip().lower() or "auto"
    if value not in ("auto", "0", "1"):
        raise SystemExit(f"{name} is {value!r}, expected auto, 1 or 0")
    return value


NATIVE = switch("DIGAN_FAST_NATIVE")
CUDA = switch("DIGAN_FAST_CUDA")


def say(text: str) -> None:
    print(f"digan_fast: {text}", file=sys.stderr, flush=True)


def record(package: Path, reason: str | None) -> None:
    """Writes what is left out of the package in this folder, and why; None: nothing is."""
    file = package / "_native.txt"
    file.unlink(missing_ok=True)
    if reason is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{reason}\n", encoding="utf-8")


def find_compiler() -> str | None:
    named = os.environ.get("CXX", "").split()
    if named and not shutil.which(named[0]):
        raise SystemExit(f"CXX names {named[0]!r}, which is not an executable")
    candidates = named[:1] or ["c++", "g++", "clang++", "cl"]
    return next(filter(None, map(shutil.which, candidates)), None)


def find_nvcc() -> tuple[str | None, str]:
    """nvcc, and where there is none the sentence that says so."""
    for variable, suffix in (("CUDACXX", ""), ("CUDA_HOME", "bin/nvcc"), ("CUDA_PATH", "bin/nvcc")):
        if value := os.environ.get(variable):
            return shutil.which(Path(value, suffix)), f"{variable} is {value!r}, where there is no nvcc"
    return shutil.which("nvcc"), "there is no nvcc on PATH, in CUDA_HOME or in CUDACXX"


def gpu_archs() -> list[str]:
    """The architectures of this machine's GPUs, such as 90, by its CUDA driver; none without a driver."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")
    except OSError:
        return []
    count, device, value = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return []
    archs = set()
    for ordinal in range(count.value):
        if driver.cuDeviceGet(ctypes.byref(device), ordinal):
            continue
        number = ""
        for attribute in (75, 76):  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, _MINOR
            driver.cuDeviceGetAttribute(ctypes.byref(value), attribute, device)
            number += str(value.value)
        archs.add(number)
    return sorted(archs, key=int)


def cuda_options() -> tuple[list[str], str | None]:
    """CMake's options, and where CUDA is left out the reason."""
    archs = [a for a in re.split(r"[;,\s]+", os.environ.get("DIGAN_FAST_CUDA_ARCHS", "")) if a]
    for arch in archs:
        if not ARCH.fullmatch(arch):
            raise SystemExit(f"DIGAN_FAST_CUDA_ARCHS contains {arch!r}, expected a list such as '80;90a'")
    without = ["-DDIGAN_FAST_CUDA=OFF"]
    if CUDA == "0":
        return without, "DIGAN_FAST_CUDA was 0"
    nvcc, missing = find_nvcc()
    if nvcc is None:
        if CUDA == "1":
            raise SystemExit(f"DIGAN_FAST_CUDA is 1 and {missing}")
        return without, missing
    if CUDA == "auto" and not archs:
        present = gpu_archs()
        archs = [f"{arch}-real" for arch in present if int(arch) >= OLDEST_ARCH]
        if not archs:
            found = f"no GPU from sm_{OLDEST_ARCH} on" + "".join(f" (sm_{arch})" for arch in present)
            return without, f"nvcc is here and {found}; DIGAN_FAST_CUDA=1 builds it for every architecture"
    return [
        "-DDIGAN_FAST_CUDA=ON",
        f"-DDIGAN_FAST_CUDA_ARCHS={';'.join(archs)}",
        f"-DCMAKE_CUDA_COMPILER={nvcc}",
    ], None


def build_tool(name: str, directory: str) -> str:
    """`name` of the package of that name, or on PATH."""
    try:
        folder = getattr(importlib.import_module(name), directory)
    except (ImportError, AttributeError):
        folder = None
    path = shutil.which(name, path=folder) if folder else None
    path = path or shutil.which(name)
    if path is None:
        raise CompileError(f"{name} is not installed; `pip install {name}` provides it")
    return path


class CMakeBuild(build_ext):
    in_tree = False

    def run(self) -> None:
        self.in_tree = bool(self.inplace or self.editable_mode)
        super().run()

    def build_extension(self, ext: Extension) -> None:
        compiler = find_compiler()
        if compiler is None:
            raise CompileError(
                f"DIGAN_FAST_NATIVE is {NATIVE}, DIGAN_FAST_CUDA is {CUDA}, and there is no C++ compiler"
            )
        package = ROOT / "digan_fast" if self.in_tree else Path(self.build_lib, "digan_fast")
        built = Path(self.get_ext_fullpath(ext.name)).resolve()
        cuda, without_cuda = cuda_options()
        if without_cuda is not None and CUDA == "auto":
            say(f"the native module is built without CUDA: {without_cuda}")
        say("compiling the native module; DIGAN_FAST_NATIVE=0 installs without it")
        try:
            try:
                made = self.make(built.name, compiler, cuda)
            except CompileError as error:
                if CUDA == "1" or without_cuda is not None:
                    raise
                without_cuda = f"the build with CUDA failed: {error}"
                say(f"{without_cuda}; building without CUDA. DIGAN_FAST_CUDA=1 makes this an error")
                made = self.make(built.name, compiler, ["-DDIGAN_FAST_CUDA=OFF"])
        except CompileError as error:
            if NATIVE == "1" or CUDA == "1":
                raise CompileError(
                    f"the native module was not built: {error}; DIGAN_FAST_NATIVE=0 installs "
                    "without it, DIGAN_FAST_CUDA=0 builds it without CUDA"
                ) from error
            for stale in (built, package / built.name):
                stale.unlink(missing_ok=True)
            ext.optional = True
            record(package, f"not built: {error}")
            say(
                f"the native module was not built: {error}. Installing pure Python, which computes the same, "
                "slower; DIGAN_FAST_NATIVE=1 makes this an error"
            )
            return
        built.parent.mkdir(parents=True, exist_ok=True)
        self.copy_file(str(made), str(built))
        record(package, without_cuda and f"built without CUDA: {without_cuda}")

    def make(self, name: str, compiler: str, cuda: list[str]) -> Path:
        """The built module. In the tree, what was compiled by the same tools is kept for the next build."""
        work = Path(self.build_temp).resolve() / "cmake"
        if self.in_tree:
            work = ROOT / "build" / f"native-{sysconfig.get_config_var('SOABI') or sys.implementation.cache_tag}"
        cmake = build_tool("cmake", "CMAKE_BIN_DIR")
        pybind11 = importlib.import_module("pybind11")
        configure = [
            cmake, "-S", str(ROOT), "-B", str(work), "-G", "Ninja",
            f"-DCMAKE_MAKE_PROGRAM={build_tool('ninja', 'BIN_DIR')}",
            "-DCMAKE_BUILD_TYPE=Release",
            f"-DCMAKE_CXX_COMPILER={compiler}",
            f"-DCMAKE_LIBRARY_OUTPUT_DIRECTORY={work / 'built'}",
            f"-DPython_EXECUTABLE={Path(sys.executable).resolve()}",  # one name of several, bin/python3 or bin/python
            f"-Dpybind11_DIR={pybind11.get_cmake_dir()}",
            *shlex.split(os.environ.get("CMAKE_ARGS", "")),
        ]  # fmt: skip
        tools = work / "tools.txt"
        if not tools.exists() or tools.read_text(encoding="utf-8") != "\n".join(configure):
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir(parents=True)
            tools.write_text("\n".join(configure), encoding="utf-8")
        for step, command in (("configure", [*configure, *cuda]), ("compile", [cmake, "--build", str(work)])):
            try:
                done = subprocess.run(command).returncode
            except OSError as error:
                raise CompileError(f"CMake cannot run: {error}") from error
            if done:
                raise CompileError(f"it does not {step} (CMake's output above, with `pip install -v`, says why)")
        return work / "built" / name


class BuildPython(build_py):
    """Ships what the tree holds now, and `_native.txt`: why there is no native module."""

    def run(self) -> None:
        built = Path(self.build_lib, "digan_fast")
        if self.editable_mode:
            built = ROOT / "digan_fast"
        else:
            shutil.rmtree(built, ignore_errors=True)
        super().run()
        record(built, f"not built: {PURE}" if PURE else None)
        if PURE:
            (built / f"_C{sysconfig.get_config_var('EXT_SUFFIX')}").unlink(missing_ok=True)
            say(f"the native module is not built: {PURE}")


if NATIVE == "0" and CUDA == "1":
    raise SystemExit("DIGAN_FAST_CUDA is 1 and DIGAN_FAST_NATIVE is 0, which leaves CUDA out")
if NATIVE == "0":
    PURE = "DIGAN_FAST_NATIVE was 0"
elif NATIVE == "auto" and CUDA != "1" and find_compiler() is None:
    PURE = "no C++ compiler was found"
else:
    PURE = ""

setup(
    packages=[*find_packages(include=["digan_fast", "digan_fast.*"]), "digan_fast.kernels"],
    package_dir={"digan_fast.kernels": "kernels"},
    ext_modules=[] if PURE else [Extension("digan_fast._C", sources=[])],
    cmdclass={"build_ext": CMakeBuild, "build_py": BuildPython},
)
