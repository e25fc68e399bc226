"""Integer instructions against numpy and Python's integers."""

import numpy as np
import pytest
from snippets import WORDS, apply, pairs

A, B = pairs(WORDS)
SA, SB = A.view(np.int32), B.view(np.int32)
WIDE = np.array([0, 1, 2, 0xFFFFFFFF, 1 << 32, 1 << 63, (1 << 63) - 1, (1 << 64) - 1, 0x123456789ABCDEF0], np.uint64)


def python(function, *arrays, width=32, signed=False):
    """The function on Python integers, wrapped to the width."""
    kind = "i" if signed else "u"
    results = [int(function(*map(int, values))) & ((1 << width) - 1) for values in zip(*arrays, strict=True)]
    return np.array(results, f"u{width // 8}").view(f"{kind}{width // 8}")


def check(code, inputs, expected):
    np.testing.assert_array_equal(apply(code, inputs, expected.dtype), expected)


def c_quotient(a, b):
    return 0xFFFFFFFF if b == 0 else abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


def c_remainder(a, b):
    return a if b == 0 else a - c_quotient(a, b) * b


@pytest.mark.parametrize(
    ("code", "function"),
    [
        ("add.u32", lambda a, b: a + b),
        ("sub.u32", lambda a, b: a - b),
        ("mul.lo.u32", lambda a, b: a * b),
        ("mul.hi.u32", lambda a, b: a * b >> 32),
        ("div.u32", c_quotient),
        ("rem.u32", c_remainder),
        ("min.u32", min),
        ("max.u32", max),
        ("and.b32", lambda a, b: a & b),
        ("or.b32", lambda a, b: a | b),
        ("xor.b32", lambda a, b: a ^ b),
        ("shl.b32", lambda a, b: a << min(b, 32)),
        ("shr.u32", lambda a, b: a >> min(b, 32)),
    ],
)
def test_unsigned_pairs(code, function):
    check(f"{code} {{out}}, {{0}}, {{1}};", [A, B], python(function, A, B))


@pytest.mark.parametrize(
    ("code", "function"),
    [
        ("add.s32", lambda a, b: a + b),
        ("add.sat.s32", lambda a, b: max(-(1 << 31), min((1 << 31) - 1, a + b))),
        ("sub.sat.s32", lambda a, b: max(-(1 << 31), min((1 << 31) - 1, a - b))),
        ("mul.lo.s32", lambda a, b: a * b),
        ("mul.hi.s32", lambda a, b: a * b >> 32),
        ("div.s32", c_quotient),
        ("rem.s32", c_remainder),
        ("min.s32", min),
        ("max.s32", max),
        ("shr.s32", lambda a, b: a >> min(b & 0xFFFFFFFF, 32)),
    ],
)
def test_signed_pairs(code, function):
    check(f"{code} {{out}}, {{0}}, {{1}};", [SA, SB], python(function, SA, SB, signed=True))


def test_double_width_products():
    check("mul.wide.u32 {out}, {0}, {1};", [A, B], python(lambda a, b: a * b, A, B, width=64))
    check("mul.wide.s32 {out}, {0}, {1};", [SA, SB], python(lambda a, b: a * b, SA, SB, width=64, signed=True))
    x, y = pairs(WIDE)
    check("mul.hi.u64 {out}, {0}, {1};", [x, y], python(lambda a, b: a * b >> 64, x, y, width=64))
    sx, sy = x.view(np.int64), y.view(np.int64)
    check("mul.hi.s64 {out}, {0}, {1};", [sx, sy], python(lambda a, b: a * b >> 64, sx, sy, width=64, signed=True))
    check("mad.lo.s32 {out}, {0}, {1}, {0};", [SA, SB], python(lambda a, b: a * b + a, SA, SB, signed=True))
    check("mad.wide.u32 {out}, {0}, {1}, 5;", [A, B], python(lambda a, b: a * b + 5, A, B, width=64))
    check("mad.hi.u32 {out}, {0}, {1}, {1};", [A, B], python(lambda a, b: (a * b >> 32) + b, A, B))


def test_sixteen_bits():
    x, y = pairs(np.array([0, 1, 255, 256, 0x7FFF, 0x8000, 0xFFFF], np.uint16))
    both = [(x[0::2].astype(np.uint32) | x[1::2].astype(np.uint32) << 16) for x in (x[: x.size & ~1], y[: y.size & ~1])]
    low, high = ((both[0] >> n) + (both[1] >> n) & 0xFFFF for n in (0, 16))
    for type_ in ("s16x2", "u16x2"):
        check(f"add.{type_} {{out}}, {{0}}, {{1}};", both, low | high << 16)
    check("add.s16 {out}, {0}, {1};", [x, y], python(lambda a, b: a + b, x, y, width=16))
    check("mul.lo.s16 {out}, {0}, {1};", [x, y], python(lambda a, b: a * b, x, y, width=16))
    check("mul.wide.u16 {out}, {0}, {1};", [x, y], python(lambda a, b: a * b, x, y))
    check("shr.s16 {out}, {0}, 3;", [x.view(np.int16)], x.view(np.int16) >> 3)
    check("shl.b16 {out}, {0}, 3;", [x], x << np.uint16(3))


def test_carries():
    x, y = pairs(WIDE)
    code = """
    mov.b64 {{%r1, %r2}}, {0};
    mov.b64 {{%r3, %r4}}, {1};
    """
    add = code + "add.cc.u32 %r5, %r1, %r3; addc.u32 %r6, %r2, %r4; mov.b64 {out}, {{%r5, %r6}};"
    check(add, [x, y], x + y)
    subtract = code + "sub.cc.u32 %r5, %r1, %r3; subc.u32 %r6, %r2, %r4; mov.b64 {out}, {{%r5, %r6}};"
    check(subtract, [x, y], x - y)
    multiply = (
        code + "mul.lo.u32 %r5, %r1, %r3; mul.hi.u32 %r6, %r1, %r3;"
        "mad.lo.u32 %r6, %r1, %r4, %r6; mad.lo.u32 %r6, %r2, %r3, %r6; mov.b64 {out}, {{%r5, %r6}};"
    )
    check(multiply, [x, y], x * y)
    carried = "mad.lo.cc.u32 %r1, {0}, {1}, {1}; madc.hi.u32 {out}, {0}, {1}, 0;"
    check(carried, [A, B], python(lambda a, b: a * b + b >> 32, A, B))


def test_one_operand():
    check("neg.s32 {out}, {0};", [SA], -SA)
    check("abs.s32 {out}, {0};", [SA], np.abs(SA))
    check("not.b32 {out}, {0};", [A], ~A)
    check("cnot.b32 {out}, {0};", [A], (A == 0).astype(np.uint32))
    check("popc.b32 {out}, {0};", [A], python(lambda a: a.bit_count(), A))
    check("clz.b32 {out}, {0};", [A], python(lambda a: 32 - a.bit_length(), A))
    check("brev.b32 {out}, {0};", [A], python(lambda a: int(f"{a:032b}"[::-1], 2), A))
    check("bfind.u32 {out}, {0};", [A], python(lambda a: a.bit_length() - 1, A))
    check("bfind.shiftamt.u32 {out}, {0};", [A], python(lambda a: 32 - a.bit_length() if a else -1, A))
    check("bfind.s32 {out}, {0};", [SA], python(lambda a: (a if a >= 0 else ~a).bit_length() - 1, SA))
    check("popc.b64 {out}, {0};", [WIDE], python(lambda a: a.bit_count(), WIDE))
    check("clz.b64 {out}, {0};", [WIDE], python(lambda a: 64 - a.bit_length(), WIDE))


def field(a, position, length, *, signed, width=32):
    """The PTX manual's loop, bit by bit; the sign is the highest bit of the field within the word."""
    position, length = position & 255, length & 255
    top = min(position + length - 1, width - 1)
    sign = 0 if not signed or length == 0 else a >> top & 1
    result = 0
    for n in range(width):
        bit = a >> (position + n) & 1 if n < length and position + n < width else sign
        result |= bit << n
    return result


def inserted(a, b, position, length, width=32):
    position, length = position & 255, length & 255
    for n in range(length):
        if position + n < width:
            b = b & ~(1 << position + n) | (a >> n & 1) << position + n
    return b


def test_bit_fields():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 1 << 32, (2, 2000), np.uint32)
    position, length = rng.integers(0, 40, (2, 2000), np.uint32)
    args = [a, position, length]
    check("bfe.u32 {out}, {0}, {1}, {2};", args, python(lambda *v: field(*v, signed=False), *args))
    check("bfe.s32 {out}, {0}, {1}, {2};", args, python(lambda *v: field(*v, signed=True), *args))
    check("bfi.b32 {out}, {0}, {1}, {2}, {3};", [a, b, position, length], python(inserted, a, b, position, length))


def test_permutations_and_funnels():
    rng = np.random.default_rng(0)
    a, b, c = rng.integers(0, 1 << 32, (3, 2000), np.uint32)

    def permuted(a, b, selector):
        whole, result = a | b << 32, 0
        for n in range(4):
            choice = selector >> 4 * n & 15
            byte = whole >> 8 * (choice & 7) & 255
            result |= (255 * (byte >> 7) if choice & 8 else byte) << 8 * n
        return result

    check("prmt.b32 {out}, {0}, {1}, {2};", [a, b, c], python(permuted, a, b, c))
    check(
        "shf.l.wrap.b32 {out}, {0}, {1}, {2};",
        [a, b, c],
        python(lambda x, y, n: (x | y << 32) << (n & 31) >> 32, a, b, c),
    )
    check("shf.r.wrap.b32 {out}, {0}, {1}, {2};", [a, b, c], python(lambda x, y, n: (x | y << 32) >> (n & 31), a, b, c))
    n = c % 40
    check(
        "shf.l.clamp.b32 {out}, {0}, {1}, {2};",
        [a, b, n],
        python(lambda x, y, n: (x | y << 32) << min(n, 32) >> 32, a, b, n),
    )
    check(
        "shf.r.clamp.b32 {out}, {0}, {1}, {2};", [a, b, n], python(lambda x, y, n: (x | y << 32) >> min(n, 32), a, b, n)
    )


@pytest.mark.parametrize("table", [0x80, 0xFE, 0x96, 0xE8, 0xCA, 0x00, 0xFF, 0x1D])
def test_any_logic(table):
    rng = np.random.default_rng(0)
    a, b, c = rng.integers(0, 1 << 32, (3, 100), np.uint32)

    def logic(a, b, c):
        return sum((table >> ((a >> n & 1) << 2 | (b >> n & 1) << 1 | c >> n & 1) & 1) << n for n in range(32))

    check(f"lop3.b32 {{out}}, {{0}}, {{1}}, {{2}}, {table};", [a, b, c], python(logic, a, b, c))


def test_dot_of_bytes_and_sum_of_differences():
    rng = np.random.default_rng(0)
    a, b, c = rng.integers(0, 1 << 32, (3, 500), np.uint32)
    signed = (a.view(np.int8).reshape(-1, 4).astype(int) * b.view(np.int8).reshape(-1, 4)).sum(1) + c.view(np.int32)
    check("dp4a.s32.s32 {out}, {0}, {1}, {2};", [a, b, c], signed.astype(np.int64).astype(np.int32))
    mixed = (a.view(np.uint8).reshape(-1, 4).astype(int) * b.view(np.int8).reshape(-1, 4)).sum(1) + c.view(np.int32)
    check("dp4a.u32.s32 {out}, {0}, {1}, {2};", [a, b, c], mixed.astype(np.int64).astype(np.int32))
    check("sad.u32 {out}, {0}, {1}, {2};", [a, b, c], python(lambda x, y, z: abs(x - y) + z, a, b, c))


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("eq", np.equal),
        ("ne", np.not_equal),
        ("lt", np.less),
        ("le", np.less_equal),
        ("gt", np.greater),
        ("ge", np.greater_equal),
    ],
)
def test_comparisons(name, function):
    select = f"setp.{name}.{{type}} %p1, {{{{0}}}}, {{{{1}}}}; selp.u32 {{{{out}}}}, 7, 9, %p1;"
    check(select.format(type="u32"), [A, B], np.where(function(A, B), 7, 9).astype(np.uint32))
    check(select.format(type="s32"), [SA, SB], np.where(function(SA, SB), 7, 9).astype(np.uint32))
    both = f"setp.{name}.u32 %p1|%p2, {{0}}, {{1}}; selp.u32 %r3, 1, 0, %p1; selp.u32 {{out}}, 2, %r3, %p2;"
    check(both, [A, B], np.where(function(A, B), 1, 2).astype(np.uint32))
    flags = f"set.{name}.u32.s32 {{out}}, {{0}}, {{1}};"
    check(flags, [SA, SB], np.where(function(SA, SB), 0xFFFFFFFF, 0).astype(np.uint32))


def test_joined_comparisons():
    code = "setp.lt.u32 %p1, {0}, 100; setp.gt.and.u32 %p2, {1}, 5, %p1; selp.u32 {out}, 1, 0, %p2;"
    check(code, [A, B], ((B > 5) & (A < 100)).astype(np.uint32))
    code = "setp.lt.u32 %p1, {0}, 100; setp.gt.or.u32 %p2, {1}, 5, !%p1; selp.u32 {out}, 1, 0, %p2;"
    check(code, [A, B], ((B > 5) | (A >= 100)).astype(np.uint32))
    code = "setp.hi.u32 %p1, {0}, {1}; setp.ls.u32 %p2, {0}, {1}; xor.pred %p3, %p1, %p2; selp.u32 {out}, 1, 0, %p3;"
    check(code, [A, B], np.ones(A.size, np.uint32))
    check("slct.u32.s32 {out}, 3, 4, {0};", [SA], np.where(SA >= 0, 3, 4).astype(np.uint32))
