"""The cases of tests/kernels, for the ops that csrc/cuda has besides render."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cases
import pytest
import torch
from cases import CASES, DTYPES, Case, calls

from digan_fast import dispatch

OPS = ("bias_act", "coord_linear", "fmm_weights", "linear_act", "upfirdn2d")
OP_CASES = [case for case in CASES if case.op in OPS]


def kernel(op: str) -> Callable[..., Any]:
    """The CUDA backend's function, where its predicate has nothing against the call."""
    found = dispatch._kernels[op]["cuda"]

    def run(*args: Any) -> Any:
        assert found.why_not(*args) is None
        return found.run(*args)

    return run


def check_case(case: Case, kind: str, monkeypatch: pytest.MonkeyPatch, device: str = "cpu") -> None:
    monkeypatch.setattr(cases, "kernel", kernel)
    for op, args in calls(case, DTYPES[kind], device):
        cases.check(op, args, DTYPES[kind])


def misaligned(tensor: torch.Tensor) -> torch.Tensor:
    """The same numbers from an address that is no multiple of 16."""
    room = tensor.new_empty(tensor.numel() + 1)
    return room[1:].view(tensor.shape).copy_(tensor)
