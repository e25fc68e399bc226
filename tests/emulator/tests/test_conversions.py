"""cvt in every rounding mode, and values that overflow, are clamped or are NaN."""

import math
from fractions import Fraction

import numpy as np
import pytest
from emulator import ptx
from snippets import FLOATS, WORDS, apply, bits, rounded

MODES = {"rni": round, "rzi": math.trunc, "rmi": math.floor, "rpi": math.ceil}


def check(code, inputs, expected):
    np.testing.assert_array_equal(bits(apply(code, inputs, expected.dtype)), bits(expected), err_msg=code)


@pytest.mark.parametrize("mode", list(MODES))
@pytest.mark.parametrize("kind", ["s32", "u32", "s64", "u64", "s16", "u16"])
def test_floats_to_integers_clamp(mode, kind):
    width, signed = int(kind[1:]), kind[0] == "s"
    low, high = (-(1 << width - 1), (1 << width - 1) - 1) if signed else (0, (1 << width) - 1)
    values = np.r_[FLOATS, np.float32([9.2e18, -9.2e18, 1.8e19, 1.9e19, 32767.5, -0.5, 0.49999997, 2147483520])]
    expected = []
    for value in values.astype(float):
        if math.isnan(value):
            whole = 1 << 63 if width == 64 else 0
        elif math.isinf(value):
            whole = high if value > 0 else low
        else:
            whole = min(max(MODES[mode](value), low), high)
        expected.append(whole & ((1 << width) - 1))
    check(f"cvt.{mode}.{kind}.f32 {{out}}, {{0}};", [values], np.array(expected, f"u{width // 8}"))
    doubles = values.astype(np.float64)
    check(f"cvt.{mode}.{kind}.f64 {{out}}, {{0}};", [doubles], np.array(expected, f"u{width // 8}"))


@pytest.mark.parametrize("mode", ["rn", "rz", "rm", "rp"])
def test_integers_to_floats(mode):
    wide = np.array(
        [0, 1, 16777217, (1 << 53) + 1, (1 << 63) - 1, 1 << 63, (1 << 64) - 1, (1 << 40) + (1 << 16)], np.uint64
    )
    for kind, values in (("u32", WORDS), ("s32", WORDS.view(np.int32)), ("u64", wide), ("s64", wide.view(np.int64))):
        single = np.array([rounded(Fraction(int(v)), mode) for v in values]).astype(np.float32)
        check(f"cvt.{mode}.f32.{kind} {{out}}, {{0}};", [values], single)
        double = np.array([rounded(Fraction(int(v)), mode, 53, -1074) for v in values])
        check(f"cvt.{mode}.f64.{kind} {{out}}, {{0}};", [values], double)


def test_integers_to_halves():
    values = np.array([0, 1, 2049, 65519, 65520, 100000, 257, 4294967295], np.uint32)
    half = np.array([rounded(Fraction(int(v)), "rn", 11, -24) for v in values])
    with np.errstate(over="ignore"):
        check("cvt.rn.f16.u32 {out}, {0};", [values], half.astype(np.float16))
    brain = np.array([rounded(Fraction(int(v)), "rn", 8, -133) for v in values])
    check("cvt.rn.bf16.u32 {out}, {0};", [values], ptx.to_bf16(brain.astype(np.float32)))


def test_integers_to_integers():
    check("cvt.u16.u32 {out}, {0};", [WORDS], WORDS.astype(np.uint16))
    check("cvt.s64.s32 {out}, {0};", [WORDS], WORDS.view(np.int32).astype(np.int64))
    check("cvt.u64.u32 {out}, {0};", [WORDS], WORDS.astype(np.uint64))
    check("cvt.s32.s16 {out}, {0};", [WORDS], WORDS.astype(np.uint16).view(np.int16).astype(np.int32))
    check("cvt.s32.s8 {out}, {0};", [WORDS], WORDS.astype(np.uint8).view(np.int8).astype(np.int32))
    check("cvt.u32.u8 {out}, {0};", [WORDS], WORDS.astype(np.uint8).astype(np.uint32))
    check("cvt.sat.s16.s32 {out}, {0};", [WORDS], np.clip(WORDS.view(np.int32), -32768, 32767).astype(np.int16))
    check("cvt.sat.u16.s32 {out}, {0};", [WORDS], np.clip(WORDS.view(np.int32), 0, 65535).astype(np.uint16))
    check("cvt.sat.u32.s32 {out}, {0};", [WORDS], np.clip(WORDS.view(np.int32), 0, None).astype(np.uint32))


def narrowed(values, mode, digits, least, largest):
    """Float64 values rounded to a narrower format, by definition."""
    found = []
    for value in values.astype(float):
        if math.isnan(value) or math.isinf(value) or value == 0:
            found.append(value)
            continue
        number = rounded(Fraction(value), mode, digits, least)
        if abs(number) > largest:
            stays = mode == "rz" or (mode == "rm" and value > 0) or (mode == "rp" and value < 0)
            number = math.copysign(largest if stays else math.inf, value)
        found.append(math.copysign(number, value))
    return np.array(found)


@pytest.mark.parametrize("mode", ["rn", "rz", "rm", "rp"])
def test_narrower_floats(mode):
    doubles = np.r_[FLOATS.astype(np.float64), 1e300, -1e300, 1e-310, 1 + 2.0**-24, 1 + 2.0**-24 + 2.0**-50, 3.5e38]
    single = narrowed(doubles, mode, 24, -149, float(np.finfo(np.float32).max)).astype(np.float32)
    check(f"cvt.{mode}.f32.f64 {{out}}, {{0}};", [doubles], single)
    if mode in ("rn", "rz"):
        half = narrowed(FLOATS, mode, 11, -24, 65504.0).astype(np.float16)
        found = apply(f"cvt.{mode}.f16.f32 {{out}}, {{0}};", [FLOATS], np.float16)
        np.testing.assert_array_equal(bits(found), bits(half))
        brain = narrowed(FLOATS, mode, 8, -133, float(ptx.from_bf16(np.array([0x7F7F], np.uint16))[0]))
        expected = np.where(np.isnan(brain), 0x7FFF, brain.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
        check(f"cvt.{mode}.bf16.f32 {{out}}, {{0}};", [FLOATS], expected)


def test_two_floats_to_a_pair():
    a, b = FLOATS, FLOATS[::-1].copy()
    expected = ptx.to_bf16(a).astype(np.uint32) << 16 | ptx.to_bf16(b)
    check("cvt.rn.bf16x2.f32 {out}, {0}, {1};", [a, b], expected)
    with np.errstate(over="ignore"):
        high, low = (
            np.where(np.isnan(v), 0x7FFF, v.astype(np.float16).view(np.uint16)).astype(np.uint32) for v in (a, b)
        )
        relu = np.where(np.isnan(a), 0x7FFF, np.where(a > 0, a, 0).astype(np.float16).view(np.uint16)).astype(np.uint32)
    check("cvt.rn.f16x2.f32 {out}, {0}, {1};", [a, b], high << 16 | low)
    found = apply("cvt.rn.relu.f16x2.f32 {out}, {0}, {1};", [a, b], np.uint32)
    np.testing.assert_array_equal(found >> 16, relu)


def test_wider_floats():
    halves = np.arange(0, 1 << 16, 11, dtype=np.uint16)
    check("cvt.f32.f16 {out}, {0};", [halves], halves.view(np.float16).astype(np.float32))
    check("cvt.f32.bf16 {out}, {0};", [halves], ptx.from_bf16(halves))
    check("cvt.f64.f32 {out}, {0};", [FLOATS], FLOATS.astype(np.float64))


def test_whole_floats_and_saturation():
    for mode, function in (("rni", np.rint), ("rzi", np.trunc), ("rmi", np.floor), ("rpi", np.ceil)):
        check(f"cvt.{mode}.f32.f32 {{out}}, {{0}};", [FLOATS], function(FLOATS))
    expected = np.where(np.isnan(FLOATS), 0, np.clip(FLOATS, 0, 1)).astype(np.float32)
    check("cvt.sat.f32.f32 {out}, {0};", [FLOATS], expected)


def test_tf32_ties():
    values = np.float32([1 + 2**-11, 1 + 3 * 2**-11, -1 - 2**-11, 1 + 2**-11 + 2**-23, np.inf, 0.0, 3.4028235e38])
    away = np.float32([1 + 2**-10, 1 + 2 * 2**-10, -1 - 2**-10, 1 + 2**-10, np.inf, 0.0, np.inf])
    check("cvt.rna.tf32.f32 {out}, {0};", [values], away.view(np.uint32))
    even = np.float32([1, 1 + 2 * 2**-10, -1, 1 + 2**-10, np.inf, 0.0, np.inf])
    check("cvt.rn.tf32.f32 {out}, {0};", [values], even.view(np.uint32))


def test_addresses_of_spaces():
    code = """
    .shared .align 4 .b8 room[16];
    mov.u64 %d10, room;
    cvta.shared.u64 %d11, %d10;
    isspacep.shared %p1, %d11;
    isspacep.global %p2, %d11;
    cvta.to.shared.u64 %d12, %d11;
    sub.s64 %d12, %d12, %d10;
    cvt.u32.u64 {out}, %d12;
    @%p1 add.u32 {out}, {out}, 10;
    @%p2 add.u32 {out}, {out}, 100;
    """
    np.testing.assert_array_equal(apply(code, [WORDS], np.uint32), np.full(WORDS.size, 10))
