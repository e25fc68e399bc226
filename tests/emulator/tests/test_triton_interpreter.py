"""Known answers of the patched interpreter; an upgrade of triton that breaks a patch fails here."""

import os

import pytest

if os.environ.get("TRITON_INTERPRET") != "1":
    pytest.skip("runs under TRITON_INTERPRET=1: make emulate", allow_module_level=True)

import torch
import triton
import triton.language as tl
from emulator import triton_interpreter
from emulator.triton_interpreter import counters
from triton.runtime.errors import InterpreterError

EPS = 2.0**-8


@triton.jit
def product(out, a, b, PRECISION: tl.constexpr):
    i = tl.arange(0, 16)
    at = i[:, None] * 16 + i[None, :]
    tl.store(out + at, tl.dot(tl.load(a + at), tl.load(b + at), input_precision=PRECISION))


@triton.jit
def copied(out, x, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out + i, tl.load(x + i, mask=i < n, other=0.0).to(out.dtype.element_ty), mask=i < n)


@triton.jit
def doubled(out, x):
    i = tl.arange(0, 16)
    tl.store(out + i, tl.load(x + i) * 2)


@triton.jit
def fused(out, x, y, z):
    i = tl.arange(0, 16)
    tl.store(out + i, tl.fma(tl.load(x + i), tl.load(y + i), tl.load(z + i)))


@triton.jit
def negated(out, x):
    i = tl.arange(0, 16)
    tl.store(out + i, -tl.load(x + i))


@triton.jit
def summed(out, x):
    tl.store(out, tl.sum(tl.load(x + tl.arange(0, 16)), 0))


@triton.jit
def added(out, x, SHIFT: tl.constexpr):
    tl.atomic_add(out + tl.arange(0, 16) + SHIFT, tl.load(x + tl.arange(0, 16)))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_products_in_every_type(dtype):
    a, b = torch.randn(2, 16, 16).to(dtype)
    out = torch.empty(16, 16)
    product[(1,)](out, a, b, "ieee")
    torch.testing.assert_close(out, (a.double() @ b.double()).float(), rtol=0, atol=1e-5)


def test_bfloat16_product_known_answer():
    out = torch.empty(16, 16)
    product[(1,)](out, torch.full((16, 16), 1.5).bfloat16(), torch.full((16, 16), -2.0).bfloat16(), "ieee")
    assert out.unique().tolist() == [-48.0]


def test_tf32_has_ten_bits():
    a = torch.zeros(16, 16)
    a[0, 0], a[1, 1], a[2, 2] = 1 + 2.0**-10, 1 + 2.0**-11, 1 + 2.0**-12
    out = torch.empty(16, 16)
    product[(1,)](out, a, torch.eye(16), "tf32")
    assert out.diagonal()[:3].tolist() == [1 + 2.0**-10, 1 + 2.0**-10, 1.0]
    product[(1,)](out, a, torch.eye(16), "ieee")
    assert torch.equal(out, a)


def test_bfloat16_is_rounded_to_nearest_even():
    x = torch.tensor([1 + EPS / 2, 1 + EPS, 1 + 3 * EPS, 1 + 1.01 * EPS, -1 - 3 * EPS, 3.4e38, 0.0, -0.0])
    x = torch.cat((x, torch.tensor([float("inf"), float("-inf"), float("nan"), 1e-40]), torch.randn(52)))
    out = torch.empty(64, dtype=torch.bfloat16)
    copied[(1,)](out, x, 64, 64)
    assert out[:5].tolist() == [1.0, 1.0, 1 + 4 * EPS, 1 + 2 * EPS, -1 - 4 * EPS]
    torch.testing.assert_close(out, x.bfloat16(), rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("source", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("target", [torch.bfloat16, torch.float16, torch.float32])
def test_conversions_are_torch_s(source, target):
    x = torch.randn(64).to(source)
    out = torch.empty(64, dtype=target)
    copied[(1,)](out, x, 64, 64)
    assert torch.equal(out, x.to(target))


def test_an_fma_rounds_once():
    x, y, out = torch.full((16,), 1 + 2.0**-12), torch.full((16,), 1 - 2.0**-12), torch.empty(16)
    fused[(1,)](out, x, y, torch.full((16,), -1.0))
    assert (out == -(2.0**-24)).all()


@pytest.mark.parametrize("kernel", [doubled, negated, summed])
def test_bfloat16_arithmetic_is_rejected(kernel):
    x, out = torch.randn(16).bfloat16(), torch.empty(16, dtype=torch.bfloat16)
    with pytest.raises(InterpreterError, match="widen to float32 first"):
        kernel[(1,)](out, x)
    wide = torch.empty(16)
    kernel[(1,)](wide, x.float())


def test_out_of_bounds_accesses():
    x, out = torch.randn(20), torch.empty(20)
    copied[(2,)](out, x, 20, 16)
    assert torch.equal(out, x)
    with pytest.raises(InterpreterError, match="load: 1 of 16 lanes"):
        copied[(1,)](out[:19], x[:15], 16, 16)
    with pytest.raises(InterpreterError, match=r"store: 8 of 12 lanes.*program \(1, 0, 0\)"):
        copied[(2,)](out, torch.randn(64), 28, 16)
    with pytest.raises(InterpreterError, match="atomic: 1 of 16"):
        added[(1,)](out[:16], x, 1)
    with pytest.raises(InterpreterError, match="store"):
        copied[(1,)](out[::2][:8], x, 16, 16)


@triton.jit
def first_program_s(out, n):
    i = tl.arange(0, 16)
    tl.store(out + i, i.to(tl.float32), mask=(i < n) & (tl.program_id(0) == 0))


def test_scalar_comparisons_in_masks():
    out = torch.full((16,), -1.0)
    first_program_s[(3,)](out, 2)
    assert out.tolist() == [0.0, 1.0, *[-1.0] * 14]


def test_atomics():
    x, out = torch.randn(16), torch.zeros(16)
    added[(3,)](out, x, 0)
    torch.testing.assert_close(out, 3 * x)


def test_counters():
    counters.reset()
    copied[(3,)](torch.empty(40, dtype=torch.bfloat16), torch.randn(40), 40, 16)
    assert (counters.programs, counters.loaded_bytes, counters.stored_bytes) == (3, 160, 80)
    product[(1,)](torch.empty(16, 16), torch.randn(16, 16), torch.randn(16, 16), "ieee")
    assert counters.dot_flops == 2 * 16**3


def test_roundings():
    halfway = torch.tensor([1 + 2.0**-11, -1 - 2.0**-11, 1 + 3 * 2.0**-11]).numpy()
    assert triton_interpreter.to_tf32(halfway).tolist() == [1 + 2.0**-10, -1 - 2.0**-10, 1 + 2.0**-9]
    x = torch.randn(1000)
    bits = triton_interpreter.to_bfloat16(x.numpy())
    assert torch.equal(torch.from_numpy(triton_interpreter.from_bfloat16(bits)), x.bfloat16().float())
