"""Shuffles, votes, matches, reductions, barriers, and which threads take part."""

import numpy as np
import pytest
from snippets import run

LANES = np.arange(64, dtype=np.uint32)
VALUES = np.random.default_rng(0).integers(0, 1 << 32, 64, np.uint32)
PLACE = """
mov.u32 %r0, %tid.x; mul.wide.u32 %d8, %r0, 4;
add.s64 %d9, %d0, %d8; add.s64 %d10, %d1, %d8; ld.global.u32 %r1, [%d9];
and.b32 %r2, %r0, 31;
"""


def collective(code, values=VALUES, block=64):
    """Each thread's %r5 after the code, given its value in %r1 and its lane in %r2."""
    target = np.zeros(block, np.uint32)
    _, arrays = run(PLACE + code + "st.global.u32 [%d10], %r5;", [values[:block], target], block=block)
    return arrays[1]


def shuffled(mode, b, c, values=VALUES):
    """The PTX manual's pseudo-code, lane by lane."""
    found, valid = [], []
    segment, clamp = c >> 8 & 31, c & 31
    for warp in range(values.size // 32):
        for lane in range(32):
            most, least = lane & segment | clamp & ~segment, lane & segment
            source = {"up": lane - b, "down": lane + b, "bfly": lane ^ b, "idx": least | b & ~segment}[mode]
            is_valid = source >= most if mode == "up" else source <= most
            found.append(values[warp * 32 + (source if is_valid else lane)])
            valid.append(is_valid)
    return np.array(found), np.array(valid)


@pytest.mark.parametrize("mode", ["up", "down", "bfly", "idx"])
@pytest.mark.parametrize("width", [32, 16, 8, 1])
@pytest.mark.parametrize("b", [0, 1, 5, 16, 31])
def test_shuffles(mode, width, b):
    c = (32 - width) << 8 | (0 if mode == "up" else 31)
    expected, valid = shuffled(mode, b, c)
    code = f"shfl.sync.{mode}.b32 %r5|%p1, %r1, {b}, {c}, -1;"
    np.testing.assert_array_equal(collective(code), expected)
    flags = f"shfl.sync.{mode}.b32 %r6|%p1, %r1, {b}, {c}, -1; selp.u32 %r5, 1, 0, %p1;"
    np.testing.assert_array_equal(collective(flags), valid)


def test_shuffle_with_an_index_for_each_lane():
    code = "sub.u32 %r6, 31, %r2; shfl.sync.idx.b32 %r5, %r1, %r6, 31, -1;"
    np.testing.assert_array_equal(collective(code), VALUES.reshape(2, 32)[:, ::-1].ravel())


def test_votes():
    odd = VALUES & 1
    code = "and.b32 %r6, %r1, 1; setp.ne.u32 %p1, %r6, 0;"
    ballot = [sum(int(odd[32 * w + n]) << n for n in range(32)) for w in range(2)]
    np.testing.assert_array_equal(collective(code + "vote.sync.ballot.b32 %r5, %p1, -1;"), np.repeat(ballot, 32))
    for kind, expected in (("any", 1), ("all", 0), ("uni", 0)):
        flags = code + f"vote.sync.{kind}.pred %p2, %p1, -1; selp.u32 %r5, 1, 0, %p2;"
        np.testing.assert_array_equal(collective(flags), np.full(64, expected))
    every = "setp.lt.u32 %p1, %r2, 32; vote.sync.all.pred %p2, %p1, -1; selp.u32 %r5, 1, 0, %p2;"
    np.testing.assert_array_equal(collective(every), np.ones(64))


def test_masks_of_part_of_a_warp():
    code = """
    mov.u32 %r5, 0; setp.lt.u32 %p1, %r2, 8; @!%p1 bra A;
    activemask.b32 %r6; shfl.sync.bfly.b32 %r7, %r1, 1, 31, 255; setp.eq.u32 %p2, %r2, 3;
    vote.sync.ballot.b32 %r8, %p2, %r6; redux.sync.max.u32 %r9, %r1, 0xFF; elect.sync %r10|%p3, 0xFF;
    xor.b32 %r5, %r7, %r6; xor.b32 %r5, %r5, %r8; xor.b32 %r5, %r5, %r9; xor.b32 %r5, %r5, %r10;
    A:
    """
    by_warp = VALUES.reshape(2, 32)
    expected = by_warp[:, np.arange(32) ^ 1] ^ 255 ^ 8 ^ by_warp[:, :8].max(axis=1, keepdims=True)
    expected[:, 8:] = 0
    np.testing.assert_array_equal(collective(code), expected.ravel())


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("add.u32", lambda v: v.sum() & 0xFFFFFFFF),
        ("max.u32", max),
        ("min.s32", lambda v: int(v.astype(np.uint32).view(np.int32).min()) & 0xFFFFFFFF),
        ("and.b32", np.bitwise_and.reduce),
        ("or.b32", np.bitwise_or.reduce),
        ("xor.b32", np.bitwise_xor.reduce),
    ],
)
def test_reductions(name, function):
    expected = [int(function(v)) for v in VALUES.astype(np.int64).reshape(2, 32)]
    np.testing.assert_array_equal(collective(f"redux.sync.{name} %r5, %r1, -1;"), np.repeat(expected, 32))


def test_matches():
    values = (VALUES % 5).astype(np.uint32)
    by_warp = values.reshape(2, 32)
    expected = ((by_warp[:, :, None] == by_warp[:, None, :]) * (1 << np.arange(32))).sum(axis=2).ravel()
    np.testing.assert_array_equal(collective("match.any.sync.b32 %r5, %r1, -1;", values), expected)
    same = "mov.u32 %r6, 4; match.all.sync.b32 %r5|%p1, %r6, -1;"
    np.testing.assert_array_equal(collective(same), np.full(64, 0xFFFFFFFF))
    different = "match.all.sync.b32 %r5|%p1, %r2, -1; @%p1 mov.u32 %r5, 77;"
    np.testing.assert_array_equal(collective(different), np.zeros(64))


def test_barrier_reductions():
    code = "setp.lt.u32 %p1, %r0, 40;"
    count = code + "bar.red.popc.u32 %r5, 0, %p1;"
    np.testing.assert_array_equal(collective(count), np.full(64, 40))
    for kind, expected in (("and", 0), ("or", 1)):
        flags = code + f"bar.red.{kind}.pred %p2, 0, %p1; selp.u32 %r5, 1, 0, %p2;"
        np.testing.assert_array_equal(collective(flags), np.full(64, expected))


def test_barriers_do_not_wait_for_exited_threads():
    body = """
    .shared .align 4 .b8 room[256];
    mov.u32 %r0, %tid.x; setp.ge.u32 %p1, %r0, 48; @%p1 ret;
    shl.b32 %r1, %r0, 2; mov.u32 %r2, room; add.u32 %r3, %r1, %r2; st.shared.u32 [%r3], %r0;
    bar.sync 0;
    setp.ge.u32 %p2, %r0, 16; @%p2 ret;
    ld.shared.u32 %r4, [%r3+128]; mul.wide.u32 %d8, %r0, 4; add.s64 %d9, %d0, %d8; st.global.u32 [%d9], %r4;
    """
    _, (found,) = run(body, [np.zeros(16, np.uint32)], block=64)
    np.testing.assert_array_equal(found, np.arange(32, 48))


def test_warps_meet_at_different_instructions_of_one_barrier():
    body = """
    .shared .align 4 .b8 room[256];
    mov.u32 %r0, %tid.x; shl.b32 %r1, %r0, 2; mov.u32 %r2, room; add.u32 %r3, %r1, %r2; st.shared.u32 [%r3], %r0;
    setp.lt.u32 %p1, %r0, 32; @%p1 bra A;
    bar.sync 0; bra B;
    A: barrier.sync 0;
    B: xor.b32 %r4, %r3, 128; ld.shared.u32 %r5, [%r4];
    mul.wide.u32 %d8, %r0, 4; add.s64 %d9, %d0, %d8; st.global.u32 [%d9], %r5;
    """
    _, (found,) = run(body, [np.zeros(64, np.uint32)], block=64)
    np.testing.assert_array_equal(found, np.arange(64) ^ 32)


def test_block_sizes_that_are_not_multiples_of_a_warp():
    values = np.arange(40, dtype=np.uint32)
    found = collective("shfl.sync.bfly.b32 %r5, %r1, 1, 31, -1; bar.sync 0;", values, block=40)
    np.testing.assert_array_equal(found, values ^ 1)
    found = collective("redux.sync.add.u32 %r5, %r1, -1;", values, block=40)
    np.testing.assert_array_equal(found, np.r_[np.full(32, 496), np.full(8, 284)])
