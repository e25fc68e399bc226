"""Triton kernels with known answers. Triton compiles them but never runs them."""

import triton
import triton.language as tl


@triton.jit
def scale_and_add(x, y, out, n, factor, BLOCK: tl.constexpr):
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = index < n
    value = tl.load(x + index, mask=inside, other=0.0) * factor + tl.load(y + index, mask=inside, other=0.0)
    tl.store(out + index, value.to(out.dtype.element_ty), mask=inside)


@triton.jit
def sines(x, out, n, BLOCK: tl.constexpr):
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    value = tl.load(x + index, mask=index < n, other=0.0)
    tl.store(out + index, tl.sin(value), mask=index < n)
    tl.store(out + n + index, tl.exp(-value * value), mask=index < n)


@triton.jit
def histogram_and_total(x, bins, total, n, BLOCK: tl.constexpr):
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = index < n
    value = tl.load(x + index, mask=inside, other=0)
    tl.atomic_add(bins + value, 1, mask=inside)
    tl.atomic_add(total, tl.sum(value.to(tl.float32)))
    tl.atomic_max(bins + 8, tl.max(value))


@triton.jit
def row_softmax(x, out, columns, BLOCK: tl.constexpr):
    row, index = tl.program_id(0), tl.arange(0, BLOCK)
    value = tl.load(x + row * columns + index, mask=index < columns, other=-float("inf"))
    value = tl.exp(value - tl.max(value, 0))
    tl.store(out + row * columns + index, value / tl.sum(value, 0), mask=index < columns)


@triton.jit
def product(
    a, b, out, m, n, k, a_m, a_k, b_k, b_n,
    M: tl.constexpr, N: tl.constexpr, K: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    rows = tl.program_id(0) * M + tl.arange(0, M)
    columns = tl.program_id(1) * N + tl.arange(0, N)
    depth = tl.arange(0, K)
    left = a + rows[:, None] * a_m + depth[None, :] * a_k
    right = b + depth[:, None] * b_k + columns[None, :] * b_n
    total = tl.zeros((M, N), tl.float32)
    for start in range(0, k, K):
        x = tl.load(left, mask=(rows[:, None] < m) & (depth[None, :] + start < k), other=0.0)
        y = tl.load(right, mask=(depth[:, None] + start < k) & (columns[None, :] < n), other=0.0)
        total = tl.dot(x, y, total, input_precision=PRECISION)
        left += K * a_k
        right += K * b_k
    inside = (rows[:, None] < m) & (columns[None, :] < n)
    tl.store(out + rows[:, None] * n + columns[None, :], total, mask=inside)
