"""Triton's PTX for sm_80 (mma.sync, cp.async) and sm_90 (wgmma): compiled without a GPU, executed here."""

import functools
import importlib
import os
import re

import numpy as np
import pytest
from emulator import ptx
from emulator.compilers import launch_triton

pytestmark = pytest.mark.usefixtures("triton_compiler")
RNG = np.random.default_rng(0)


@functools.cache
def compiled(name, arch, signature, constants, multiples, warps=4, stages=3):
    """`signature` and `constants` are tuples of pairs; `multiples` names the arguments divisible by 16."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource, compile

    os.environ.setdefault("TRITON_DEFAULT_FP_FUSION", "1")
    kernel = getattr(importlib.import_module("triton_kernels"), name)
    attributes = {(kernel.arg_names.index(a),): [["tt.divisibility", 16]] for a in multiples}
    types = {**dict(signature), **{n: "constexpr" for n, _ in constants}}
    types = {argument: types[argument] for argument in kernel.arg_names}
    source = ASTSource(fn=kernel, signature=types, constexprs=dict(constants), attrs=attributes)
    return compile(source, target=GPUTarget("cuda", arch, 32), options={"num_warps": warps, "num_stages": stages})


ARCHITECTURES = pytest.mark.parametrize("arch", [80, 90])


@ARCHITECTURES
@pytest.mark.parametrize("kind", ["fp32", "fp16", "bf16"])
@pytest.mark.parametrize("n", [1000, 1024])
def test_elementwise(arch, kind, n):
    signature = (("x", f"*{kind}"), ("y", f"*{kind}"), ("out", f"*{kind}"), ("n", "i32"), ("factor", "fp32"))
    multiples = ("x", "y", "out") + (("n",) if n % 16 == 0 else ())
    kernel = compiled("scale_and_add", arch, signature, (("BLOCK", 256),), multiples)
    encode, decode = {
        "fp32": (lambda v: v, lambda v: v),
        "fp16": (lambda v: v.astype(np.float16), lambda v: v.astype(np.float32)),
        "bf16": (ptx.to_bf16, ptx.from_bf16),
    }[kind]
    x, y = (encode(v) for v in RNG.standard_normal((2, n)).astype(np.float32))
    gpu = ptx.Memory()
    out = gpu.empty(n, x.dtype)
    args = {"x": gpu.array(x, read_only=True), "y": gpu.array(y, read_only=True), "out": out, "n": n, "factor": 1.5}
    counters = launch_triton(kernel, -(-n // 256), args)
    exact = decode(x).astype(np.float64) * 1.5 + decode(y)
    expected = decode(encode(exact.astype(np.float32)))
    np.testing.assert_allclose(
        decode(out.array), expected, rtol={"fp32": 1e-6, "fp16": 1e-3, "bf16": 8e-3}[kind], atol=1e-6
    )
    if n % 16 == 0:
        assert counters.load_efficiency == counters.store_efficiency == 1
        assert counters.unique_bytes_written == out.bytes


@ARCHITECTURES
def test_functions(arch):
    kernel = compiled("sines", arch, (("x", "*fp32"), ("out", "*fp32"), ("n", "i32")), (("BLOCK", 128),), ("x", "out"))
    x = (RNG.standard_normal(300) * np.repeat([1, 100, 1e7], 100)).astype(np.float32)
    gpu = ptx.Memory()
    out = gpu.empty((2, 300), np.float32)
    launch_triton(kernel, 3, {"x": gpu.array(x, read_only=True), "out": out, "n": 300})
    wide = x.astype(np.float64)
    np.testing.assert_allclose(out.array[0], np.sin(wide), atol=2e-7, rtol=0)
    np.testing.assert_allclose(out.array[1], np.exp(-wide * wide), atol=1e-6, rtol=0)


@ARCHITECTURES
def test_atomics(arch):
    signature = (("x", "*i32"), ("bins", "*i32"), ("total", "*fp32"), ("n", "i32"))
    kernel = compiled("histogram_and_total", arch, signature, (("BLOCK", 256),), ("x", "bins", "total"))
    x = RNG.integers(0, 8, 3000).astype(np.int32)
    gpu = ptx.Memory()
    bins, total = gpu.zeros(9, np.int32), gpu.zeros(1, np.float32)
    launch_triton(kernel, 12, {"x": gpu.array(x, read_only=True), "bins": bins, "total": total, "n": 3000})
    np.testing.assert_array_equal(bins.array, [*np.bincount(x, minlength=8), 7])
    assert total.array[0] == x.sum()


@ARCHITECTURES
def test_reductions(arch):
    signature = (("x", "*fp32"), ("out", "*fp32"), ("columns", "i32"))
    kernel = compiled("row_softmax", arch, signature, (("BLOCK", 512),), ("x", "out"))
    x = RNG.standard_normal((9, 300)).astype(np.float32)
    gpu = ptx.Memory()
    out = gpu.empty((9, 300), np.float32)
    launch_triton(kernel, 9, {"x": gpu.array(x, read_only=True), "out": out, "columns": 300})
    powers = np.exp(x.astype(np.float64))
    np.testing.assert_allclose(out.array, powers / powers.sum(axis=1, keepdims=True), rtol=2e-6)


PRODUCTS = [
    # type, precision, tile, shape, whether b is [k, n], warps
    ("bf16", "ieee", (64, 64, 32), (128, 64, 160), False, 4),
    ("bf16", "ieee", (64, 64, 64), (100, 80, 208), False, 4),
    ("bf16", "ieee", (64, 64, 64), (100, 80, 208), True, 4),
    ("fp16", "ieee", (64, 32, 32), (70, 48, 96), True, 4),
    ("fp16", "ieee", (128, 128, 64), (256, 128, 256), True, 8),
    ("fp32", "tf32", (64, 64, 32), (64, 64, 128), False, 4),
    ("fp32", "tf32x3", (64, 32, 16), (48, 32, 64), False, 4),
    ("fp32", "ieee", (32, 32, 16), (48, 32, 64), True, 4),
]


@ARCHITECTURES
@pytest.mark.parametrize(("kind", "precision", "tile", "shape", "is_kn", "warps"), PRODUCTS)
def test_products(arch, kind, precision, tile, shape, is_kn, warps):
    (m, n, k), (bm, bn, bk) = shape, tile
    signature = (*((p, f"*{kind}") for p in "ab"), ("out", "*fp32"))
    signature += tuple((p, "i32") for p in ("m", "n", "k", "a_m", "b_n" if not is_kn else "b_k"))
    constants = (("M", bm), ("N", bn), ("K", bk), ("PRECISION", precision), ("a_k", 1), ("b_n" if is_kn else "b_k", 1))
    multiples = ("a", "b", "out", "n", "k", "a_m", "b_k" if is_kn else "b_n")
    kernel = compiled("product", arch, signature, constants, multiples, warps)
    encode, decode = {
        "bf16": (ptx.to_bf16, ptx.from_bf16),
        "fp16": (lambda v: v.astype(np.float16), lambda v: v.astype(np.float32)),
        "fp32": (lambda v: v, lambda v: v),
    }[kind]
    a = encode(RNG.standard_normal((m, k)).astype(np.float32))
    b = encode(RNG.standard_normal((k, n) if is_kn else (n, k)).astype(np.float32))
    gpu = ptx.Memory()
    out = gpu.empty((m, n), np.float32)
    args = {"a": gpu.array(a, read_only=True), "b": gpu.array(b, read_only=True), "out": out, "m": m, "n": n, "k": k}
    counters = launch_triton(kernel, (-(-m // bm), -(-n // bn)), {**args, "a_m": k, "b_k": n, "b_n": k})
    x, y = decode(a).astype(np.float64), decode(b).astype(np.float64)
    error = np.abs(out.array - x @ (y if is_kn else y.T)).max() / np.sqrt(k)
    assert error < {"tf32": 5e-3}.get(precision, 2e-6)
    text = kernel.asm["ptx"]
    if kind == "fp32" and precision == "ieee":
        assert counters.total("tensor_flops") == 0
        assert counters.flops >= 2 * m * n * k
    else:
        times = 3 if precision == "tf32x3" else 1
        padded = -(-m // bm) * bm * -(-n // bn) * bn * -(-k // bk) * bk
        assert counters.total("tensor_flops") == 2 * times * padded
        assert ("wgmma.mma_async" if arch == 90 and bm >= 64 else "mma.sync") in text
    assert counters.where("bank_conflicts", "^ldmatrix") == 0


def damaged(text, pattern, replacement, count=1):
    changed, found = re.subn(pattern, replacement, text, count=count)
    assert found, pattern
    return changed


BUGS = [
    (80, r"cp\.async\.wait_group\s+\d+;", "", 0, (ptx.UninitialisedShared, ptx.CopyInFlight)),
    (80, r"bar\.sync\s+0;", "", 0, (ptx.SharedRace, ptx.CopyInFlight)),
    (80, r"@%p\d+ (st\.global)", r"\1", 0, (ptx.GlobalOutOfBounds, ptx.GlobalRace)),
    (90, r"fence\.proxy\.async[\w.:]*;", "", 0, (ptx.MatrixInFlight,)),
    (90, r"wgmma\.wait_group\.sync\.aligned\s+\d+;", "", 0, (ptx.MatrixInFlight,)),
    (90, r"cp\.async\.wait_group\s+(\d+);", "cp.async.wait_group 3;", 0, (ptx.UninitialisedShared, ptx.CopyInFlight)),
]


@pytest.mark.parametrize(("arch", "pattern", "replacement", "count", "errors"), BUGS)
def test_bugs_in_a_product(arch, pattern, replacement, count, errors):
    """Triton's own PTX with one change; the unchanged PTX is tested above, and here."""
    signature = (*((p, "*bf16") for p in "ab"), ("out", "*fp32"))
    signature += tuple((p, "i32") for p in ("m", "n", "k", "a_m", "b_n"))
    constants = (("M", 64), ("N", 64), ("K", 32), ("PRECISION", "ieee"), ("a_k", 1), ("b_k", 1))
    kernel = compiled("product", arch, signature, constants, ("a", "b", "out", "n", "k", "a_m", "b_n"))
    m, n, k = 100, 80, 256

    def launch(text):
        gpu = ptx.Memory()
        a, b = (gpu.array(np.full((rows, k), 0x3F80, np.uint16), read_only=True) for rows in (m, n))
        args = {"a": a, "b": b, "out": gpu.empty((m, n), np.float32), "m": m, "n": n, "k": k, "a_m": k, "b_n": k}
        launch_triton(kernel, (2, 2), args, module=ptx.load(text))

    text = kernel.asm["ptx"]
    launch(text)
    with pytest.raises(ptx.PtxError) as caught:
        launch(damaged(text, pattern, replacement, count))
    assert type(caught.value) in errors, caught.value
