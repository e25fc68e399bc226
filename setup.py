"""Builds digan_fast with its native module, `digan_fast._C`; metadata is in pyproject.toml.

Environment variables:

======================  =========================================================================
DIGAN_FAST_NATIVE       `auto` (default): pure Python if there is no C++ compiler; `1`: that is an
                        error; `0`: pure Python. A build that starts and fails is always an error.
DIGAN_FAST_CUDA         `auto` (default): with CUDA if nvcc is found; `1`: without nvcc that is an
                        error; `0`: CPU only.
DIGAN_FAST_CUDA_ARCHS   CUDA architectures as CMake writes them, such as `80;90a`; by default
                        `80-real;86-real;89-real;90-real;100-real;120`.
CXX                     The C++ compiler; otherwise the first of c++, g++, clang++, cl on PATH.
CUDACXX, CUDA_HOME      nvcc, or the toolkit whose bin/nvcc it is; otherwise nvcc on PATH.
======================  =========================================================================
"""

import importlib
import os
import re
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


def switch(name: str) -> str:
    value = os.environ.get(name, "").strip().lower() or "auto"
    if value not in ("auto", "0", "1"):
        raise SystemExit(f"{name} is {value!r}, expected auto, 1 or 0")
    return value


NATIVE = switch("DIGAN_FAST_NATIVE")
CUDA = switch("DIGAN_FAST_CUDA")


def find_compiler() -> str | None:
    named = os.environ.get("CXX", "").split()
    if named and not shutil.which(named[0]):
        raise SystemExit(f"CXX names {named[0]!r}, which is not an executable")
    candidates = named[:1] or ["c++", "g++", "clang++", "cl"]
    return next(filter(None, map(shutil.which, candidates)), None)


def find_nvcc() -> str | None:
    for variable, suffix in (("CUDACXX", ""), ("CUDA_HOME", "bin/nvcc"), ("CUDA_PATH", "bin/nvcc")):
        if value := os.environ.get(variable):
            path = shutil.which(Path(value, suffix))
            if path is None:
                raise SystemExit(f"{variable} is {value!r}, where there is no nvcc")
            return path
    return shutil.which("nvcc")


def cuda_options() -> list[str]:
    archs = [a for a in re.split(r"[;,\s]+", os.environ.get("DIGAN_FAST_CUDA_ARCHS", "")) if a]
    for arch in archs:
        if not ARCH.fullmatch(arch):
            raise CompileError(f"DIGAN_FAST_CUDA_ARCHS contains {arch!r}, expected a list such as '80;90a'")
    nvcc = find_nvcc() if CUDA != "0" else None
    if nvcc is None:
        if CUDA == "1":
            raise CompileError("DIGAN_FAST_CUDA is 1 and there is no nvcc on PATH, in CUDA_HOME or in CUDACXX")
        return ["-DDIGAN_FAST_CUDA=OFF"]
    return [
        "-DDIGAN_FAST_CUDA=ON",
        f"-DDIGAN_FAST_CUDA_ARCHS={';'.join(archs)}",
        f"-DCMAKE_CUDA_COMPILER={nvcc}",
    ]


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
    def build_extension(self, ext: Extension) -> None:
        compiler = find_compiler()
        if compiler is None:
            raise CompileError(
                f"DIGAN_FAST_NATIVE is {NATIVE}, DIGAN_FAST_CUDA is {CUDA}, and there is no C++ compiler"
            )
        cuda = cuda_options()
        pybind11 = importlib.import_module("pybind11")
        target = Path(self.get_ext_fullpath(ext.name)).resolve().parent
        work = Path(self.build_temp).resolve() / "cmake"
        cmake = build_tool("cmake", "CMAKE_BIN_DIR")
        configure = [
            cmake, "-S", str(ROOT), "-B", str(work), "-G", "Ninja",
            f"-DCMAKE_MAKE_PROGRAM={build_tool('ninja', 'BIN_DIR')}",
            "-DCMAKE_BUILD_TYPE=Release",
            f"-DCMAKE_CXX_COMPILER={compiler}",
            f"-DCMAKE_LIBRARY_OUTPUT_DIRECTORY={target}",
            f"-DPython_EXECUTABLE={sys.executable}",
            f"-Dpybind11_DIR={pybind11.get_cmake_dir()}",
            *cuda,
        ]  # fmt: skip
        for command in (configure, [cmake, "--build", str(work)]):
            try:
                subprocess.run(command, check=True)
            except (OSError, subprocess.CalledProcessError) as error:
                raise CompileError(
                    f"the native module was not built: {error}; DIGAN_FAST_NATIVE=0 installs "
                    "without it, DIGAN_FAST_CUDA=0 builds it without CUDA"
                ) from error


class BuildPython(build_py):
    """Ships what the tree holds now, and `_native.txt`: why there is no native module."""

    def run(self) -> None:
        built = Path(self.build_lib, "digan_fast")
        if self.editable_mode:
            built = ROOT / "digan_fast"
        else:
            shutil.rmtree(built, ignore_errors=True)
        super().run()
        record = built / "_native.txt"
        record.unlink(missing_ok=True)
        if PURE:
            (built / f"_C{sysconfig.get_config_var('EXT_SUFFIX')}").unlink(missing_ok=True)
            record.write_text(f"not built: {PURE}\n")
            print(f"digan_fast: the native module is not built: {PURE}", file=sys.stderr)


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
