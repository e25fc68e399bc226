"""Which backend runs a call on a (fake) CUDA device: cuda, then triton, then the reference."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable
from typing import Any

import pytest
import stubs
import torch
from checks import recorded
from harness import simulated, symbol_name
from mlps import GRADED, MLPS, gradient_arguments, mlp, siren
from mlps import PRECISIONS as OF_MLPS
from random_inrs import Widths, random_inr
from renderings import PRECISIONS, RENDERINGS, arguments
from torch import Tensor

from digan_fast import CoordMLP, dispatch


@pytest.fixture
def on_cuda(monkeypatch: pytest.MonkeyPatch) -> Any:
    """CPU tensors are treated as CUDA tensors; Triton, which only looks at real devices, accepts all calls."""
    kernels = {op: dict(found) for op, found in dispatch._kernels.items()}
    for found in kernels.values():
        if "triton" in found:
            found["triton"] = dispatch._Kernel(found["triton"].run, lambda *_: None)
    monkeypatch.setattr(dispatch, "_kernels", kernels)
    monkeypatch.setattr(dispatch, "_said", set())
    monkeypatch.setattr(dispatch, "_why_not", lambda backend: None)
    with simulated() as module:
        yield module


def chosen(op: str, *args: Any) -> str:
    return dispatch.select(op, *args)[0]


def rendering(widths: Widths, precision: str = "bfloat16", **options: Any) -> tuple[Any, ...]:
    side = options.get("side", 8) * 2 ** (len(widths) - 1)
    return arguments(random_inr(1, 1, widths, **options), side, (0, 0, side, side), precision)


def test_cuda_comes_first(on_cuda: Any) -> None:
    case = RENDERINGS["two-grids"]
    for precision in PRECISIONS:
        assert chosen("render", *arguments(case.levels(), 16, case.window, precision)) == "cuda"
    x = torch.randn(2, 3, 4, 4)
    assert chosen("bias_act", x, None, 1, "swish", 1.0, None) == "cuda"
    assert chosen("bias_act_backward", x, x, None, x, 1, "swish", 1.0, None) == "cuda"
    assert chosen("upfirdn2d", x, torch.ones(2, 2), 1, 1, [0, 0, 0, 0], False, 1.0) == "cuda"
    factors = torch.randn(5, 6), torch.randn(1, 5, 2), torch.randn(1, 2, 6)
    assert chosen("fmm_weights", *factors, "demod") == "cuda"
    assert chosen("fmm_weights_backward", torch.randn(1, 5, 6), *factors, torch.randn(1, 5, 6), "demod") == "cuda"
    assert chosen("coord_mlp", *siren(2, 5, 512, 1, "bfloat16")) == "cuda"
    assert chosen("coord_mlp", *siren(2, 5, 600, 1, "bfloat16")) == "triton"
    assert chosen("coord_mlp_backward", *gradient_arguments(siren(2, 5, 512, 1, "bfloat16"))) == "cuda"
    assert chosen("coord_mlp_backward", *gradient_arguments(siren(2, 5, 600, 1, "bfloat16"))) != "cuda"
    x, weight, out = torch.randn(1, 4, 3), torch.randn(1, 5, 3), torch.randn(1, 4, 5)
    assert chosen("linear_act", x, weight, None, "sine", 1.0, None) == "cuda"
    assert chosen("linear_act_backward", out, x, weight, None, out, "sine", 1.0, None) == "cuda"
    features = None, torch.randn(1, 2, 2), torch.randn(1, 3, 2), torch.randn(1, 5, 4), None
    options, out = ([4, 0, 0, 4, 4], "lrelu", 1.0, None), torch.randn(1, 3, 4, 4, 5)
    assert chosen("coord_linear", *features, *options) == "cuda"
    assert chosen("coord_linear_backward", out, *features, out, *options) == "cuda"


def test_large_gradients_lie_where_their_network_does(on_cuda: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not in the pages of the CPU's results."""
    network = siren(10, 3, 256, 1, "bfloat16")
    assert network[1][1].nbytes > 2**21
    monkeypatch.delattr(dispatch.native_module(), "result")
    dispatch.call("coord_mlp_backward", *gradient_arguments(network))


@pytest.mark.parametrize("precision", OF_MLPS)
def test_tracing_decides_as_a_call_does(on_cuda: Any, precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the numbers of points and samples."""
    recomputes = importlib.import_module("digan_fast.ops.coord_mlp")._recomputes
    monkeypatch.setattr(dispatch, "_why_not", {"triton": "it is cuda's turn"}.get)
    cases = [mlp(name, precision) for name in MLPS | GRADED]
    cases += [siren(*sizes, precision) for sizes in ((1, 1, 64, 1), (3, 65, 512, 2), (2, 7, 513, 1), (2, 7, 9, 0))]
    eager = [recomputes(*args) for args in cases]
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    assert [recomputes(*args) for args in cases] == eager
    assert set(eager) == {True, False}


def test_compiled_coordinate_mlps_are_the_fused_kernels(on_cuda: Any) -> None:
    network, points, probe = CoordMLP(2, 3, 64, 1, sets=2), torch.rand(70, 2), torch.randn(2, 70, 3)
    compiled, graphs = recorded(network)

    def called(function: Callable[[Tensor], Tensor]) -> list[Tensor]:
        out = function(points)
        return [out, *torch.autograd.grad(out, list(network.parameters()), probe)]

    assert all(map(torch.equal, called(compiled), called(network)))
    assert graphs == [["coord_mlp"], ["coord_mlp_backward"]]
    on_cuda.take_launches()
    on_cuda.set(record=True)
    called(compiled)
    kernels = [symbol_name(launch[0]).split("<")[0] for launch in on_cuda.take_launches()]
    assert kernels == [
        *("pack_mlp", "pack_mlp", "evaluate_mlp"),
        *("pack_mlp", "pack_mlp", "differentiate_mlp", "sum_mlp_kernel", "sum_mlp_kernel"),
    ]


def test_unsupported_calls_fall_back_to_triton_with_a_reason(on_cuda: Any, caplog: pytest.LogCaptureFixture) -> None:
    x, weight = torch.randn(1, 4, 3), torch.randn(1, 5, 3).bfloat16()
    base, frequency, phase = torch.randn(1, 1, 1, 1, 5), torch.randn(1, 2, 2), torch.randn(1, 1, 2)
    features = frequency, phase, torch.randn(1, 5, 4)
    options = [4, 0, 0, 2, 2], "tanh", 1.0, None
    with caplog.at_level(logging.WARNING, "digan_fast"):
        assert chosen("linear_act", x, weight, None, "lrelu", 1.0, None) == "cuda"
        assert chosen("linear_act", x, weight.float(), None, "swish", 1.0, None) == "triton"
        assert chosen("coord_linear", base.half(), *features, None, options[0], "relu", 1.0, None) == "triton"
        assert chosen("coord_linear", base, *features, None, *options) == "triton"
    assert [record.getMessage().split(": backend cuda passed over: ") for record in caplog.records] == [
        ["linear_act", "it has no activation 'swish'"],
        ["coord_linear", "base is torch.float16, weight is torch.float32"],
        ["coord_linear", "it has no activation 'tanh'"],
    ]


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        (rendering(((4, (513,)),)), "a layer has 513 outputs; a tile holds 512"),
        (rendering(((4, (8,)),), colours=5), "pictures have 5 colours; a tile holds 4"),
        (rendering(((4, (8,) * 25),)), "a grid has 25 products; a launch takes 24"),
        (rendering(((4, (8,) * 23), (4, (512,)))), "a grid has 31 products; a launch takes 24"),
        (rendering(((4, (513,)),), "float32"), "a layer has 513 outputs; a tile holds 512"),
        (
            (*rendering(((4, (8,)),))[:-2], [1 << 24, 0, 4, 4], "bfloat16"),
            "the window or the picture reaches beyond 2^23",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_renderings_that_do_not_fit_run_layer_by_layer_with_a_reason(
    on_cuda: Any, args: tuple[Any, ...], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    torch.set_float32_matmul_precision("highest")
    on_cuda.set(record=True)
    with caplog.at_level(logging.WARNING, "digan_fast"):
        assert chosen("render", *args) == "cuda"
        for _ in range(2):
            dispatch.call("render", *args)
    assert [record.getMessage() for record in caplog.records] == [f"render: the fused kernel passed over: {reason}"]
    launches = on_cuda.take_launches()
    assert launches
    assert all("gemm_kernel" in launch[0] for launch in launches)


def test_int8_falls_back_to_triton_with_a_reason(on_cuda: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "digan_fast"):
        assert chosen("render", *rendering(((4, (8,)),))[:-1], "int8") == "triton"
    assert [record.getMessage() for record in caplog.records] == ["render: backend cuda passed over: it has no int8"]


def test_other_devices_and_types_are_rejected_by_name(on_cuda: Any) -> None:
    x = torch.empty(2, 3, device="meta")
    reason = dispatch._kernels["bias_act"]["cuda"].why_not(x, None, 1, "linear", 1.0, None)
    assert reason == "x is on meta"
    reason = dispatch._kernels["bias_act"]["cuda"].why_not(torch.ones(2, 3, dtype=torch.int32), None, 1, "linear")
    assert reason == "x is torch.int32; it takes float32, bfloat16 and float16"


# DIGAN's levels at 128².
PUBLISHED: Widths = (
    (128, (512,)), (0, (512, 512)), (0, (512, 512)), (0, (512, 512)), (128, (512, 512)), (128, (256, 256, 256)),
)  # fmt: skip


@pytest.mark.parametrize(("precision", "size"), [("bfloat16", 2), ("float32", 4)])
def test_sixteen_frames_are_six_launches_that_share_the_weights(precision: str, size: int, on_cuda: Any) -> None:
    """The operations are those of the algebra, without padding: 7.38 G multiply-adds per frame."""
    levels = random_inr(1, 16, PUBLISHED, side=32)
    on_cuda.set(record=True)
    dispatch.call("render", *arguments(levels, 128, (0, 0, 128, 128), precision))
    packed, multiplied = 0, 0
    launches = on_cuda.take_launches()
    for pack, stage in zip(launches[::2], launches[1::2], strict=True):
        assert ("pack_stage" in pack[0], "render_stage" in stage[0]) == (True, True)
        pixels = 32 if "Li512E" in stage[0] and precision == "float32" else 64
        # The first two fields are the copy's address and a video's bytes; the third is the end of the fragments.
        fragments = int.from_bytes(stage[4][16:24], "little")
        packed += fragments * stage[1]
        multiplied += fragments // size * stage[1] * pixels
    blocks = [512, 2048, 4096] if precision == "float32" else [256, 1024, 4096]
    assert [launch[1] for launch in launches[1::2]] == blocks
    macs = 32**2 * 512 * (256 + 6 * 512 + 512) + 64**2 * 512 * (256 + 512 + 256) + 128**2 * 256 * (256 + 512)
    assert multiplied == 16 * macs
    # float32 weights take twice the bytes, and with 512 channels a tile has half the pixels.
    assert packed == (11_542_724_608 if precision == "float32" else 3_690_987_520)


def test_errors_name_the_op(on_cuda: Any) -> None:
    on_cuda.set(shared_memory_limit=1024)
    with pytest.raises(RuntimeError, match=r"render: shared memory of \d+"):
        dispatch.call("render", *rendering(((4, (8,)),)))


def test_addresses_are_checked(on_cuda: Any) -> None:
    at = torch.randn(2, 3).data_ptr()
    good = {"out": at, "x": at, "bias": 0, "outer": 2, "channels": 3, "inner": 1, "activation": 0, "number": 0}
    good |= {"alpha": 1.0, "gain": 1.0, "clamp": 1.0, "stream": 0}
    with pytest.raises(ValueError, match="out is null"):
        on_cuda.bias_act_cuda(**good | {"out": 0})
    with pytest.raises(ValueError, match="number is 3"):
        on_cuda.bias_act_cuda(**good | {"number": 3})


def test_the_stub_has_the_bindings(on_cuda: Any) -> None:
    written = stubs.declarations(stubs.STUB.read_text(encoding="utf-8"))
    declared = {name: text for name, text in stubs.declared(on_cuda).items() if "cuda" in name.lower()}
    assert declared.items() <= written.items()
    assert {name for name in written if "cuda" in name.lower()} == {*declared, "cuda_info"}
