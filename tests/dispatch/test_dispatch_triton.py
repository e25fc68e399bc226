"""CUDA tensors without a device: fake tensors, as in tracing."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from digan_fast import dispatch, ops  # noqa: F401  (registers the ops)


def _arguments(op: str, dtype: torch.dtype) -> list[Any]:
    x = torch.empty(2, 5, 8, device="cuda", dtype=dtype)
    weight = torch.empty(2, 6, 8, device="cuda", dtype=dtype)
    factors = [torch.empty(*shape, device="cuda", dtype=dtype) for shape in ((6, 8), (2, 6, 3), (2, 3, 8))]
    picture = torch.empty(2, 3, 8, 8, device="cuda", dtype=dtype)
    waves = [torch.empty(2, 4, 2, device="cuda"), torch.empty(2, 5, 4, device="cuda")]
    return {
        "linear_act": [x, weight, None, "lrelu", 1.0, None],
        "bias_act": [x, None, 1, "lrelu", 1.0, None],
        "fmm_weights": [*factors, "demod"],
        "upfirdn2d": [picture, torch.empty(4, 4, device="cuda"), 2, 1, [2, 1, 2, 1], False, 1.0],
        "coord_linear": [None, *waves, weight, None, [4, 0, 0, 4, 4], "lrelu", 1.0, None],
    }[op]


_SHAPES = {
    "linear_act": (2, 5, 6),
    "bias_act": (2, 5, 8),
    "fmm_weights": (2, 6, 8),
    "upfirdn2d": (2, 3, 16, 16),
    "coord_linear": (2, 5, 4, 4, 6),
}


@pytest.fixture(autouse=True)
def _a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only for the dispatcher: a CUDA build of torch, if told that there is a device, would look for the driver."""
    monkeypatch.setattr(dispatch, "_why_not", {"cuda": "it is triton's turn", "native": "a CPU's"}.get)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("op", _SHAPES)
def test_triton_is_chosen_and_the_registered_op_has_a_fake(op: str, dtype: torch.dtype) -> None:
    with FakeTensorMode():
        args = _arguments(op, dtype)
        assert dispatch.select(op, *args)[0] == "triton"
        found = getattr(torch.ops.digan_fast, op)(*args)
    assert found.shape == _SHAPES[op]
    assert found.dtype == dtype
    assert found.device.type == "cuda"


def test_float64_uses_the_reference() -> None:
    with FakeTensorMode():
        assert dispatch.select("linear_act", *_arguments("linear_act", torch.float64))[0] == "reference"


def test_cpu_tensors_do_not_use_triton() -> None:
    args = [torch.empty(2, 5, 8), torch.empty(2, 6, 8), None, "lrelu", 1.0, None]
    assert dispatch.select("linear_act", *args)[0] != "triton"
