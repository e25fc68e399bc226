"""The kernels' source, compiled by g++ with threads as fibers: results match the formulas in any thread order."""

from __future__ import annotations

import importlib

import pytest
import torch
from cases import DTYPES, Case, calls, reference
from coordinate_mlps import modulated
from harness import LARGE_SHARED, simulated, symbol_name
from mlps import CUDA_FORWARD_HALVES, MLPS, OF_SIRENS, check_mlp, check_mlp_gradients, gradient_arguments, mlp, siren
from mlps import PRECISIONS as OF_MLPS
from mlps import arguments as arguments_of
from ops import GEMM_CASES, OP_CASES, check_case, kernel, misaligned, supports
from random_inrs import changed, distance, exact, random_inr
from renderings import PRECISIONS, RENDERINGS, arguments, check, op

from digan_fast import dispatch

coord_mlp = importlib.import_module("digan_fast.ops.coord_mlp")

SETTINGS = ({"copies": 0}, {"copies": 1}, {"copies": 2, "seed": 1})


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", RENDERINGS)
def test_renderings(name: str, precision: str, poisoned: None) -> None:
    with simulated():
        check(name, precision)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", ["two-grids", "window", "512", "more-features-than-channels"])
def test_bit_identical_in_any_order(name: str, precision: str, poisoned: None) -> None:
    """The order of threads, and of asynchronous copies: early, late or in between."""
    found = []
    for settings in SETTINGS:
        with simulated(**settings):
            found.append(check(name, precision))
    with simulated(shared_memory_limit=LARGE_SHARED):
        found.append(check(name, precision))
    assert all(torch.equal(found[0], other) for other in found[1:])


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_window_is_bit_identical_to_the_picture(precision: str) -> None:
    case = RENDERINGS["two-grids"]
    levels = case.levels()
    with simulated():
        whole = op._cuda(*arguments(levels, 16, (0, 0, 16, 16), precision))
        for top, left, height, width in ((0, 0, 1, 1), (3, 5, 7, 9), (15, 2, 1, 14)):
            part = op._cuda(*arguments(levels, 16, (top, left, height, width), precision))
            assert torch.equal(part, whole[..., top : top + height, left : left + width])


def test_rendering_in_parts_is_bit_identical(monkeypatch: pytest.MonkeyPatch) -> None:
    args = arguments(RENDERINGS["two-grids"].levels(), 16, (0, 0, 16, 16), "bfloat16")
    with simulated():
        whole = op._cuda(*args)
        monkeypatch.setattr(op, "_PIXELS_AT_ONCE", 128)
        assert torch.equal(op._cuda(*args), whole)


def test_empty() -> None:
    args = arguments(RENDERINGS["one-level"].levels(), 8, (0, 0, 8, 8), "bfloat16")
    lists = [[tensor[:0] for tensor in tensors] for tensors in args[:3]]
    with simulated():
        assert op._why_not_cuda(*lists, *args[3:]) is None
        assert op._cuda(*lists, *args[3:]).shape == (0, 1, 3, 8, 8)


# The bound is for sums: a single term is mostly cancelled by the bias.
@pytest.mark.parametrize("case", [case for case in GEMM_CASES if str(case) != "linear_act-one"], ids=str)
def test_gemms_as_tf32(case: Case, poisoned: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with simulated() as module:
        check_case(case, "tf32", monkeypatch)
        names = {symbol_name(launch[0]) for launch in module.take_launches()}
    gemms = {name for name in names if name.startswith("gemm_kernel")}
    assert bool(gemms) != case.name.startswith("no-")
    assert all("Tf32" in name for name in gemms)


@pytest.mark.parametrize("case", [case for case in GEMM_CASES if case.name in ("odd", "tails", "sine")], ids=str)
def test_gemms_have_the_same_bits_in_any_order(case: Case, poisoned: None) -> None:
    for name, args in calls(case, torch.bfloat16):
        found = []
        for settings in SETTINGS:
            with simulated(**settings):
                result = kernel(name)(*args)
                found.append(result if isinstance(result, tuple) else (result,))
        assert all(all(map(torch.equal, found[0], other)) for other in found[1:])


@pytest.mark.parametrize("kind", DTYPES)
def test_gemms_of_misaligned_addresses(kind: str) -> None:
    """Copies are element by element instead of 16 bytes at a time, and results are bit-identical."""
    linear = [torch.randn(shape).to(DTYPES[kind]) for shape in ((2, 70, 64), (2, 48, 64), (48,), (2, 70, 48))]
    features = [torch.randn(shape).to(DTYPES[kind]) for shape in ((1, 2, 3, 3, 16), (1, 16, 64), (1, 2, 6, 6, 16))]
    fixed, options = (torch.randn(1, 32, 2), torch.randn(1, 2, 32)), ("lrelu", 1.4, 0.5)
    found = []
    for place in (lambda tensor: tensor, misaligned):
        x, weight, bias, grad = map(place, linear)
        base, feature_weight, feature_grad = map(place, features)
        own = (base, *fixed, feature_weight, None)
        grid = [8, 0, 2, 6, 6]
        with simulated():
            y = kernel("linear_act")(x, weight, bias, *options)
            z = kernel("coord_linear")(*own, grid, *options)
            found.append(
                (
                    y,
                    z,
                    *kernel("linear_act_backward")(grad, x, weight, bias, y, *options),
                    *kernel("coord_linear_backward")(feature_grad, *own, z, grid, *options),
                )
            )
    # With one column per thread, other threads sum over the rows.
    close = {"rtol": 0, "atol": 1e-5} if kind == "float32" else {"rtol": 0.02, "atol": 0.02}
    for index, (aligned, other) in enumerate(zip(*found, strict=True)):
        if index in (4, 9):
            torch.testing.assert_close(other, aligned, **close)
        else:
            assert torch.equal(other, aligned), index


@pytest.mark.parametrize("activation", ["lrelu", "sine"])
def test_gradients_of_nan(activation: str) -> None:
    x, weight, options = torch.full((1, 2, 3), float("nan")), torch.ones(1, 4, 3), (activation, 1.0, None)
    with simulated():
        y = kernel("linear_act")(x, weight, None, *options)
        dx, dweight, _ = kernel("linear_act_backward")(torch.ones_like(y), x, weight, None, y, *options)
    assert y.isnan().all()
    assert dweight.isnan().all()
    assert bool(dx.isnan().all()) == (activation == "sine")
    assert (dx != 0).all()


def test_rows_shared_by_videos() -> None:
    rows, weight, grad = torch.randn(5, 33), torch.randn(3, 20, 33), torch.randn(3, 5, 20)
    for x in (rows.expand(3, 5, 33), rows.expand(3, 5, 33).contiguous()):
        with simulated():
            y = kernel("linear_act")(x, weight, None, "relu", 1.4, None)
            dx, dweight, _ = kernel("linear_act_backward")(grad, x, weight, None, y, "relu", 1.4, None)
        assert torch.allclose(y, reference("linear_act", x, weight, None, "relu", 1.4, None)[0], atol=1e-5)
        right = reference("linear_act_backward", grad, x, weight, None, y, "relu", 1.4, None)
        assert torch.allclose(dx, right[0], atol=1e-5)
        assert torch.allclose(dweight, right[1], atol=1e-5)


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_layer_by_layer(precision: str, poisoned: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Renderings that the fused kernel does not support run on the kernels of the ops."""
    levels = random_inr(1, 2, ((20, (530, 24)), (5, (30,))), colours=5)
    args = arguments(levels, 16, (3, 2, 9, 11), precision)
    monkeypatch.setattr(dispatch, "_why_not", lambda backend: "there is none" if backend == "triton" else None)
    with simulated() as module, dispatch.use_backend("cuda"):
        assert op._why_not_fused(*args) is not None
        assert op._why_not_cuda(*args) is None
        found = op._cuda(*args)
        kernels = {symbol_name(launch[0]).split("<")[0] for launch in module.take_launches()}
    assert kernels == {"gemm_kernel"}
    if precision == "float16":
        levels = changed(levels, lambda tensor: tensor.half().float())
    right = exact(levels, 16, (3, 2, 9, 11))
    unit = {"float32": 2.0**-22, "bfloat16": 2.0**-8, "float16": 2.0**-11}[precision]
    assert distance(found, right) <= 3 * unit


@pytest.mark.parametrize("kind", DTYPES)
@pytest.mark.parametrize("case", OP_CASES, ids=str)
def test_ops(case: Case, kind: str, poisoned: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with simulated():
        check_case(case, kind, monkeypatch)


@pytest.mark.parametrize("kind", DTYPES)
def test_misaligned_addresses(kind: str) -> None:
    x, bias = torch.randn(3, 8, 16).to(DTYPES[kind]), torch.randn(8).to(DTYPES[kind])
    options = (1, "lrelu", 1.4, 0.5)
    with simulated() as module:
        aligned = kernel("bias_act")(x, bias, *options)
        found = kernel("bias_act")(misaligned(x), bias, *options)
        backward = kernel("bias_act_backward")(x, None, None, found, *options)
        other = kernel("bias_act_backward")(misaligned(x), None, None, misaligned(found), *options)
        names = [symbol_name(launch[0]) for launch in module.take_launches()]
    assert torch.equal(found, aligned)
    assert all(map(torch.equal, backward, other))
    assert len(set(names)) == 6


def test_a_channel_sum_in_several_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    for shape in ((3, 2, 70, 71), (9001, 33)):
        x = torch.randn(shape)
        with simulated():
            _, dbias = kernel("bias_act_backward")(x, None, None, x, 1, "linear", 1.0, None)
        dims = [dim for dim in range(x.ndim) if dim != 1]
        assert torch.allclose(dbias.double(), x.double().sum(dims), rtol=0, atol=2e-4)


def test_a_gradient_of_stride_0() -> None:
    x = torch.randn(2, 3, 5)
    args = (torch.ones(()).expand(2, 3, 5), x, None, x, 1, "swish", 1.0, None)
    with simulated():
        found = kernel("bias_act_backward")(*args)
    assert all(map(torch.allclose, found, reference("bias_act_backward", *args)))


@pytest.mark.parametrize("precision", OF_MLPS)
@pytest.mark.parametrize("name", MLPS)
def test_coordinate_mlps(name: str, precision: str, poisoned: None) -> None:
    """Products that read coordinates again, and a last one that is not a sum over the tile, are of float32."""
    args = mlp(name, precision)
    with simulated():
        assert supports("coord_mlp", *args) == (precision == "float32" or name in CUDA_FORWARD_HALVES)
        if supports("coord_mlp", *args):
            check_mlp(kernel("coord_mlp"), args, precision)


@pytest.mark.parametrize("precision", OF_MLPS)
@pytest.mark.parametrize("width", [90, 256, 300, 512])
def test_wide_coordinate_mlps(width: int, precision: str, poisoned: None) -> None:
    with simulated(shared_memory_limit=LARGE_SHARED if width == 512 else 99 * 1024):
        check_mlp(kernel("coord_mlp"), siren(2, 70, width, 1, precision), precision, OF_SIRENS)


@pytest.mark.parametrize("outputs", [65, 200])
@pytest.mark.parametrize("precision", OF_MLPS)
def test_coordinate_mlps_of_more_outputs_than_channels(precision: str, outputs: int, poisoned: None) -> None:
    args = siren(2, 70, 64, 1, precision, outputs=outputs)
    with simulated():
        check_mlp(kernel("coord_mlp"), args, precision, OF_SIRENS)
        assert supports("coord_mlp_backward", *gradient_arguments(args)) == (precision == "float32")
        assert not supports("coord_mlp", *siren(2, 70, 64, 1, precision, outputs=513))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", ["odd", "encoded"])
def test_coordinate_mlps_have_the_same_bits_in_any_order(name: str, precision: str, poisoned: None) -> None:
    found = []
    for settings in SETTINGS:
        with simulated(**settings):
            found.append(kernel("coord_mlp")(*mlp(name, precision)))
    assert all(torch.equal(found[0], other) for other in found[1:])


def test_coordinate_mlps_of_many_layers() -> None:
    with simulated():
        check_mlp(kernel("coord_mlp"), siren(1, 5, 8, 30, "float32"), "float32")


def test_coordinate_mlps_that_do_not_fit_say_why() -> None:
    reason = dispatch._kernels["coord_mlp"]["cuda"].why_not
    with simulated():
        assert reason(*siren(1, 5, 513, 1, "bfloat16")) == "a layer has 513 outputs; a tile holds 512"
        assert reason(*mlp("shared", "bfloat16")) == "layer 2 multiplies in float32, others do not"


def test_coordinate_mlps_without_samples_or_points() -> None:
    points, weights, *rest = siren(3, 5, 8, 1, "float32")
    with simulated():
        assert kernel("coord_mlp")(points[:, :0], weights, *rest).shape == (3, 0, 3)
        assert kernel("coord_mlp")(points, [each[:0] for each in weights], *rest).shape == (0, 5, 3)


@pytest.mark.parametrize(
    ("name", "precision"),
    [*((name, "float32") for name in MLPS), ("odd", "bfloat16"), ("runs", "bfloat16"), ("encoded", "float16")],
)
def test_gradients_of_coordinate_mlps(name: str, precision: str, poisoned: None) -> None:
    with simulated():
        check_mlp_gradients(kernel("coord_mlp_backward"), gradient_arguments(mlp(name, precision)), precision)


@pytest.mark.parametrize(("width", "precision"), [(128, "bfloat16"), (256, "float16"), (512, "float32")])
def test_gradients_of_wide_coordinate_mlps(width: int, precision: str, poisoned: None) -> None:
    with simulated():
        args = gradient_arguments(siren(1, 50, width, 1, precision))
        check_mlp_gradients(kernel("coord_mlp_backward"), args, precision)


@pytest.mark.parametrize(("name", "precision"), [("odd", "float32"), ("encoded", "bfloat16")])
def test_gradients_of_coordinate_mlps_have_the_same_bits_in_any_order(
    name: str, precision: str, poisoned: None
) -> None:
    found = []
    for settings in SETTINGS:
        with simulated(**settings):
            found.append(kernel("coord_mlp_backward")(*gradient_arguments(mlp(name, precision))))
    assert all(all(map(torch.equal, found[0], other)) for other in found[1:])


@pytest.mark.parametrize(
    ("name", "bytes_at_once", "launches"),
    [("encoded", 0, 4), ("encoded", 300_000, 2), ("shared", 0, 4), ("shared", 450_000, 2)],
)
def test_gradients_of_coordinate_mlps_in_parts(
    name: str, bytes_at_once: int, launches: int, poisoned: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tile at a time, or one sample's two tiles: sums go on from one launch to the next."""
    monkeypatch.setattr(coord_mlp, "_CHUNK_BYTES", bytes_at_once)
    args = mlp(name, "float32")
    with simulated(record=True) as module:
        kernel("coord_mlp_backward")(*gradient_arguments(args))
        names = [symbol_name(launch[0]) for launch in module.take_launches()]
    assert sum(name.startswith("differentiate_mlp") for name in names) == launches
    with simulated():
        check_mlp_gradients(kernel("coord_mlp_backward"), gradient_arguments(args), "float32")


def test_gradients_of_a_coordinate_mlp_one_at_a_time(poisoned: None) -> None:
    """What is not wanted is empty, and changes nothing else."""
    everything = gradient_arguments(mlp("odd", "float32"))
    with simulated():
        whole = kernel("coord_mlp_backward")(*everything)
        for place, need in enumerate(everything[-1]):
            wanted = [need and at == place for at in range(len(whole))]
            found = kernel("coord_mlp_backward")(*everything[:-1], wanted)
            assert [each.numel() > 0 for each in found] == wanted
            assert torch.equal(found[place], whole[place])


def test_gradients_of_coordinate_mlps_of_odd_calls() -> None:
    """A gradient of stride 0, shared coordinates, no samples, no points."""
    grad, points, weights, *rest = gradient_arguments(siren(3, 5, 8, 1, "float32"))
    backward = kernel("coord_mlp_backward")
    with simulated():
        check_mlp_gradients(backward, [torch.ones(()).expand(3, 5, 3), points, weights, *rest], "float32")
        empty = backward(grad[:, :0], points[:, :0], weights, *rest)
        assert [each.shape for each in empty[:2]] == [(1, 0, 2), (3, 8, 2)]
        assert not any(each.any() for each in empty)
        assert backward(grad[:0], points, [each[:0] for each in weights], *rest)[1].shape == (0, 8, 2)


def test_gradients_of_coordinate_mlps_that_do_not_fit_say_why(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    x, layers = torch.rand(1, 5, 3), modulated(1, 3, (512, 512, 512, 3), ("sine",) * 4, (2,), 12, False, torch.float32)
    encoded = arguments_of(x, layers, torch.randn(6, 3), torch.randn(6), precision="bfloat16")
    wide = siren(1, 5, 64, 1, "bfloat16")
    wide[1][-1], wide[2][-1] = torch.randn(1, 17, 64), torch.randn(1, 17)
    monkeypatch.setattr(dispatch, "_said", set())
    monkeypatch.setattr(dispatch, "_why_not", lambda backend: None)
    with simulated(), caplog.at_level("WARNING", "digan_fast"):
        for args in (siren(1, 5, 513, 1, "float32"), encoded, wide):
            assert not dispatch.runs("coord_mlp_backward", "cuda", *gradient_arguments(args))
        assert dispatch.runs("coord_mlp_backward", "cuda", *gradient_arguments(siren(1, 5, 512, 1, "bfloat16")))
        with dispatch.use_backend("triton"):
            assert not dispatch.runs("coord_mlp_backward", "cuda", *gradient_arguments(siren(1, 5, 8, 1, "float32")))
    assert [record.getMessage() for record in caplog.records] == [
        f"coord_mlp_backward: backend cuda passed over: {reason}"
        for reason in (
            "a layer has 513 outputs; a tile holds 512",
            "a tile of 512 channels in half precision does not read encoded coordinates again",
            "the last layer has 17 outputs; a tile holds gradients by 16",
        )
    ]


def test_wide_rows_of_weights_are_not_supported() -> None:
    args = torch.empty(2, 4097), torch.empty(1, 2, 3), torch.empty(1, 3, 4097), "demod"
    with simulated():
        for op, rest in (("fmm_weights", ()), ("fmm_weights_backward", (torch.empty(1, 2, 4097),))):
            reason = dispatch._kernels[op]["cuda"].why_not(*rest, *args[:3], *rest, args[3])
            assert reason == "weight has 4097 inputs; it takes 4096 at most"
