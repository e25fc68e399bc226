"""The one table of calls that kernels support, and the one sentence why they do not support a call."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from digan_fast import dispatch, functional
from digan_fast.ops._capabilities import TABLE, unknown, why_not
from digan_fast.ops._pointers import NATIVE_ACTIVATIONS
from digan_fast.ops.linear_act import linear
from digan_fast.reference.activations import ACTIVATIONS


def test_the_table_lists_every_kernel() -> None:
    kernels = dispatch.kernel_table()
    for backend, able in TABLE.items():
        assert set(able) == {op for op, own in kernels.items() if backend in own and not op.endswith("_backward")}
    assert set(NATIVE_ACTIVATIONS) == set(ACTIVATIONS)


@pytest.mark.parametrize("op", TABLE["native"])
def test_native(op: str) -> None:
    able = TABLE["native"][op]
    activation = able.activations[0]
    takes = "float32 and bfloat16" if torch.bfloat16 in able.dtypes else "float32"
    assert why_not(op, "native", activation, a=torch.empty(1), b=None) is None
    assert why_not(op, "native", activation, a=torch.empty(1).half()) == f"a is torch.float16; it takes {takes}"
    meta = torch.empty(1, device="meta")
    assert why_not(op, "native", "none", a=torch.empty(1), b=meta) == "b is on meta"
    assert why_not(op, "native", "none", a=torch.empty(1)) == "it has no activation 'none'"


@pytest.mark.parametrize("backend", ["cuda", "triton"])
@pytest.mark.parametrize("op", TABLE["cuda"])
def test_on_a_gpu(op: str, backend: str) -> None:
    able = TABLE[backend][op]
    activation = able.activations[0]
    # coord_mlp rounds its operands itself.
    takes = "float32, bfloat16 and float16" if torch.float16 in able.dtypes else "float32"
    assert takes != "float32" or op == "coord_mlp"
    with FakeTensorMode():
        first, second = (torch.empty(1, device=f"cuda:{index}") for index in range(2))
        assert why_not(op, backend, activation, a=first, b=None, c=first.to(able.dtypes[-1])) is None
        assert why_not(op, backend, "none", a=first, b=torch.empty(1)) == "b is on cpu"
        assert why_not(op, backend, "none", a=first.int()) == f"a is torch.int32; it takes {takes}"
        assert why_not(op, backend, "none", a=second, b=first) == "the tensors are on cuda:0, cuda:1"
        assert why_not(op, backend, "none", a=first) == "it has no activation 'none'"


def test_several_activations() -> None:
    assert unknown("render", "native", ["sine", "tanh", "elu"]) == "tanh"
    assert unknown("render", "native", ["sine", "relu"]) in TABLE["native"]["render"].activations


@pytest.mark.skipif(dispatch.backends()["native"] is not None, reason="the compiled module was not built")
@pytest.mark.parametrize(
    ("rows", "outputs", "dtype", "native"),
    [
        (1, 1024, torch.float32, True),
        (8, 1024, torch.float32, True),
        (9, 1024, torch.float32, False),
        (8, 1023, torch.float32, False),
        (8, 1024, torch.bfloat16, False),
    ],
)
def test_few_rows_and_a_large_matrix(
    rows: int, outputs: int, dtype: torch.dtype, native: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, weight, bias = (torch.randn(*shape, dtype=dtype) for shape in ((rows, 1024), (outputs, 1024), (outputs,)))
    calls: list[str] = []
    stock: Callable[..., Tensor] = dispatch.call

    def call(op: str, *args: object) -> Tensor:
        calls.append(op)
        return stock(op, *args)

    monkeypatch.setattr(dispatch, "call", call)
    found = linear(x, weight, bias)
    assert calls == (["linear_act"] if native else [])
    torch.testing.assert_close(found, F.linear(x, weight, bias), rtol=1e-4, atol=1e-3)


def test_default_types_and_devices_do_not_matter() -> None:
    """Results and gradients are those of the tensors given, in a process whose defaults are others."""
    calls: list[tuple[Callable[..., Tensor], list[Tensor]]] = [
        (partial(functional.bias_act, activation="lrelu"), [torch.randn(2, 3, 4), torch.randn(3)]),
        (partial(functional.conv3x3, padding=1), [torch.randn(1, 128, 32, 32), torch.randn(128, 128, 3, 3)]),
        (partial(functional.linear_act, activation="lrelu"), [torch.randn(1, 9, 17), torch.randn(1, 33, 17)]),
        (functional.upfirdn2d, [torch.randn(1, 2, 5, 5), torch.ones(3, 3)]),
        (functional.fmm_weights, [torch.randn(3, 2), torch.randn(1, 3, 4), torch.randn(1, 4, 2)]),
        (
            lambda *tensors: functional.coord_linear(None, *tensors, None, (4, 0, 0, 4, 4)),
            [torch.randn(1, 2, 2), torch.randn(1, 1, 2), torch.randn(1, 3, 4)],
        ),
        (
            lambda x, *weights: functional.coord_mlp(x, functional.mlp_layers(weights)),
            [torch.rand(5, 2), torch.randn(2, 8, 2), torch.randn(2, 3, 8)],
        ),
    ]

    def found(call: Callable[..., Tensor], tensors: list[Tensor]) -> list[Tensor]:
        alive = [
            each.clone().requires_grad_(call is not functional.upfirdn2d or i == 0) for i, each in enumerate(tensors)
        ]
        out = call(*alive)
        wanted = [each for each in alive if each.requires_grad]
        return [out.detach(), *torch.autograd.grad(out, wanted, out.detach())]

    expected = [found(*each) for each in calls]
    torch.set_default_dtype(torch.float64)
    try:
        with torch.device("meta"):
            others = [found(*each) for each in calls]
    finally:
        torch.set_default_dtype(torch.float32)
    for mine, other in zip(others, expected, strict=True):
        assert all(map(torch.equal, mine, other))


NOWHERE = {"device": "meta"}
APART: list[tuple[str, Callable[[], Tensor]]] = [
    ("bias", lambda: functional.bias_act(torch.ones(2, 3), torch.ones(3, **NOWHERE))),
    ("weight", lambda: functional.conv3x3(torch.ones(1, 2, 5, 5), torch.ones(3, 2, 3, 3, **NOWHERE))),
    ("weight", lambda: functional.linear_act(torch.ones(1, 4, 2), torch.ones(1, 3, 2, **NOWHERE))),
    ("filter", lambda: functional.upfirdn2d(torch.ones(1, 2, 5, 5), torch.ones(3, 3, **NOWHERE))),
    (
        "right",
        lambda: functional.fmm_weights(torch.ones(3, 2), torch.ones(1, 3, 4), torch.ones(1, 4, 2, **NOWHERE)),
    ),
    (
        "phase",
        lambda: functional.coord_linear(
            None, torch.ones(1, 2, 2), torch.ones(1, 1, 2, **NOWHERE), torch.ones(1, 3, 4), None, (4, 0, 0, 4, 4)
        ),
    ),
]


@pytest.mark.parametrize(("name", "call"), APART)
def test_tensors_on_two_devices_are_refused(name: str, call: Callable[[], Tensor]) -> None:
    """A meta tensor, as of a network that was never loaded, would select an op that computes nothing."""
    with pytest.raises(ValueError, match=f"{name}: on meta, expected on cpu"):
        call()
