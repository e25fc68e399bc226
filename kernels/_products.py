"""Products on tensor cores, and the fences that some versions of Triton leave out."""

from __future__ import annotations

import triton
import triton.language as tl

VERSION = tuple(int(part) for part in triton.__version__.split("+")[0].split(".")[:3])
# Before 3.7.1 Triton puts no fence between asynchronous copies into shared memory and the matrix unit's reads through
# another proxy. On sm_90 these kernels add it; on sm_100, where 3.6 compiles no loop with both the fence and stages,
# they use one stage (_configurations.py). The interpreter has no instructions.
FENCED = tl.constexpr(VERSION < (3, 7, 1) and not triton.knobs.runtime.interpret)


@triton.jit
def product(left, right, total, PRECISION: tl.constexpr):
    """total + left·right in float32, or left·right if total is None."""
    if FENCED:
        _fence()
    return tl.dot(left, right, total, input_precision=PRECISION)


@triton.jit
def _fence():
    if tl.target_info.cuda_capability_geq(9, 0) and not tl.target_info.cuda_capability_geq(10, 0):
        tl.inline_asm_elementwise(
            "fence.proxy.async.shared::cta; mov.b32 $0, 0;", "=r", [], dtype=tl.int32, is_pure=False, pack=1
        )
