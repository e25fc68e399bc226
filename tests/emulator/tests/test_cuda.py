"""Kernels from nvcc: the committed PTX, and PTX generated from the same source by the installed nvcc."""

from math import erf
from pathlib import Path

import numpy as np
import pytest
from emulator import ptx
from emulator.compilers import nvcc_ptx

SOURCES = Path(__file__).parent / "sources"
RNG = np.random.default_rng(0)
GEMM_SHARED = 3 * 2 * 64 * 80


@pytest.fixture(scope="module", params=["committed", "fresh"])
def modules(request):
    if request.param == "fresh":
        request.getfixturevalue("nvcc")
        return {name: ptx.load(nvcc_ptx(SOURCES / f"{name}.cu")) for name in ("basics", "gemm")}
    return {name: ptx.load((SOURCES / f"{name}.ptx").read_text()) for name in ("basics", "gemm")}


@pytest.fixture(scope="module")
def basics(modules):
    return modules["basics"]


@pytest.mark.parametrize("n", [1, 31, 1000, 100_000])
def test_vector_add(basics, n):
    a, b = RNG.standard_normal((2, n)).astype(np.float32)
    gpu = ptx.Memory()
    out = gpu.empty(n, np.float32)
    counters = basics.launch(
        "vector_add", -(-n // 128), 128, [gpu.array(a, read_only=True), gpu.array(b, read_only=True), out, n]
    )
    np.testing.assert_array_equal(out.array, a + b)
    assert counters.total("global_bytes_read") == counters.unique_bytes_read == 8 * n
    assert counters.total("global_bytes_written") == counters.unique_bytes_written == 4 * n
    assert counters.flops == n
    assert counters.total("sectors_stored") == -(-n // 8)


def test_total(basics):
    values = RNG.integers(-8, 9, 10_001).astype(np.float32)
    gpu = ptx.Memory()
    out = gpu.zeros(1, np.float32)
    basics.launch("total", 7, 256, [gpu.array(values, read_only=True), out, values.size])
    assert out.array[0] == values.sum()


@pytest.mark.parametrize("pitch", [32, 33])
def test_transpose_and_its_bank_conflicts(basics, pitch):
    rows, columns = 100, 70
    matrix = RNG.standard_normal((rows, columns)).astype(np.float32)
    gpu = ptx.Memory()
    out = gpu.empty((columns, rows), np.float32)
    counters = basics.launch(
        f"transpose_{pitch}", (3, 4), (32, 8), [gpu.array(matrix, read_only=True), out, rows, columns]
    )
    np.testing.assert_array_equal(out.array, matrix.T)
    loads = counters.lines(r"ld\.shared")
    conflicts = counters.where("bank_conflicts", r"ld\.shared")
    assert counters.where("bank_conflicts", r"st\.shared") == 0
    if pitch == 33:
        assert conflicts == 0
    else:
        # Each word that a warp reads lies in another row: as many wavefronts as threads.
        assert conflicts == sum(line.executed - (line.shared_wavefronts - line.bank_conflicts) for line in loads)


def test_sine_and_cosine_of_small_and_huge_angles(basics):
    angles = (RNG.standard_normal(600) * np.repeat([1.0, 1e3, 1e8], 200)).astype(np.float32)
    gpu = ptx.Memory()
    out = gpu.empty((600, 2), np.float32)
    basics.launch("sine_and_cosine", 5, 128, [gpu.array(angles, read_only=True), out, 600])
    wide = angles.astype(np.float64)
    np.testing.assert_allclose(out.array, np.stack([np.sin(wide), np.cos(wide)], axis=1), atol=1.5e-7, rtol=0)


def test_structs_calls_and_constants(basics):
    x = RNG.standard_normal(100).astype(np.float32)
    coefficients = np.float32([1, -2, 0.5, 3, 0.25])
    gpu = ptx.Memory()
    inputs, out = gpu.array(x, read_only=True), gpu.empty(100, np.float32)
    struct = np.zeros(1, [("x", "u8"), ("y", "u8"), ("c", "f4", 5), ("n", "i4")])
    struct[0] = (inputs.address, out.address, coefficients, 100)
    basics.launch("polynomial", 1, 128, [struct.tobytes(), 3], memory=gpu)
    index = np.arange(100)
    values = [np.polyval(coefficients[: 4 + i % 2][::-1].astype(np.float64), x[i]) for i in index]
    np.testing.assert_allclose(out.array, values * (1.0 + index % 4), rtol=2e-6, atol=2e-6)


def test_fully_diverged_threads(basics):
    start = np.arange(1, 400, dtype=np.int32)
    gpu = ptx.Memory()
    steps = gpu.empty(start.size, np.int32)
    counters = basics.launch("collatz", 4, 128, [gpu.array(start, read_only=True), steps, start.size])

    def length(value):
        count = 0
        while value != 1:
            value = 3 * value + 1 if value % 2 else value // 2
            count += 1
        return count

    np.testing.assert_array_equal(steps.array, [length(int(v)) for v in start])
    # Threads wait for each other at the loop's head: the number of iterations is that of the longest walk, not the sum.
    assert counters.steps < 40 * max(length(int(v)) for v in start)


def test_mathematics(basics):
    x = (RNG.standard_normal(300) * 3).astype(np.float32)
    gpu = ptx.Memory()
    out = gpu.empty((300, 8), np.float32)
    basics.launch("mathematics", 3, 128, [gpu.array(x, read_only=True), out, 300])
    wide = x.astype(np.float64)
    size = np.abs(wide)

    expected = [
        np.exp(wide), np.log(size), np.tanh(wide), 1 / np.sqrt(size), size**1.7, [erf(v) for v in wide],
        np.fmod(wide, np.float64(np.float32(0.3))), np.sin(wide),
    ]  # fmt: skip
    np.testing.assert_allclose(out.array, np.stack(expected, axis=1), rtol=1e-6, atol=2e-7)


ENCODINGS = {
    "bf16": (ptx.to_bf16, ptx.from_bf16),
    "f16": (lambda v: v.astype(np.float16), lambda v: v.astype(np.float32)),
    "tf32": (lambda v: ptx.to_tf32(v, "rna").view(np.float32), lambda v: v),
}


@pytest.mark.parametrize("kind", list(ENCODINGS))
@pytest.mark.parametrize(("m", "n", "k"), [(64, 64, 64), (100, 72, 56), (7, 130, 200)])
def test_gemm(modules, kind, m, n, k):
    encode, decode = ENCODINGS[kind]
    a, b = (
        encode(RNG.standard_normal((m, k)).astype(np.float32)),
        encode(RNG.standard_normal((n, k)).astype(np.float32)),
    )
    gpu = ptx.Memory()
    left, right, out = gpu.array(a, read_only=True), gpu.array(b, read_only=True), gpu.empty((m, n), np.float32)
    grid = -(-m // 64), -(-n // 64)
    args = [left, right, out, m, n, k * a.itemsize]
    counters = modules["gemm"].launch(f"gemm_{kind}", grid, 128, args, shared_bytes=GEMM_SHARED)
    expected = decode(a).astype(np.float64) @ decode(b).astype(np.float64).T
    np.testing.assert_allclose(out.array, expected, atol=k * 2e-6, rtol=0)
    assert counters.unique_bytes_read == a.nbytes + b.nbytes
    assert counters.unique_bytes_written == 4 * m * n
    padded = -(-k * a.itemsize // 64) * 64 // a.itemsize
    assert counters.total("tensor_flops") == 2 * grid[0] * grid[1] * 64 * 64 * padded
    assert counters.where("bank_conflicts", "^ldmatrix") == 0


GEMM_BUGS = [
    ("a barrier is missing", "bar.sync", None, (ptx.SharedRace, ptx.CopyInFlight)),
    (
        "a stage too few is waited for", "cp.async.wait_group 1;", "cp.async.wait_group 2;",
        (ptx.CopyInFlight, ptx.UninitialisedShared),
    ),
    ("a store has no guard", "st.global.f32", "unguarded", (ptx.GlobalOutOfBounds,)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "where", "change", "errors"), GEMM_BUGS)
def test_bugs_in_the_gemm(name, where, change, errors):
    """The kernel with one line of PTX changed; the correct kernel is tested above."""
    text = (SOURCES / "gemm.ptx").read_text()
    start = text.index(".entry gemm_bf16")
    head, body = text[:start], text[start:]
    if change is None:
        lines = body.splitlines()
        line = next(i for i, content in enumerate(lines) if where in content)
        body = "\n".join(lines[:line] + lines[line + 1 :])
    elif change == "unguarded":
        # The branch around the last store is never taken.
        lines = body[: body.index("\n}")].splitlines()
        line = max(i for i, content in enumerate(lines) if content.strip().startswith("@") and "bra" in content)
        body = "\n".join(lines[:line] + lines[line + 1 :]) + body[body.index("\n}") :]
    else:
        assert where in " ".join(body.split(" ")).replace("\t", " ")
        body = body.replace("\t", " ").replace(where, change)
    m, n, k = 100, 72, 256
    gpu = ptx.Memory()
    a, b = (gpu.array(np.full((rows, k), 0x3F80, np.uint16), read_only=True) for rows in (m, n))
    args = [a, b, gpu.empty((m, n), np.float32), m, n, 2 * k]
    with pytest.raises(ptx.PtxError) as caught:
        ptx.load(head + body).launch("gemm_bf16", (2, 2), 128, args, shared_bytes=GEMM_SHARED)
    assert type(caught.value) in errors, caught.value


def test_too_little_shared_memory_for_the_gemm(modules):
    gpu = ptx.Memory()
    a = gpu.array(np.zeros((64, 256), np.uint16), read_only=True)
    args = [a, a, gpu.empty((64, 64), np.float32), 64, 64, 512]
    with pytest.raises(ptx.SharedOutOfBounds):
        modules["gemm"].launch("gemm_bf16", 1, 128, args, shared_bytes=GEMM_SHARED - 32)
