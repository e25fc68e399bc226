"""Resolves the project for other platforms: `python tests/packaging/resolution.py` prints the table.

uv resolves for any platform and version of Python, without running on it or downloading packages.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
INDEX = "https://pypi.org/simple"
PLATFORMS = {
    "Linux x86_64": "x86_64-manylinux_2_28",
    "Linux aarch64": "aarch64-manylinux_2_28",
    "macOS arm64": "aarch64-apple-darwin",
    "Windows x86_64": "x86_64-pc-windows-msvc",
}
PYTHONS = ("3.11", "3.12", "3.13", "3.14")


def project() -> dict[str, object]:
    """The table `project` of pyproject.toml."""
    table: dict[str, object] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return table


EXTRAS: tuple[tuple[str, ...], ...] = (
    (),
    *((extra,) for extra in project()["optional-dependencies"]),  # type: ignore[attr-defined]
    tuple(project()["optional-dependencies"]),  # type: ignore[arg-type]
)


@dataclass(frozen=True)
class Resolution:
    platform: str
    python: str
    extras: tuple[str, ...]
    constrained: bool
    versions: dict[str, str]
    """The version of each package; empty if there is no solution."""
    error: str


def uv(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """This environment's uv, restricted to the public index and without interpreter downloads.

    torch's wheels require macOS 14.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("UV_") or name == "UV_CACHE_DIR"}
    env = {**kept, "MACOSX_DEPLOYMENT_TARGET": "14.0", "UV_PYTHON_DOWNLOADS": "never", "UV_DEFAULT_INDEX": INDEX}
    env |= settings
    command = [sys.executable, "-m", "uv", "--no-config", "--quiet", *arguments]
    return subprocess.run(command, cwd=ROOT, env=env, text=True, capture_output=True)


def versions(lines: str) -> dict[str, str]:
    """Parses `package==version` lines."""
    pairs = (line.partition(";")[0].strip().split("==") for line in lines.splitlines() if "==" in line)
    return {name.lower(): version for name, version in pairs}


def constraints() -> dict[str, str]:
    return versions((ROOT / "constraints.txt").read_text(encoding="utf-8"))


def resolve(platform: str, python: str, extras: tuple[str, ...], constrained: bool, *options: str) -> Resolution:
    """The newest versions for one of PLATFORMS."""
    done = uv(
        *("pip", "compile", "pyproject.toml", "--no-header", "--no-annotate", *options),
        *("--python", sys.executable, "--python-platform", PLATFORMS[platform], "--python-version", python),
        *(word for extra in extras for word in ("--extra", extra)),
        *(("--constraints", "constraints.txt") if constrained else ()),
    )
    found = versions(done.stdout) if done.returncode == 0 else {}
    return Resolution(platform, python, extras, constrained, found, done.stderr.strip())


def resolutions(platform: str, constrained: bool) -> list[Resolution]:
    """For each Python: the project alone, with each extra, with all extras.

    The last of these queries the index; the others reuse its answers, and query the index again if that is not enough.
    """

    def of_python(python: str) -> list[Resolution]:
        every = resolve(platform, python, EXTRAS[-1], constrained)
        rest = []
        for extras in EXTRAS[:-1]:
            known = resolve(platform, python, extras, constrained, "--offline")
            rest.append(known if known.versions else resolve(platform, python, extras, constrained))
        return [*rest, every]

    with ThreadPoolExecutor(len(PYTHONS)) as pool:
        return [one for found in pool.map(of_python, PYTHONS) for one in found]


def cell(found: Iterable[Resolution]) -> str:
    """The number that resolve, and the versions of torch and Triton with all extras."""
    found = list(found)
    last = found[-1].versions
    solved = sum(bool(resolution.versions) for resolution in found)
    triton = f", triton {last['triton']}" if "triton" in last else ""
    return f"{solved}/{len(found)}: torch {last.get('torch', '–')}{triton}"


def table() -> str:
    lines = [f"| platform | constraints.txt | {' | '.join(PYTHONS)} |", "| --- | --- |" + " --- |" * len(PYTHONS)]
    for platform in PLATFORMS:
        for constrained in (False, True):
            found = resolutions(platform, constrained)
            cells = (cell(one for one in found if one.python == python) for python in PYTHONS)
            lines.append(f"| {platform} | {'with' if constrained else 'without'} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
