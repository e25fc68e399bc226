"""A kernel that evaluates the sines shared by the other kernels."""

import triton
import triton.language as tl

from digan_fast.kernels._activations import sin_cos


@triton.jit
def sines(out, theta, n, TILE: tl.constexpr):
    i = tl.program_id(0) * TILE + tl.arange(0, TILE)
    sine, cosine = sin_cos(tl.load(theta + i, mask=i < n, other=0.0))
    tl.store(out + i, sine, mask=i < n)
    tl.store(out + n + i, cosine, mask=i < n)
