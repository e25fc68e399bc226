"""Fixtures: the tree to build from, and a wheel built from it."""

from __future__ import annotations

from pathlib import Path

import pytest
from installs import build_wheel, copy_tree, environment, wheel_in


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_tree(tmp_path_factory.mktemp("tree") / "source")


@pytest.fixture(scope="session")
def native_wheel(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel") / "dist"
    build_wheel(tree, out, environment(DIGAN_FAST_NATIVE="1"))
    return wheel_in(out)
