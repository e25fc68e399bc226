"""The PTX of each kernel, executed: values match the formula at small shapes with tails; bytes moved are counted."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from cases import CASES, DTYPES, REAL, Case, calls, check, check_sines, kernel
from conftest import moved
from emulator.triton_offline import offline
from mlps import OF_SIRENS, check_mlp, check_mlp_gradients, gradient_arguments, mlp, siren
from renders import check_render
from traffic import programs_of_a_row

from digan_fast.kernels._products import VERSION

EXECUTED = {
    "linear_act": ("odd", "tails", "sine", "rgb"),
    "coord_linear": ("odd", "tails"),
    "fmm_weights": ("odd", "tanh"),
    "upfirdn2d": ("odd", "both", "last"),
    "bias_act": ("odd", "last", "no-bias"),
}


@pytest.mark.parametrize(("arch", "kind"), [(80, "float32"), (80, "bfloat16"), (80, "tf32"), (90, "bfloat16")])
@pytest.mark.parametrize("case", [case for case in CASES if case.name in EXECUTED.get(case.op, ())], ids=str)
def test_matches_its_formula(case: Case, arch: int, kind: str) -> None:
    torch.set_float32_matmul_precision("high" if kind == "tf32" else "highest")
    dtype = DTYPES.get(kind, torch.float32)
    for op, args in calls(case, dtype):
        with offline(arch, execute=True) as launches:
            check(op, args, dtype, unit=2.0**-7 if kind == "tf32" else None)
        for launch in launches:
            counters = launch.counters
            assert counters is not None
            unique = counters.unique_bytes_read + counters.unique_bytes_written
            assert unique <= launch.compulsory_bytes
            total = counters.total("global_bytes_read") + counters.total("global_bytes_written")
            moved(f"{op}-{case.name} {launch.name.strip('_')}", kind, arch, launch.compulsory_bytes, unique, total)
            if case.name == "no-bias":
                assert total == unique


@pytest.mark.parametrize(("arch", "precision"), [(80, "bfloat16"), (90, "bfloat16")])
def test_renders(arch: int, precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with offline(arch, execute=True) as launches:
        check_render(monkeypatch, "window", precision)
    last = launches[-1]
    assert last.counters is not None
    unique = last.counters.unique_bytes_read + last.counters.unique_bytes_written
    total = last.counters.total("global_bytes_read") + last.counters.total("global_bytes_written")
    moved(f"render-window {last.name.strip('_')}", precision, arch, last.compulsory_bytes, unique, total)
    assert unique <= last.compulsory_bytes


@pytest.mark.parametrize(
    ("arch", "name", "precision"),
    [(80, "odd", "float32"), (80, "features", "bfloat16"), (80, "runs", "float16"), (90, "few", "bfloat16")],
)
@pytest.mark.skipif(VERSION < (3, 9), reason="coord_mlp needs Triton 3.9")
def test_coordinate_mlps(arch: int, name: str, precision: str) -> None:
    with offline(arch, execute=True) as launches:
        check_mlp(kernel("coord_mlp"), mlp(name, precision), precision)
    assert len(launches) == 1


@pytest.mark.parametrize(("arch", "width", "precision"), [(80, 64, "float32"), (90, 64, "bfloat16")])
@pytest.mark.skipif(VERSION < (3, 9), reason="coord_mlp needs Triton 3.9")
def test_activations_of_coordinate_mlps_stay_on_the_chip(arch: int, width: int, precision: str) -> None:
    """Coordinates and parameters are read, colours written: no activation goes through global memory."""
    with offline(arch, execute=True) as launches:
        check_mlp(kernel("coord_mlp"), siren(2, 100, width, 3, precision), precision, OF_SIRENS)
    (launch,) = launches
    counters = launch.counters
    assert counters is not None
    colours, coordinates = 2 * 100 * 3 * 4, 100 * 2 * 4
    assert counters.unique_bytes_written == counters.total("global_bytes_written") == colours
    traffic = counters.traffic
    assert traffic["coordinates"].distinct_read == coordinates
    read = {name: traffic[name].distinct_read for name in ("wide", "low", "vectors") if name in traffic}
    size = 2 if precision == "bfloat16" else 4
    weights = 2 * (4 * width * 2 + 3 * size * width**2 + 4 * 3 * width)
    assert sum(read.values()) == weights + 4 * (4 * width + 3)
    moved(f"coord_mlp {width}", precision, arch, launch.compulsory_bytes, counters.unique_bytes_read + colours,
          counters.total("global_bytes_read") + colours)  # fmt: skip


@pytest.mark.parametrize(
    ("arch", "name", "precision"),
    [(80, "odd", "float32"), (80, "runs", "float16"), (80, "waves", "bfloat16"), (90, "runs", "bfloat16"),
     (90, "coloured", "bfloat16"), (80, "single", "float32")],
)  # fmt: skip
@pytest.mark.usefixtures("new_tensors_are_nan")
@pytest.mark.skipif(VERSION < (3, 9), reason="coord_mlp_backward needs Triton 3.9")
def test_gradients_of_coordinate_mlps(arch: int, name: str, precision: str) -> None:
    args = gradient_arguments(mlp(name, precision))
    with offline(arch, execute=True) as launches:
        check_mlp_gradients(kernel("coord_mlp_backward"), args, precision)
    # All but the coordinates' gradient are added over the programs.
    assert len(launches) == 1 + sum(args[-1][1:])


@pytest.mark.parametrize(("arch", "precision"), [(80, "float32"), (90, "bfloat16")])
@pytest.mark.usefixtures("new_tensors_are_nan")
@pytest.mark.skipif(VERSION < (3, 9), reason="coord_mlp_backward needs Triton 3.9")
def test_the_backward_of_coordinate_mlps_reads_and_stores_everything_once(arch: int, precision: str) -> None:
    """A program reads its points' coordinates and gradients and its sample's parameters, and stores its sums."""
    sets, points, width, dimensions = 2, 150, 64, 4
    args = gradient_arguments(siren(sets, points, width, 1, precision, dimensions))
    args[-1][0] = False
    with offline(arch, execute=True) as launches:
        check_mlp_gradients(kernel("coord_mlp_backward"), args, precision)
    launch, *sums = launches
    counters = launch.counters
    assert counters is not None
    (programs,) = launch.grid
    assert programs == 3 * sets
    sizes = [width * dimensions, width**2, 3 * width, width, width, 3]
    stored = 4 * programs * sum(sizes)
    assert counters.unique_bytes_written == counters.total("global_bytes_written") == stored
    traffic = counters.traffic
    assert traffic["grad"].distinct_read == sets * points * 3 * 4
    assert traffic["coordinates"].distinct_read == points * dimensions * 4
    low = (2 if precision == "bfloat16" else 4) * sets * width**2
    assert traffic["low" if precision == "bfloat16" else "wide"].distinct_read >= low
    read = sum(traffic[name].distinct_read for name in ("wide", "low", "vectors") if name in traffic)
    # The last layer's biases are not read: its activation is linear.
    assert read == low + 4 * (sets * (width * dimensions + 3 * width) + 2 * width)
    assert counters.unique_bytes_read == read + 4 * (3 * sets * points + dimensions * points)
    for each in sums:
        assert each.counters is not None
        assert each.counters.traffic["partials"].distinct_read == programs / sets * each.arguments["out"].nbytes * (
            1 if len(each.arguments["out"]) == sets else sets
        )
    moved(f"coord_mlp_backward {width}", precision, arch, launch.compulsory_bytes, counters.unique_bytes_read + stored,
          counters.total("global_bytes_read") + stored)  # fmt: skip


@pytest.fixture
def new_tensors_are_nan() -> Iterator[None]:
    """Fills new memory with NaN: the results of programs that did not run, as later launches read them."""
    torch.use_deterministic_algorithms(True)
    assert torch.utils.deterministic.fill_uninitialized_memory
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize(
    ("shape", "kind"),
    [("linear 16384x256x256", "bfloat16"), ("linear 16384x256x256", "tf32"), ("linear 16384x3x256", "bfloat16"),
     ("features 128x128", "bfloat16"), ("features 128x128", "tf32"), ("render 128x128", "bfloat16")],
)  # fmt: skip
@pytest.mark.usefixtures("new_tensors_are_nan")
def test_a_row_of_tiles_at_real_shapes_passes_all_checks(shape: str, kind: str) -> None:
    """Loops long enough to be pipelined: operands of wgmma are fenced, and not touched while it is in flight."""
    torch.set_float32_matmul_precision("high" if kind == "tf32" else "highest")
    with offline(90, True, programs_of_a_row, block_races=False) as launches, torch.no_grad():
        for op, args in REAL[shape](DTYPES.get(kind, torch.float32)):
            kernel(op)(*args)
    assert launches


@pytest.mark.parametrize("arch", [80, 90])
def test_sines(arch: int) -> None:
    with offline(arch, execute=True):
        check_sines()
