"""nvcc's PTX, executed: results agree with the simulator, and the bytes moved by kernels are counted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from cases import CASES, DTYPES, Case
from conftest import moved
from harness import Launch, executed, simulated
from mlps import OF_SIRENS, check_mlp, check_mlp_gradients, gradient_arguments, mlp, siren
from ops import GEMM_CASES, OPS, check_case, kernel
from random_inrs import random_inr
from renderings import RENDERINGS, arguments, check, op

EXECUTED = ("odd", "tails", "both", "last", "tanh", "matrix", "sine", "softplus")


def record(name: str, launches: Sequence[Launch]) -> None:
    for launch in launches:
        counters = launch.counters
        touched, asked = (
            launch.bytes_moved,
            counters.total("global_bytes_read") + counters.total("global_bytes_written"),
        )
        work = counters.total("tensor_flops"), counters.flops
        moved(f"{name}: {launch.short_name}", touched, asked, *work, counters.total("bank_conflicts"))


@pytest.mark.parametrize(
    ("name", "precision"),
    [
        ("one-pixel", "bfloat16"),
        ("two-grids", "float32"),
        ("two-grids", "bfloat16"),
        ("two-grids", "float16"),
        ("two-grids", "tf32"),
        ("window", "float32"),
        ("window", "bfloat16"),
        ("window", "tf32"),
        ("repeated-pixels", "bfloat16"),
        ("more-features-than-channels", "float32"),
        ("more-features-than-channels", "bfloat16"),
        ("512-to-256", "float32"),
        ("512-to-256", "bfloat16"),
        ("512-to-256", "tf32"),
    ],
)
def test_renderings(name: str, precision: str, nvcc: Path) -> None:
    with executed(nvcc) as launches:
        found = check(name, precision)
    with simulated():
        expected = check(name, precision)
    # Products round identically in both; sines and to-RGB may be contracted differently and round to a neighbour.
    unit = 2.0**-20 if precision == "float32" else 2.0**-7
    assert torch.allclose(found, expected, rtol=0, atol=float(expected.abs().max()) * unit)
    assert all(launch.counters.total("bank_conflicts") == 0 for launch in launches)
    record(f"{name}, {precision}", launches)


@pytest.mark.parametrize("kind", ["float32", "tf32", "bfloat16", "float16"])
@pytest.mark.parametrize("case", [case for case in CASES if case.op in OPS and case.name in EXECUTED], ids=str)
def test_ops(case: Case, kind: str, nvcc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if kind == "tf32" and case not in GEMM_CASES:
        return
    with executed(nvcc) as launches:
        check_case(case, kind, monkeypatch)
    assert all(launch.counters.total("bank_conflicts") == 0 for launch in launches)
    if kind == "bfloat16":
        record(str(case), launches)


@pytest.mark.parametrize(
    ("name", "precision"),
    [("odd", "float32"), ("odd", "bfloat16"), ("features", "float32"), ("encoded", "float16"), ("runs", "bfloat16")],
)
def test_coordinate_mlps(name: str, precision: str, nvcc: Path) -> None:
    with executed(nvcc) as launches:
        check_mlp(kernel("coord_mlp"), mlp(name, precision), precision)
    assert launches[-1].counters.total("bank_conflicts") == 0
    record(f"coord_mlp {name}, {precision}", launches[-1:])


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_activations_of_coordinate_mlps_stay_on_the_chip(precision: str, nvcc: Path) -> None:
    """Three layers of 128 and colours: only coordinates, parameters and colours pass through global memory."""
    sets, points, width = 2, 128, 128
    size = 4 if precision == "float32" else 2
    with executed(nvcc) as launches:
        check_mlp(kernel("coord_mlp"), siren(sets, points, width, 2, precision), precision, OF_SIRENS)
    counters = launches[-1].counters
    colours = sets * points * 3 * 4
    assert counters.unique_bytes_written == counters.total("global_bytes_written") == colours
    fragments = sets * 2 * width * width * size
    assert counters.where("global_bytes_read", r"^cp\.async") == launches[-1].blocks // sets * fragments
    # Five vectors of each layer, the first layer's weights, the last one's; twelve numbers of coordinates' vectors.
    tables = sets * 4 * width * (4 * 5 + 2 + 3)
    assert counters.unique_bytes_read <= points * 2 * 4 + fragments + tables + 1024
    operations = 2 * sets * points * 2 * width * width
    if precision == "bfloat16":
        assert counters.total("tensor_flops") == operations
    record(f"coord_mlp of width 128, {precision}", launches[-1:])


@pytest.mark.parametrize(("name", "precision"), [("odd", "float32"), ("encoded", "bfloat16")])
def test_gradients_of_coordinate_mlps(name: str, precision: str, nvcc: Path) -> None:
    with executed(nvcc) as launches:
        check_mlp_gradients(kernel("coord_mlp_backward"), gradient_arguments(mlp(name, precision)), precision)
    assert all(launch.counters.total("bank_conflicts") == 0 for launch in launches)
    record(f"coord_mlp_backward {name}, {precision}", launches)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_tile_of_a_coordinate_mlp_goes_through_all_layers_and_back(precision: str, nvcc: Path) -> None:
    """Two layers of 128 and colours: bytes that a tile's pass stores, and weights that it copies, both ways."""
    sets, points, width, tile = 2, 128, 128, 64
    size = 4 if precision == "float32" else 2
    with executed(nvcc) as launches:
        args = gradient_arguments(siren(sets, points, width, 1, precision))
        check_mlp_gradients(kernel("coord_mlp_backward"), args, precision)
    launch = next(each for each in launches if each.short_name.startswith("differentiate_mlp"))
    counters, tiles, numbers = launch.counters, sets * points // tile, tile * width
    assert launch.blocks == tiles
    assert counters.where("global_bytes_read", r"^cp\.async") == tiles * 2 * width * width * size
    # Products of two layers; the last one's inputs; three gradients.
    kept = 6 * 4 * numbers
    operands = 2 * size * numbers
    # Biases' and the first layer's weights', of coordinates; the last layer's weights', Σ dz and Σ dz·product.
    sums = 4 * (width * (2 + 2 + 3) + 3 + 3)
    assert counters.total("global_bytes_written") == tiles * (kept + operands + sums) + sets * points * 2 * 4
    assert counters.unique_bytes_written == tiles * (kept // 2 + operands + sums) + sets * points * 2 * 4
    assert counters.total("bank_conflicts") == 0
    if precision == "bfloat16":
        assert counters.total("tensor_flops") == 2 * 2 * sets * points * width * width
    record(f"coord_mlp_backward of width 128, {precision}", launches)


def test_bias_act_moves_each_byte_once(nvcc: Path) -> None:
    x = torch.randn(2, 8, 64).bfloat16()
    with executed(nvcc) as launches:
        y = kernel("bias_act")(x, torch.zeros(8), 1, "lrelu", 1.4, None)
        kernel("bias_act_backward")(x, None, None, y, 1, "lrelu", 1.4, None)
    forward, backward, *_ = (launch.counters for launch in launches)
    assert forward.total("global_bytes_read") - x.nbytes == x.numel() // 8 * 8 * 4
    assert forward.total("global_bytes_written") == x.nbytes
    assert (backward.total("global_bytes_read"), backward.total("global_bytes_written")) == (2 * x.nbytes, x.nbytes)
    assert forward.store_efficiency == backward.store_efficiency == 1


def test_gemms_move_each_operand_once_per_tile(nvcc: Path) -> None:
    """A linear layer, forward and backward: per block, weights are read from L2 for 128 rows, rows for its columns."""
    rows, inputs, outputs = 512, 256, 128
    x, weight, bias = torch.randn(1, rows, inputs), torch.randn(1, outputs, inputs), torch.randn(outputs)
    args = x.bfloat16(), weight.bfloat16(), bias
    with executed(nvcc) as launches:
        y = kernel("linear_act")(*args, "lrelu", 1.4, None)
        kernel("linear_act_backward")(y, *args, y, "lrelu", 1.4, None)
    forward, gradient, bias_sum, by_x, by_weight, weight_sum = launches
    x_bytes, weight_bytes, y_bytes = (2 * tensor.numel() for tensor in (x, weight, y))
    parts = by_weight.blocks // 2
    copied = {
        forward: x_bytes + rows // 128 * weight_bytes,
        by_x: inputs // 128 * y_bytes + rows // 128 * weight_bytes,
        by_weight: inputs // 128 * y_bytes + x_bytes,
    }
    touched = {
        forward: (x_bytes + weight_bytes + 4 * outputs, y_bytes),
        gradient: (y_bytes, y_bytes + 4 * outputs * 4),
        bias_sum: (4 * outputs * 4, 4 * outputs),
        by_x: (y_bytes + weight_bytes, x_bytes),
        by_weight: (y_bytes + x_bytes, 2 * weight_bytes * parts),
        weight_sum: (2 * weight_bytes * parts, weight_bytes),
    }
    for launch, (read, written) in touched.items():
        counters = launch.counters
        assert (counters.unique_bytes_read, counters.unique_bytes_written) == (read, written)
        assert counters.total("global_bytes_written") == written
        assert counters.store_efficiency == 1
        assert counters.total("bank_conflicts") == 0
    for launch, asked in copied.items():
        assert launch.counters.where("global_bytes_read", r"^cp\.async") == asked
        assert launch.counters.total("tensor_flops") == 2 * rows * inputs * outputs
    record("512 × 256 to 128", launches)


def test_features_are_never_stored(nvcc: Path) -> None:
    frames, sinusoids, outputs, side = 2, 64, 128, 16
    base, frequency = torch.randn(1, frames, 8, 8, outputs).bfloat16(), torch.randn(1, sinusoids, 2)
    phase, weight = torch.randn(1, frames, sinusoids), torch.randn(1, outputs, 2 * sinusoids).bfloat16()
    inputs, options = (base, frequency, phase, weight, None), ([side, 0, 0, side, side], "lrelu", 1.4, None)
    with executed(nvcc) as launches:
        y = kernel("coord_linear")(*inputs, *options)
        kernel("coord_linear_backward")(y, *inputs, y, *options)
    forward, gradient, bias_sum, by_weight, weight_sum, by_theta, by_frame, by_video = launches
    feature_bytes = 12 * sinusoids + 4 * sinusoids  # the video's frequencies and its two frames' phases
    base_bytes, weight_bytes, y_bytes = base.nbytes, weight.nbytes, y.nbytes
    parts, tiles = by_weight.blocks, frames * 2
    for launch, read, written in (
        (forward, feature_bytes + base_bytes + weight_bytes, y_bytes),
        (gradient, y_bytes, y_bytes + base_bytes + 4 * outputs),
        (bias_sum, 4 * outputs, 4 * outputs),
        (by_weight, feature_bytes + y_bytes, 2 * weight_bytes * parts),
        (weight_sum, 2 * weight_bytes * parts, weight_bytes),
        (by_theta, feature_bytes + y_bytes + weight_bytes, 12 * sinusoids * tiles),
        (by_frame, 12 * sinusoids * tiles, 12 * sinusoids * frames),
        (by_video, 12 * sinusoids * frames, 12 * sinusoids),
    ):
        counters = launch.counters
        assert (counters.unique_bytes_read, counters.unique_bytes_written) == (read, written)
        assert counters.total("bank_conflicts") == 0
        assert counters.store_efficiency == 1
    record("64 sinusoids to 128 at 16², 2 frames", launches)


@pytest.mark.parametrize(("kind", "multiplications"), [("bfloat16", 32), ("tf32", 32), ("float32", 256)])
def test_a_gemm_step_only_multiplies_and_loads_operands(kind: str, multiplications: int, nvcc: Path) -> None:
    torch.set_float32_matmul_precision("high" if kind == "tf32" else "highest")
    x, weight = (torch.randn(1, 128, 1024, dtype=DTYPES.get(kind, torch.float32)) for _ in range(2))
    with executed(nvcc) as launches:
        kernel("linear_act")(x, weight, None, "linear", 1.0, None)
    # A step has 16 terms in float32 (four at a time) and 32 in bfloat16.
    steps = {"bfloat16": 1024 // 32, "tf32": 1024 // 16, "float32": 1024 // 4}[kind]
    loop = [line for line in launches[0].counters.lines() if line.reached == steps * launches[0].threads]
    opcodes = [line.text.split()[0] for line in loop]
    assert sum(opcode.startswith(("mma.sync", "fma.rn.f32")) for opcode in opcodes) == multiplications
    loads = sum(opcode.startswith(("ldmatrix", "ld.shared")) for opcode in opcodes)
    assert loads == (20 if kind == "float32" else 12)
    assert sum(line.bank_conflicts for line in loop) == 0
    assert sum(opcode.startswith("bar.") for opcode in opcodes) == (0 if kind == "float32" else 1)
    assert not any(opcode.startswith(("ld.global", "ld.local", "st.")) for opcode in opcodes)


# DIGAN's widths, at sides of 16 and 32 pixels.
LEVELS = ((128, (512, 512)), (128, (256, 256, 256)))


@pytest.mark.parametrize(("precision", "slots"), [("bfloat16", 2), ("bfloat16", 4), ("float32", 2)])
def test_only_base_and_image_pass_through_global_memory(precision: str, slots: int, nvcc: Path) -> None:
    side, colours, sinusoids = 16, 3, 128
    size = 4 if precision == "float32" else 2
    levels = random_inr(1, 1, LEVELS, side=side, colours=colours)
    args = arguments(levels, 2 * side, (0, 0, 2 * side, 2 * side), precision)
    with executed(nvcc, shared_memory_limit=(99 if slots == 2 else 163) * 1024) as launches:
        op._cuda(*args)
    (_, below, _, above), pixels = launches, side * side
    assert f"Li512ELi{slots}E" in below.kernel
    feature_bytes, image = sinusoids * 3 * 4, colours * 4
    # Weights of the products, then a bias for each and the last one's to-RGB.
    products_below, tables_below = (256 + 512) * 512 + 512 * 256, (2 + colours) * 512 * 4
    products_above, tables_above = (256 + 256 + 256) * 256, (3 + colours) * 256 * 4
    base = 256 * size
    for launch, products, tables, count, read, written in (
        (below, products_below, tables_below, pixels, 0, base + image),
        (above, products_above, tables_above, 4 * pixels, pixels * (base + image), image),
    ):
        counters = launch.counters
        assert counters.unique_bytes_written == counters.total("global_bytes_written") == count * written
        assert counters.unique_bytes_read == products * size + tables + feature_bytes + colours * 4 + read
        assert counters.where("global_bytes_read", r"^cp\.async") == launch.blocks * products * size
        assert counters.total("bank_conflicts") == 0
        assert counters.store_efficiency == 1
        assert launch.blocks * (32 if launch is below and precision == "float32" else 64) == count
        operations = 2 * count * products
        if precision == "float32":
            # The remainder is sines, activations and to-RGB.
            assert operations < counters.flops < 1.05 * operations
            assert counters.total("tensor_flops") == 0
        else:
            assert counters.total("tensor_flops") == operations
    record(f"DIGAN's widths, {precision}", launches)


def test_the_main_loop_multiplies_and_copies(nvcc: Path) -> None:
    """Two steps of 16 inputs; 64 pixels and 32 columns per warp."""
    opcodes = _main_loop("bfloat16", nvcc)
    assert sum(opcode.startswith("mma.sync") for opcode in opcodes) == 2 * 16
    assert sum(opcode.startswith("ldmatrix") for opcode in opcodes) == 2 * 4
    assert sum(opcode.startswith("ld.shared.v4") for opcode in opcodes) == 4


def test_the_main_loop_in_float32(nvcc: Path) -> None:
    """A step of 8 inputs; 4 pixels and 16 columns per thread."""
    opcodes = _main_loop("float32", nvcc)
    assert sum(opcode.startswith("fma.rn.f32") for opcode in opcodes) == 8 * 4 * 16
    assert sum(opcode.startswith("ld.shared.v4") for opcode in opcodes) == 2 * 4 + 8 * 4
    assert sum(opcode.startswith("ld.") for opcode in opcodes) == 2 * 4 + 8 * 4
    assert sum(opcode == "bar.warp.sync" for opcode in opcodes) == 2


def _main_loop(precision: str, nvcc: Path) -> list[str]:
    with executed(nvcc) as launches:
        check("512", precision)
    loop = launches[1].counters.main_loop()
    opcodes = [line.text.split()[0] for line in loop]
    assert sum(line.bank_conflicts for line in loop) == 0
    assert not any(opcode.startswith(("ld.global", "ld.local", "st.", "bar.sync")) for opcode in opcodes)
    return opcodes


def test_cases_cover_every_width() -> None:
    widths = {width for case in RENDERINGS.values() for _, outputs in case.widths for width in outputs}
    for low, high in ((0, 64), (64, 128), (128, 256), (256, 512)):
        assert any(low < width <= high for width in widths)
