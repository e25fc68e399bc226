"""nvcc: an installed one, or the one in PyPI's packages, which `python -m emulator.toolkit` installs and prints."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

# 300 MB. Compiler, optimiser and headers must have the same version.
PACKAGES = (
    *(f"nvidia-{name}==13.0.88" for name in ("cuda-nvcc", "nvvm", "cuda-crt")),
    *(f"nvidia-{name}==13.0.*" for name in ("cuda-runtime", "cuda-cccl")),
)


def find_nvcc() -> Path | None:
    """From $CUDA_HOME, PATH, /usr/local/cuda, or the installed package nvidia-cuda-nvcc."""
    candidates = [Path(os.environ[name]) / "bin" for name in ("CUDA_HOME", "CUDA_PATH") if name in os.environ]
    if found := shutil.which("nvcc"):
        candidates.append(Path(found).parent)
    candidates.append(Path("/usr/local/cuda/bin"))
    importlib.invalidate_caches()
    spec = importlib.util.find_spec("nvidia")
    for root in (spec.submodule_search_locations or []) if spec else []:
        candidates += [Path(root) / "cu13" / "bin", Path(root) / "cuda_nvcc" / "bin"]
    return next((folder / "nvcc" for folder in candidates if (folder / "nvcc").is_file()), None)


def install_nvcc(folder: Path | None = None, environment: Mapping[str, str] | None = None) -> Path:
    """Installs PyPI's packages into the folder, or into this interpreter's environment."""
    target = () if folder is None else ("--target", str(folder))
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", *target, *PACKAGES]
    subprocess.run(command, check=True, env=environment)
    if folder is None:
        found = find_nvcc()
        assert found is not None
        return found
    home = folder / "nvidia" / "cu13"
    (home / "lib64").symlink_to("lib")
    return home / "bin" / "nvcc"


if __name__ == "__main__":
    print(find_nvcc() or install_nvcc())
