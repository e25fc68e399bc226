"""Each Triton kernel in the repaired interpreter against its formula in float64, in every type."""

from __future__ import annotations

import pytest
import torch
from cases import CASES, DTYPES, Case, calls, check, check_sines


@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_is_its_formula(case: Case, dtype: str) -> None:
    for op, args in calls(case, DTYPES[dtype]):
        check(op, args, DTYPES[dtype])


@pytest.mark.parametrize("case", [case for case in CASES if case.name == "tails"], ids=str)
def test_tf32_where_torch_is_told_so(case: Case) -> None:
    torch.set_float32_matmul_precision("high")
    for op, args in calls(case, torch.float32):
        check(op, args, torch.float32, unit=2.0**-8)
        with pytest.raises(AssertionError):
            check(op, args, torch.float32)


def test_sines() -> None:
    check_sines()
