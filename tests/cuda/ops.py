"""The cases of tests/kernels for the ops of csrc/cuda other than render."""

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
# The ops that are matrix products.
GEMM_CASES = [case for case in OP_CASES if case.op in ("coord_linear", "linear_act")]


def kernel(op: str) -> Callable[..., Any]:
    """The CUDA backend's function; checks that the backend supports the call."""
    found = dispatch._kernels[op]["cuda"]

    def run(*args: Any) -> Any:
        assert found.why_not(*args) is None
        return found.run(*args)

    return run


def supports(op: str, *args: Any) -> bool:
    return dispatch._kernels[op]["cuda"].why_not(*args) is None


def check_case(case: Case, kind: str, monkeypatch: pytest.MonkeyPatch, device: str = "cpu") -> None:
    """Checks a case in a type from DTYPES, or in float32 with tf32 products."""
    monkeypatch.setattr(cases, "kernel", kernel)
    torch.set_float32_matmul_precision("high" if kind == "tf32" else "highest")
    dtype = DTYPES.get(kind, torch.float32)
    for op, args in calls(case, dtype, device):
        # The tf32 bound of the Triton kernels.
        cases.check(op, args, dtype, unit=2.0**-7 if kind == "tf32" else None)


def misaligned(tensor: torch.Tensor) -> torch.Tensor:
    """The same numbers at an address that is not a multiple of 16."""
    padded = tensor.new_empty(tensor.numel() + 1)
    return padded[1:].view(tensor.shape).copy_(tensor)
