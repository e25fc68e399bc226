"""The adapter to Triton: kernels are imported by the first call that runs one."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any


def lazily(op: str) -> Callable[..., Any]:
    """The function of this name in ``digan_fast.kernels.<op>``, its backward in the same file."""

    def run(*args: Any) -> Any:
        module = importlib.import_module(f"digan_fast.kernels.{op.removesuffix('_backward')}")
        return getattr(module, op)(*args)

    return run
