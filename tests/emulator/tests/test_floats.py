"""Floating-point instructions: one rounding each, edge values, every format."""

import math
from fractions import Fraction

import numpy as np
import pytest
from emulator import ptx
from snippets import FLOATS, apply, bits, pairs, rounded

A, B = pairs(FLOATS)


def check(code, inputs, expected):
    with np.errstate(all="ignore"):
        found = apply(code, inputs, expected.dtype)
    wrong = np.flatnonzero(bits(found) != bits(expected))
    values = [np.broadcast_to(i, expected.shape)[wrong[:5]] for i in inputs]
    assert not wrong.size, f"{code}: of {values}: {found[wrong[:5]]}, not {expected[wrong[:5]]}"


def flush(values):
    tiny = np.abs(values) < np.float32(2.0**-126)
    return np.where(tiny, np.copysign(np.float32(0), values), values).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "function"), [("add", np.add), ("sub", np.subtract), ("mul", np.multiply), ("div.rn", np.divide)]
)
def test_pairs(name, function):
    with np.errstate(all="ignore"):
        exact = function(A, B)
        flushed = flush(function(flush(A), flush(B)))
        clipped = np.where(np.isnan(exact), 0, np.clip(exact, 0, 1)).astype(np.float32)
    check(f"{name}.f32 {{out}}, {{0}}, {{1}};", [A, B], exact)
    check(f"{name}.ftz.f32 {{out}}, {{0}}, {{1}};", [A, B], flushed)
    if name != "div.rn":
        check(f"{name}.sat.f32 {{out}}, {{0}}, {{1}};", [A, B], clipped)


@pytest.mark.parametrize("mode", ["rn", "rz", "rm", "rp"])
def test_fma_rounds_once(mode):
    rng = np.random.default_rng(1)
    finite = FLOATS[np.isfinite(FLOATS) & (np.abs(FLOATS) < 1e30)]
    a, b, c = (rng.choice(finite, 3000) * rng.choice(np.float32([1, 1, 1 + 2**-23, 1 - 2**-24, 3])) for _ in range(3))
    # Products half a unit in the last place away from the addend: ties and near-ties.
    a[:500], b[:500] = 1 + 2.0**-12, 1 + rng.integers(-3, 4, 500) * 2.0**-12
    c[:500] = rng.choice(np.float32([2.0**-24, -(2.0**-24), 2.0**-50, 1, 2**24, -(2**24)]), 500)
    a, b, c = (v.astype(np.float32) for v in (a, b, c))
    exact = [Fraction(float(x)) * Fraction(float(y)) + Fraction(float(z)) for x, y, z in zip(a, b, c, strict=True)]
    keep = np.array([0 < abs(value) < 2**127 for value in exact])
    a, b, c = a[keep], b[keep], c[keep]
    expected = np.array([rounded(v, mode) for v in exact if 0 < abs(v) < 2**127]).astype(np.float32)
    sign = np.array([v < 0 for v in exact if 0 < abs(v) < 2**127])
    check(
        f"fma.{mode}.f32 {{out}}, {{0}}, {{1}}, {{2}};",
        [a, b, c],
        np.copysign(expected, np.where(sign, -1, 1).astype(np.float32)),
    )


def test_fma_needs_more_than_float64():
    """A product and an addend whose float64 sum is a float32 tie although the exact sum is not."""
    a, b = np.float32([1 + 2**-12, 1 + 2**-12]), np.float32([1 + 2**-12, 1 + 2**-12])
    c = np.float32([2.0**-60, -(2.0**-60)])
    naive = (a.astype(np.float64) * b + c).astype(np.float32)
    expected = np.float32([1 + 2**-11 + 2**-23, 1 + 2**-11])
    assert (naive != expected).any()
    check("fma.rn.f32 {out}, {0}, {1}, {2};", [a, b, c], expected)


def test_fma_of_doubles():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 2000))
    c = -(a * b) * rng.choice([1, 1, 1 + 2**-52, 2**-30], 2000)
    exact = [Fraction(x) * Fraction(y) + Fraction(z) for x, y, z in zip(a, b, c, strict=True)]
    check("fma.rn.f64 {out}, {0}, {1}, {2};", [a, b, c], np.array([float(v) for v in exact]))


@pytest.mark.parametrize("mode", ["rz", "rm", "rp"])
@pytest.mark.parametrize("name", ["add", "mul", "div"])
def test_directed_roundings(name, mode):
    finite = FLOATS[np.isfinite(FLOATS) & (np.abs(FLOATS) < 1e18) & (np.abs(FLOATS) > 1e-18)]
    a, b = pairs(finite)
    operation = {"add": Fraction.__add__, "mul": Fraction.__mul__, "div": Fraction.__truediv__}[name]
    exact = [operation(Fraction(float(x)), Fraction(float(y))) for x, y in zip(a, b, strict=True)]
    keep = np.array([v != 0 for v in exact])
    expected = np.array([rounded(v, mode) for v in exact if v != 0]).astype(np.float32)
    check(f"{name}.{mode}.f32 {{out}}, {{0}}, {{1}};", [a[keep], b[keep]], expected)


def test_square_roots():
    roots = np.abs(FLOATS[~np.isnan(FLOATS)])
    check("sqrt.rn.f32 {out}, {0};", [roots], np.sqrt(roots))
    check("sqrt.rn.f64 {out}, {0};", [roots.astype(np.float64)], np.sqrt(roots.astype(np.float64)))
    with np.errstate(all="ignore"):
        check("rcp.rn.f32 {out}, {0};", [FLOATS], np.float32(1) / FLOATS)


def test_extremes():
    with np.errstate(all="ignore"):
        low, high = np.fmin(A, B), np.fmax(A, B)
    noughts = (A == 0) & (B == 0)
    low = np.where(noughts, np.where(np.signbit(A) | np.signbit(B), np.float32(-0.0), np.float32(0)), low)
    high = np.where(noughts, np.where(np.signbit(A) & np.signbit(B), np.float32(-0.0), np.float32(0)), high)
    check("min.f32 {out}, {0}, {1};", [A, B], low)
    check("max.f32 {out}, {0}, {1};", [A, B], high)
    either = np.isnan(A) | np.isnan(B)
    check("min.NaN.f32 {out}, {0}, {1};", [A, B], np.where(either, np.float32(np.nan), low))
    check("max.NaN.f32 {out}, {0}, {1};", [A, B], np.where(either, np.float32(np.nan), high))


def test_signs():
    check("neg.f32 {out}, {0};", [FLOATS], -FLOATS)
    check("abs.f32 {out}, {0};", [FLOATS], np.abs(FLOATS))
    check("abs.ftz.f32 {out}, {0};", [FLOATS], np.abs(flush(FLOATS)))
    check("copysign.f32 {out}, {0}, {1};", [A, B], np.copysign(B, A))


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("sin", np.sin),
        ("cos", np.cos),
        ("ex2", np.exp2),
        ("lg2", np.log2),
        ("tanh", np.tanh),
        ("sqrt", np.sqrt),
        ("rsqrt", lambda a: 1 / np.sqrt(a)),
        ("rcp", lambda a: 1 / a),
    ],
)
def test_approximations_are_correctly_rounded(name, function):
    with np.errstate(all="ignore"):
        check(f"{name}.approx.f32 {{out}}, {{0}};", [FLOATS], function(FLOATS.astype(np.float64)).astype(np.float32))
        if name != "tanh":
            flushed = flush(function(flush(FLOATS).astype(np.float64)).astype(np.float32))
            check(f"{name}.approx.ftz.f32 {{out}}, {{0}};", [FLOATS], flushed)


def test_approximate_division():
    with np.errstate(all="ignore"):
        check("div.approx.f32 {out}, {0}, {1};", [A, B], A / B)
        check("div.full.f32 {out}, {0}, {1};", [A, B], A / B)


@pytest.mark.parametrize("name", ["eq", "ne", "lt", "le", "gt", "ge"])
def test_ordered_and_unordered_comparisons(name):
    function = {"eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal}.get(name)
    function = function or {"gt": np.greater, "ge": np.greater_equal}[name]
    either = np.isnan(A) | np.isnan(B)
    ordered = function(A, B) & ~either
    select = "setp.{name}.f32 %p1, {{0}}, {{1}}; selp.u32 {{out}}, 1, 0, %p1;"
    check(select.format(name=name), [A, B], ordered.astype(np.uint32))
    check(select.format(name=name + "u"), [A, B], (ordered | either).astype(np.uint32))


def test_comparisons_with_nan():
    either = np.isnan(A) | np.isnan(B)
    check("setp.num.f32 %p1, {0}, {1}; selp.u32 {out}, 1, 0, %p1;", [A, B], (~either).astype(np.uint32))
    check("setp.nan.f32 %p1, {0}, {1}; selp.u32 {out}, 1, 0, %p1;", [A, B], either.astype(np.uint32))
    for name, expected in (
        ("finite", np.isfinite(FLOATS)),
        ("infinite", np.isinf(FLOATS)),
        ("number", ~np.isnan(FLOATS)),
        ("notanumber", np.isnan(FLOATS)),
        ("subnormal", (FLOATS != 0) & (np.abs(FLOATS) < 2.0**-126)),
    ):
        check(f"testp.{name}.f32 %p1, {{0}}; selp.u32 {{out}}, 1, 0, %p1;", [FLOATS], expected.astype(np.uint32))


HALVES = np.arange(0, 1 << 16, 37, dtype=np.uint16)


def halves_to(name, values):
    """Exact values of 16-bit floats, and the conversion from float64 to their bits, by definition."""
    return values.view(np.float16).astype(np.float64) if name == "f16" else ptx.from_bf16(values).astype(np.float64)


def to_half(name, exact):
    digits, least, largest = (11, -24, 65504.0) if name == "f16" else (8, -133, float(ptx.from_bf16(np.uint16(0x7F7F))))
    results = []
    for value in exact:
        if value is None:
            results.append(0x7FFF)
            continue
        number = math.copysign(rounded(value, "rn", digits, least), value)
        number = math.copysign(math.inf, number) if abs(number) > largest else number
        if name == "f16":
            results.append(int(np.float16(number).view(np.uint16)))
        else:
            results.append(int(np.float32(number).view(np.uint32)) >> 16)
    return np.array(results, np.uint16)


@pytest.mark.parametrize("name", ["f16", "bf16"])
def test_halves_round_once(name):
    rng = np.random.default_rng(0)
    a, b, c = (rng.choice(HALVES, 1500) for _ in range(3))
    values = [halves_to(name, v) for v in (a, b, c)]
    usable = np.all([np.isfinite(v) & (v != 0) for v in values], axis=0)
    a, b, c = a[usable], b[usable], c[usable]
    x, y, z = ([Fraction(float(v)) for v in value[usable]] for value in values)

    def equal(code, inputs, exact):
        expected = to_half(name, exact)
        keep = np.array([v != 0 for v in exact])
        np.testing.assert_array_equal(apply(code, inputs, np.uint16)[keep], expected[keep])

    equal(
        f"fma.rn.{name} {{out}}, {{0}}, {{1}}, {{2}};", [a, b, c], [p * q + r for p, q, r in zip(x, y, z, strict=True)]
    )
    equal(f"add.{name} {{out}}, {{0}}, {{1}};", [a, b], [p + q for p, q in zip(x, y, strict=True)])
    equal(f"mul.{name} {{out}}, {{0}}, {{1}};", [a, b], [p * q for p, q in zip(x, y, strict=True)])


@pytest.mark.parametrize("name", ["f16", "bf16"])
def test_pairs_of_halves_are_two_halves(name):
    rng = np.random.default_rng(0)
    a, b, c = rng.integers(0, 1 << 32, (3, 1000), np.uint32)
    for code in (f"fma.rn.{name}{{0}}", f"add.{name}{{0}}", f"max.{name}{{0}}", f"min.NaN.{name}{{0}}"):
        operands = "{{0}}, {{1}}, {{2}}" if code.startswith("fma") else "{{0}}, {{1}}"
        both = apply(
            f"{code.format('x2')} {{out}}, {operands};".replace("{{", "{").replace("}}", "}"), [a, b, c], np.uint32
        )
        split = [v.view(np.uint16) for v in (a, b, c)]
        single = apply(
            f"{code.format('')} {{out}}, {operands};".replace("{{", "{").replace("}}", "}"), split, np.uint16
        )
        np.testing.assert_array_equal(both.view(np.uint16), single)


def test_relu_of_pairs():
    a = np.array([0x3C00BC00, 0xBC003C00, 0x80000000], np.uint32)
    one = np.full(3, 0x3C003C00, np.uint32)
    zero = np.zeros(3, np.uint32)
    found = apply("fma.rn.relu.f16x2 {out}, {0}, {1}, {2};", [a, one, zero], np.uint32)
    np.testing.assert_array_equal(found, np.array([0x3C000000, 0x00003C00, 0], np.uint32))


def test_halves_flush_subnormals():
    least = np.float16(2.0**-14)
    values = np.array([least, least / 2, -least / 2, 1, np.nan, 0], np.float16)
    expected = np.array([least, 0, -0.0, 1, np.nan, 0], np.float16)
    check("mul.ftz.f16 {out}, {0}, {1};", [values, np.ones(6, np.float16)], expected)


def test_flushing_comparisons():
    code = "setp.eq.ftz.f32 %p1, {0}, {1}; selp.u32 {out}, 1, 0, %p1;"
    check(code, [A, B], (flush(A) == flush(B)).astype(np.uint32))
