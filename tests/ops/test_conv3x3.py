from __future__ import annotations

import platform
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from checks import (
    check_compiled,
    check_derivatives,
    check_schema,
    check_stride_zero_gradient,
    check_views,
    examples,
    layouts,
    normal,
    reduced,
    thread_counts,
)
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from digan_fast import backends, dispatch, functional, use_backend
from digan_fast.ops import conv3x3

needs_native = pytest.mark.skipif(backends()["native"] is not None, reason="the compiled module was not built")
CPUINFO = Path("/proc/cpuinfo")
EPS = torch.finfo(torch.float32).eps
# Of the largest sum of magnitudes; 9.9 units in the last place observed in 12,000 cases, 2.7 of direct convolution.
UNITS = 16


def formula(x: Tensor, weight: Tensor, stride: int, padding: int, gain: float) -> Tensor:
    """The nine taps one after the other."""
    batch, inputs, height, width = x.shape
    wide = x.new_zeros(batch, inputs, height + 2 * padding, width + 2 * padding)
    wide[:, :, padding : padding + height, padding : padding + width] = x
    rows, columns = wide.shape[2] - 2, wide.shape[3] - 2
    taps = [(j, i) for j in range(3) for i in range(3)]
    terms = [
        torch.einsum("nihw,oi->nohw", wide[:, :, j : j + rows, i : i + columns], weight[:, :, j, i]) for j, i in taps
    ]
    return torch.stack(terms).sum(0)[:, :, ::stride, ::stride] * gain


def three(x: Tensor, weight: Tensor, grad: Tensor, stride: int, padding: int, gain: float) -> list[Tensor]:
    """The convolution, and both gradients of its product with ``grad``."""
    x, weight = x.detach().requires_grad_(), weight.detach().requires_grad_()
    out = functional.conv3x3(x, weight, stride, padding, gain)
    return [out.detach(), *torch.autograd.grad(out, (x, weight), grad)]


def close(found: list[Tensor], x: Tensor, weight: Tensor, grad: Tensor, *options: float) -> bool:
    """Whether all are float32's, and rounded once to the type of x."""
    rounding = 0 if x.dtype == torch.float32 else torch.finfo(x.dtype).eps / 2
    wide = [tensor.double() for tensor in (x, weight, grad)]
    expected = three(*wide, *options)  # type: ignore[arg-type]
    reach = three(*(tensor.abs() for tensor in wide), *options)  # type: ignore[arg-type]

    def is_close(found: Tensor, expected: Tensor, reach: Tensor) -> bool:
        bound = (1 + rounding) * UNITS * EPS * reach.max() + rounding * expected.abs()
        same = found.shape == expected.shape and found.dtype == x.dtype
        return same and bool(((found - expected).abs() <= bound).all())

    return all(map(is_close, found, expected, reach))


@pytest.mark.parametrize("padding", [0, 1, 2])
@pytest.mark.parametrize("stride", [1, 2])
def test_matches_its_formula(stride: int, padding: int) -> None:
    x, weight = torch.randn(2, 3, 7, 6, dtype=torch.float64), torch.randn(4, 3, 3, 3, dtype=torch.float64)
    found = functional.conv3x3(x, weight, stride, padding, 1.5)
    torch.testing.assert_close(found, formula(x, weight, stride, padding, 1.5))


@pytest.mark.parametrize(("stride", "padding"), [(1, 1), (2, 0), (2, 2)])
def test_derivatives(stride: int, padding: int) -> None:
    def function(x: Tensor, weight: Tensor) -> Tensor:
        return functional.conv3x3(x, weight, stride, padding, 0.5)

    check_derivatives(function, (normal(1, 2, 4, 5), normal(2, 2, 3, 3)))


def test_schema_and_compilation() -> None:
    x, weight = normal(2, 3, 6, 7, dtype=torch.float32), normal(4, 3, 3, 3, dtype=torch.float32)
    grad = torch.randn(2, 4, 6, 7)
    ops = torch.ops.digan_fast
    check_schema(ops.conv3x3.default, (x, weight, 1, 1, 0.5))
    check_schema(ops.conv3x3_input_backward.default, (grad, weight, [6, 7], 1, 1, 0.5))
    check_schema(ops.conv3x3_weight_backward.default, (grad, x, 1, 1, 0.5))
    check_compiled(lambda a, b: functional.conv3x3(a, b, 2, 0, 0.5), (x, weight), formula=True)


def test_views_and_stride_zero_gradients() -> None:
    def function(x: Tensor, weight: Tensor) -> Tensor:
        return functional.conv3x3(x, weight, 1, 1)

    check_views(function, (normal(2, 3, 5, 4), normal(2, 3, 3, 3)))
    check_stride_zero_gradient(function, (normal(2, 3, 5, 4), normal(2, 3, 3, 3)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weight": torch.zeros(2, 4, 3, 3)}, r"weight: shape \(2, 4, 3, 3\), expected \[O, 3, 3, 3\]"),
        ({"weight": torch.zeros(2, 3, 3, 3).double()}, "weight: torch.float64, expected torch.float32"),
        ({"x": torch.zeros(3, 5, 5)}, r"x: shape \(3, 5, 5\), expected \[N, I, H, W\]"),
        ({"x": torch.zeros(1, 3, 2, 5)}, "expected at least 3 pixels"),
        ({"stride": 3}, "stride: 3, expected 1 or 2"),
        ({"padding": -1}, "padding: -1, expected 0, 1 or 2"),
    ],
)
def test_errors_name_the_argument(arguments: dict[str, object], message: str) -> None:
    valid: dict[str, object] = {"x": torch.zeros(1, 3, 5, 5), "weight": torch.zeros(2, 3, 3, 3)}
    with pytest.raises(ValueError, match=message):
        functional.conv3x3(**(valid | arguments))  # type: ignore[arg-type]


@needs_native
@pytest.mark.usefixtures("poisoned")
@settings(deadline=None, max_examples=examples(150))
@given(
    images=st.integers(1, 3),
    inputs=st.sampled_from([1, 2, 15, 16, 17, 33]),
    outputs=st.sampled_from([1, 3, 16, 31, 40]),
    size=st.tuples(st.integers(1, 19), st.integers(1, 19)),
    stride=st.integers(1, 2),
    padding=st.integers(0, 2),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
    layout=st.integers(0, 3),
    threads=st.integers(1, 3),
    seed=st.integers(0, 2**31),
)
def test_native_and_its_gradients(
    images: int,
    inputs: int,
    outputs: int,
    size: tuple[int, int],
    stride: int,
    padding: int,
    dtype: torch.dtype,
    layout: int,
    threads: int,
    seed: int,
) -> None:
    assume(min(size) + 2 * padding >= 3)
    torch.manual_seed(seed)
    x, weight = torch.randn(images, inputs, *size), torch.randn(outputs, inputs, 3, 3)
    grad = torch.randn(images, outputs, *((side + 2 * padding - 3) // stride + 1 for side in size))
    x, weight, grad = x.to(dtype), weight.to(dtype), grad.to(dtype)
    for _ in thread_counts(threads):
        with use_backend("native"):
            found = three(layouts(x)[layout], weight, layouts(grad)[3 - layout], stride, padding, 0.7)
    assert close(found, x, weight, grad, stride, padding, 0.7)


@needs_native
@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("more", [70, 0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_native_in_many_groups_with_any_number_of_threads(stride: int, more: int, dtype: torch.dtype) -> None:
    """More patches than a group has, and blocks of the weight's gradient in several sizes.

    As terms, blocks lie in whole squares, and 144 channels divided among five threads do not.
    """
    channels, side = reduced(200, 40) if more else 144, reduced(51, 19)
    x, weight = torch.randn(3, channels, side, side), torch.randn(channels + more, channels, 3, 3)
    out = (side - 1) // stride + 1
    grad = torch.randn(3, channels + more, out, out)
    x, weight, grad = x.to(dtype), weight.to(dtype), grad.to(dtype)
    found = []
    for _ in thread_counts(1, 2, 5):
        with use_backend("native"):
            found.append(three(x, weight, grad, stride, 1, 1.0))
    assert close(found[0], x, weight, grad, stride, 1, 1.0)
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


@needs_native
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-5), (torch.bfloat16, 0.02)])
def test_native_second_derivatives(stride: int, dtype: torch.dtype, bound: float) -> None:
    """Of a gradient penalty, by the weight and by x, and third ones by both.

    In bfloat16 every result is rounded, up to 2⁻⁸ of it, on the way to the next derivative.
    """
    x, weight = torch.randn(2, 16, 9, 9), torch.randn(16, 16, 3, 3) / 12

    def derivatives(x: Tensor, weight: Tensor) -> list[Tensor]:
        x, weight = x.requires_grad_(), weight.requires_grad_()
        out = functional.conv3x3(x, weight, stride, 1, 0.8)
        (gradient,) = torch.autograd.grad(out.pow(3).sum(), x, create_graph=True)
        second = torch.autograd.grad(gradient.square().sum(), (x, weight), create_graph=True)
        third = torch.autograd.grad(sum(each.pow(2).sum() for each in second), (x, weight))  # type: ignore[arg-type]
        return [each.detach() for each in (gradient, *second, *third)]

    with use_backend("native"):
        found = derivatives(x.to(dtype), weight.to(dtype))
    for mine, other in zip(found, derivatives(x.double(), weight.double()), strict=True):
        assert float((mine - other).norm() / other.norm()) < bound


@needs_native
@pytest.mark.parametrize("empty", ["images", "inputs", "outputs"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_native_without_images_or_channels(empty: str, dtype: torch.dtype) -> None:
    extents = {"images": 2, "inputs": 3, "outputs": 4} | {empty: 0}
    x, weight = torch.randn(extents["images"], extents["inputs"], 5, 5), torch.randn(extents["outputs"], 3, 3, 3)
    weight = weight[:, : extents["inputs"]]
    grad = torch.randn(extents["images"], extents["outputs"], 5, 5)
    x, weight, grad = x.to(dtype), weight.to(dtype), grad.to(dtype)
    with use_backend("native"):
        found = three(x, weight, grad, 1, 1, 1.0)
    assert [(t.shape, t.dtype) for t in found] == [(t.shape, dtype) for t in (grad, x, weight)]
    assert all(not tensor.any() for tensor in found)


@needs_native
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_ops_themselves_check_shapes(dtype: torch.dtype) -> None:
    """Kernels read as far as the other tensors' shapes say."""
    ops, zeros = torch.ops.digan_fast, partial(torch.zeros, dtype=dtype)
    weight = zeros(8, 4, 3, 3)
    with use_backend("native"):
        for x, other in (
            (zeros(1, 5, 9, 9), weight),
            (zeros(4, 9, 9), weight),
            (zeros(1, 4, 9, 9), weight[..., :1]),
            (zeros(1, 4, 9, 9), weight.flatten()),
            (zeros(1, 4, 2, 9), weight),
        ):
            with pytest.raises(ValueError, match="expected"):
                ops.conv3x3(x, other, 1, 0, 1.0)
        for grad, size in ((zeros(1, 8, 2, 2), [500, 500]), (zeros(1, 7, 5, 5), [5, 5]), (zeros(1, 8, 5, 5), [5])):
            with pytest.raises(ValueError, match="expected"):
                ops.conv3x3_input_backward(grad, weight, size, 1, 1, 1.0)
        for grad in (zeros(1, 8, 2, 2), zeros(2, 8, 9, 9), zeros(8, 9, 9)):
            with pytest.raises(ValueError, match="expected"):
                ops.conv3x3_weight_backward(grad, zeros(1, 4, 9, 9), 1, 1, 1.0)


@needs_native
def test_native_keeps_nan_within_patches() -> None:
    """A sample that is not finite spoils the patches of 4×4 outputs that read it, and nothing else."""
    for stride in (1, 2):
        x, weight = torch.randn(2, 16, 25, 25), torch.randn(16, 16, 3, 3)
        with use_backend("native"):
            expected = functional.conv3x3(x, weight, stride, 1)
            x[1, 3, 12, 12] = float("inf")
            found = functional.conv3x3(x, weight, stride, 1)
        spoilt = ~found.isfinite()
        assert torch.equal(found[~spoilt], expected[~spoilt])
        rows = spoilt[1].any(0).any(1).nonzero().flatten().tolist()
        centre = 12 // stride
        assert set(range(centre, centre + 1)) <= set(rows) <= set(range(centre // 4 * 4 - 4, centre // 4 * 4 + 8))
        assert not spoilt[0].any()


@needs_native
def test_minimal_filtering_computes_what_it_computes_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []

    def recorded(op: str, *args: object, real: Callable[..., object] = dispatch.call) -> object:
        called.append(op)
        return real(op, *args)

    monkeypatch.setattr(dispatch, "call", recorded)

    def ops(channels: int, side: int, dtype: torch.dtype = torch.float32) -> list[str]:
        called.clear()
        x, weight = (
            torch.randn(2, channels, side, side, dtype=dtype),
            torch.randn(channels, channels, 3, 3, dtype=dtype),
        )
        three(x, weight, torch.randn(2, channels, side, side, dtype=dtype), 1, 1, 1.0)
        return sorted(called)

    every = ["conv3x3", "conv3x3_input_backward", "conv3x3_weight_backward"]
    assert ops(64, 16) == every
    assert ops(8, 16) == []
    for unit, expected in (
        ("tdpbf16ps", ([], [])),
        ("vdpbf16ps", ([], every)),
        ("fma", (every, every)),
        ("", ([], [])),
    ):
        monkeypatch.setattr(dispatch.native_module(), "bfloat16_unit", lambda unit=unit: unit)
        assert (ops(64, 16, torch.bfloat16), ops(128, 48, torch.bfloat16)) == expected
    with use_backend("reference"):
        assert ops(64, 16) == []
    with use_backend("native"):
        assert len(ops(8, 16)) == 3


@needs_native
@pytest.mark.skipif(not CPUINFO.exists() or platform.machine() != "x86_64", reason="nothing says what the CPU is")
def test_the_unit_for_bfloat16() -> None:
    """Tiles need all of their features; pairs are multiplied slowly on Intel's cores."""
    found = set(dispatch.native_module().cpu_features())
    tiles = {"amx-bf16", "amx-tile", "amx-int8", "the kernel's permission for amx-tile"}
    pairs = {"avx512bf16", "avx512vnni"} <= found and "GenuineIntel" not in CPUINFO.read_text()
    expected = "tdpbf16ps" if tiles <= found else "vdpbf16ps" if pairs else "fma"
    assert dispatch.native_module().bfloat16_unit() == expected


@pytest.mark.parametrize(
    ("channels", "side", "pays"), [(128, 32, True), (128, 16, False), (256, 16, True), (255, 16, False)]
)
def test_minimal_filtering_of_stride_2_needs_pixels_or_channels(channels: int, side: int, pays: bool) -> None:
    x, weight = torch.empty(4, channels, 2 * side, 2 * side), torch.empty(channels, channels, 3, 3)
    assert conv3x3._output_pays(x, weight, 2, 1, 1.0) is pays


@needs_native
def test_only_the_factors_of_wanted_gradients_are_kept() -> None:
    x, weight = torch.randn(2, 64, 16, 16), torch.randn(64, 64, 3, 3)
    for by_x, by_weight in ((True, False), (False, True)):
        out = functional.conv3x3(x.requires_grad_(by_x), weight.requires_grad_(by_weight), 1, 1)
        assert out.grad_fn is not None
        kept = out.grad_fn.saved_tensors
        assert [tensor is not None for tensor in kept] == [by_weight, by_x]


def test_why_native_does_not_run_a_call() -> None:
    x = torch.zeros(1)
    assert conv3x3._why_not(x.half(), x) == "first is torch.float16; it takes float32 and bfloat16"
    assert conv3x3._why_not(x, x.bfloat16()) == "first is torch.float32, second is torch.bfloat16"
