"""Builds and installations of the project, isolated from the environment that runs the tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = (
    *("DIGAN_FAST_NATIVE", "DIGAN_FAST_CUDA", "DIGAN_FAST_CUDA_ARCHS", "DIGAN_FAST_ISA"),
    *("CXX", "CUDACXX", "CUDA_HOME", "CUDA_PATH", "PYTHONPATH", "CMAKE_ARGS"),
)
# A fifth of the compilation, where a test is about something else.
GENERIC_ALONE = "-DDIGAN_FAST_X86_ISAS=OFF"


def environment(path: str | None = None, **settings: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if k not in SETTINGS}
    return {**kept, "PATH": path or os.environ["PATH"], "DIGAN_FAST_CUDA": "0", **settings}


def run(*command: object, cwd: Path, env: dict[str, str], fails: bool = False) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=env,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert (done.returncode != 0) == fails, done.stdout
    return done.stdout


def build_wheel(tree: Path, out: Path, env: dict[str, str], fails: bool = False) -> str:
    """Builds with the build requirements of the running interpreter."""
    command = (sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, tree)
    return run(*command, cwd=out.parent, env=env, fails=fails)


def copy_tree(to: Path) -> Path:
    to.mkdir()
    for name in ("pyproject.toml", "setup.py", "CMakeLists.txt", "MANIFEST.in", "LICENSE"):
        shutil.copy(ROOT / name, to)
    if (ROOT / "README.md").exists():
        shutil.copy(ROOT / "README.md", to)
    ignore = shutil.ignore_patterns("__pycache__", "*.so", "_native.txt")
    for name in ("digan_fast", "kernels", "csrc", "docs", "bench", "tests/packaging"):
        shutil.copytree(ROOT / name, to / name, ignore=ignore)
    return to


def new_python(folder: Path) -> Path:
    """An environment with the running interpreter's packages, except editable ones."""
    venv.create(folder, with_pip=False, symlinks=True)
    site = sysconfig.get_path("purelib", vars={"base": str(folder)})
    Path(site, "packages.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin" / "python"


def install(python: Path, what: Path | str, *options: str, env: dict[str, str]) -> str:
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "--no-deps")
    return run(*pip, "--force-reinstall", *options, what, cwd=python.parent, env=env)


def wheel_in(folder: Path) -> Path:
    (wheel,) = folder.glob("*.whl")
    return wheel
