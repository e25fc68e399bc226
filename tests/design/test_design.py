"""Structural design decisions, enforced as tests."""

from __future__ import annotations

import ast
import re
import tomllib
import types
from pathlib import Path

import pytest
import torch

import digan_fast.ops

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "digan_fast"
SOURCES = sorted(PACKAGE.rglob("*.py"))
CPP = sorted(path for path in (ROOT / "csrc").rglob("*") if path.suffix in {".cpp", ".h", ".cu", ".cuh"})

# Imports run from later parts to earlier ones, or within a part.
ROOMS = (
    (
        "files",
        "config_references",
        "precision",
        "devices",
        "threads",
        "heartbeat",
        "processes",
        "tensor_files",
        "levels",
        "_C",
    ),
    ("video",),
    ("reference",),
    ("dispatch", "transforms", "tiling", "kernels", "mlp_options", "shapes"),
    ("ops", "allocator"),
    ("functional",),
    ("inr",),
    ("networks",),
    ("snapshot",),
    ("data", "metrics"),
    ("training",),
    ("fitting",),
    ("cli",),
    ("__main__",),
)
RANK = {name: rank for rank, names in enumerate(ROOMS) for name in names}
# Headers that do not belong to an op.
COMMON_HEADERS = {"cpu", "cuda_info", "peak"}


def part(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_parts(path: Path) -> set[str]:
    """The parts of digan_fast that a file imports, except under TYPE_CHECKING."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "digan_fast":
            parts = node.module.split(".")
            names |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("digan_fast.")}
    return {name for name in names if not name.startswith("__")}


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_run_one_way(path: Path) -> None:
    if path == PACKAGE / "__init__.py":
        assert imported_parts(path) == set()
        return
    here = RANK[part(path)]
    upwards = {name for name in imported_parts(path) if RANK[name] > here}
    assert not upwards, f"{path.relative_to(ROOT)} imports {upwards}"


def stems(folder: Path) -> set[str]:
    return {path.stem for path in folder.glob("*.py") if not path.stem.startswith("_")}


def test_every_op_has_its_parts() -> None:
    ops = stems(PACKAGE / "ops")
    assert len(ops) >= 5
    assert ops <= stems(PACKAGE / "reference"), "an op without its reference"
    assert {f"test_{op}" for op in ops} <= stems(ROOT / "tests" / "ops"), "an op without its tests"
    assert stems(ROOT / "kernels") - {"tune"} <= ops, "a Triton kernel without an op"
    headers = {path.stem for path in (ROOT / "csrc" / "include" / "digan_fast").glob("*.h")} - COMMON_HEADERS
    assert headers
    assert headers <= ops, "a header without an op"
    for op in headers:
        assert any((ROOT / "csrc").glob(f"c*/**/{op}*.c*")), f"no source for {op}.h"


def test_each_op_module_has_a_function_of_its_name() -> None:
    for op in stems(PACKAGE / "ops"):
        module = getattr(digan_fast.ops, op)
        assert isinstance(module, types.ModuleType), f"{op} is shadowed by an export of ops"
        assert callable(getattr(module, op))


def test_networks_do_not_depend_on_kernels() -> None:
    for path in sorted((PACKAGE / "networks").rglob("*.py")):
        assert not re.search("csrc|runs_natively|native_module", path.read_text()), path


def test_every_registered_op_belongs_to_a_file_and_has_a_fake() -> None:
    registered = {
        schema.name.removeprefix("digan_fast::")
        for schema in torch._C._jit_get_all_schemas()
        if schema.name.startswith("digan_fast::")
    }
    assert {re.sub("(_input|_weight)?_backward$", "", name) for name in registered} == stems(PACKAGE / "ops")
    for name in registered:
        entry = torch._library.simple_registry.singleton.find(f"digan_fast::{name}")
        assert entry.fake_impl.kernel is not None, f"{name} has no fake"


def test_native_code_includes_no_torch_header() -> None:
    assert CPP
    for path in CPP:
        assert not re.search(r"#\s*include\s*[<\"](torch|ATen|c10)", path.read_text()), path


def test_only_one_function_takes_addresses() -> None:
    callers = [p.relative_to(PACKAGE).as_posix() for p in SOURCES if ".data_ptr()" in p.read_text()]
    assert callers == ["ops/_pointers.py"]


def test_addresses_are_not_those_of_temporaries() -> None:
    """``ptr(grad.contiguous())`` is the address of a copy that is freed before the kernel reads it."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("ptr", "ptr_wide_or_narrow", "_address"):
                argument = ast.unparse(node.args[0])
                assert not re.search(r"\.(contiguous|to|float|clone|reshape)\(|^_last\(", argument), (
                    f"{path}:{node.lineno}"
                )


def test_files_are_short() -> None:
    folders = ("bench", "kernels", "tests")
    paths = [*SOURCES, *CPP, *(path for folder in folders for path in (ROOT / folder).rglob("*.py"))]
    long = {str(p.relative_to(ROOT)): n for p in paths if (n := len(p.read_text().splitlines())) > 400}
    assert not long


def test_the_readme_s_commands_exist() -> None:
    readme, makefile = (ROOT / "README.md").read_text(), (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)", readme, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    from digan_fast.cli import COMMANDS

    for command in re.findall(r"^digan-fast (\w+)", readme, re.MULTILINE):
        assert command in {name.split()[0] for name in COMMANDS}


def test_the_readme_names_the_extras() -> None:
    line = re.search(r"^Extras: (.*?)\. ", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    assert line is not None
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert re.findall(r"`([a-z]+)`", line[1]) == list(extras)


def test_the_readme_s_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    block = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert block is not None
    (tmp_path / "network-snapshot.pkl").symlink_to(ROOT / "tests" / "reference_data" / "snapshot.pkl")
    monkeypatch.chdir(tmp_path)
    names: dict[str, torch.Tensor] = {}
    exec(block[1].replace("10_000", "10"), names)
    assert names["frames"].shape == (32, 3, 32, 32)
    assert names["video"].shape == (2, 64, 3, 32, 32)
    assert names["corner"].shape == (2, 1, 3, 64, 64)
    torch.testing.assert_close(names["corner"], names["large"][..., :64, :64], rtol=0, atol=1e-5)
    assert (tmp_path / "videos.safetensors").exists()
