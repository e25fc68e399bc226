#pragma once

// The sine of a vector.

#include "simd/amx-inl.h"
#include "simd/sincos-inl.h"
#include "simd/vec-inl.h"

namespace digan_fast::DIGAN_FAST_ISA {

// sin r = r + r³·(…) for |r| ≤ π/2, fitted; error 5e-9.
constexpr float kSine[4] = {-1.6666656733e-1f, 8.3330152556e-3f, -1.9806477940e-4f,
                            2.5997510420e-6f};

// cos r = 1 + r²·(…) for |r| ≤ π/2, fitted; error 5e-9.
constexpr float kCosine[5] = {-4.9999999546e-1f, 4.1666640563e-2f, -1.3888401204e-3f,
                              2.4761761242e-5f, -2.6074796507e-7f};

// c[0] + c[1]·x + c[2]·x² + …
template <int N>
static DIGAN_FAST_INLINE Vec polynomial(const float (&c)[N], Vec x) {
    Vec sum = broadcast(c[N - 1]);
    for (int i = N - 2; i >= 0; --i) sum = fma(sum, x, broadcast(c[i]));
    return sum;
}

// z = n·π + r, |r| ≤ π/2, for |z| up to kSincosReach; n is odd where the lowest bit of `shifted`
// is set.
//
// π is split after 8 and 19 bits, so that products with n < 2¹² are exact whether or not they are
// fused.
struct Reduced {
    Vec r, shifted;
};

// A power of 2; |z| up to 6433 is within kSincosReach.
constexpr int32_t kReach = 2048;

constexpr float kInversePi = 0.318309886f;
constexpr float kShift = 12582912.0f;       // 1.5 · 2²³: a sum with it has n in its low bits,
constexpr int32_t kShiftBits = 0x4b400000;  // added to these

static DIGAN_FAST_INLINE Reduced reduced(Vec z) {
    const Vec shifted = fma(z, broadcast(kInversePi), broadcast(kShift));
    const Vec n = add(shifted, broadcast(-kShift));
    Vec r = fma(n, broadcast(-3.140625f), z);
    r = fma(n, broadcast(-9.67502593994140625e-4f), r);
    r = fma(n, broadcast(-1.50995799097837643e-7f), r);
    return {r, shifted};
}

static DIGAN_FAST_INLINE Vec sine_of(const Reduced& z) {
    const Vec r2 = mul(z.r, z.r);
    return flip_sign(fma(mul(z.r, r2), polynomial(kSine, r2), z.r), z.shifted);
}

// Whether −reach ≤ n < reach, a power of 2, for the vectors of which these are the sums with the
// shift; false if one is NaN.
class ReachCheck {
  public:
    explicit ReachCheck(int32_t reach) : reach_(reach) {}
    DIGAN_FAST_INLINE void see(Vec shifted) {
        bits_ = join_difference(bits_, shifted, kShiftBits - reach_);
    }
    DIGAN_FAST_INLINE bool passed() const { return !any_bits(bits_, ~(2 * reach_ - 1)); }

  private:
    int32_t reach_;
    Vec bits_ = broadcast(0.0f);
};

// Sines whose results are rounded to bfloat16, half an ulp of which is up to 2e-3.
#if DIGAN_FAST_AMX

// z = 2π·(n + r), |r| ≤ 1/2; `shifted` is n + r. Nine instructions, the look at the reach included,
// instead of thirteen: loads of tiles leave few slots. The quotient's rounding turns the sine by up
// to 9e-8·|z|; the polynomial, fitted, is 6e-6 off.
constexpr float kInverseTwoPi = 0.159154943f;
constexpr float kShortSine[5] = {6.2830558955f, -4.1331217440e+1f, 8.1366820640e+1f,
                                 -7.4477894740e+1f, 3.2781044987e+1f};

static DIGAN_FAST_INLINE Reduced quickly_reduced(Vec z) {
    const Vec turns = mul(z, broadcast(kInverseTwoPi));
    return {from_nearest(turns), turns};
}

static DIGAN_FAST_INLINE Vec short_sine_of(const Reduced& z) {
    return mul(z.r, polynomial(kShortSine, mul(z.r, z.r)));
}

static DIGAN_FAST_INLINE Vec turns_of(const Reduced& z) { return z.shifted; }

// Where −kShortReach ≤ n + r < kShortReach, |z| up to 200, the error is within 2.5e-5; beyond it is
// not used.
constexpr int32_t kShortReach = 32;

// Whether it is so for all vectors.
class ShortReachCheck {
  public:
    DIGAN_FAST_INLINE void see(Vec turns) { most_ = larger_magnitude(most_, turns); }
    DIGAN_FAST_INLINE bool passed() const { return !any_beyond(most_, kMost); }

  private:
    static constexpr float kMost = kShortReach - 0x1p-19f;  // the number before
    Vec most_ = broadcast(0.0f);
};

#else

// z/π = n + r, |r| ≤ 1/2: six multiplications instead of nine. The quotient's rounding turns the
// sine by up to 7e-8·|z|; the polynomial, fitted, is 6e-7 off.
constexpr float kShortSine[4] = {3.1415820122f, -5.1671428680f, 2.5418989658f, -5.5463612080e-1f};

static DIGAN_FAST_INLINE Reduced quickly_reduced(Vec z) {
    const Vec turns = mul(z, broadcast(kInversePi));
    const Vec shifted = add(turns, broadcast(kShift));
    const Vec n = add(shifted, broadcast(-kShift));
    return {sub(turns, n), shifted};
}

static DIGAN_FAST_INLINE Vec short_sine_of(const Reduced& z) {
    return flip_sign(mul(z.r, polynomial(kShortSine, mul(z.r, z.r))), z.shifted);
}

static DIGAN_FAST_INLINE Vec turns_of(const Reduced& z) {
    return add(z.shifted, broadcast(-kShift));
}

// Where −kShortReach ≤ n < kShortReach, |z| up to 200, the error is within 1.5e-5; beyond it is not
// used.
constexpr int32_t kShortReach = 64;

class ShortReachCheck : public ReachCheck {
  public:
    ShortReachCheck() : ReachCheck(kShortReach) {}
};

#endif

static DIGAN_FAST_INLINE Vec cosine_of(const Reduced& z) {
    const Vec r2 = mul(z.r, z.r);
    return flip_sign(fma(r2, polynomial(kCosine, r2), broadcast(1.0f)), z.shifted);
}

// sin z for |z| up to kSincosReach, absolute error within 1.4e-7.
static DIGAN_FAST_INLINE Vec sine_within_reach(Vec z) { return sine_of(reduced(z)); }

// The same for any z; beyond the reach by the C library.
static inline Vec sine_anywhere(Vec z) {
    const Vec near = sine_within_reach(z);
    if (!any_beyond(absolute(z), kSincosReach)) return near;
    float angles[Vec::width], sines[Vec::width], cosine;
    store(angles, z);
    store(sines, near);
    for (int i = 0; i < Vec::width; ++i)
        if (fabsf(angles[i]) > kSincosReach) sincos_far(angles[i], &sines[i], &cosine);
    return load(sines);
}

// The short sine of what is within its reach, however far the other lanes are; there the sine.
static inline Vec short_sine_anywhere(Vec z) {
    const Reduced near = quickly_reduced(z);
    float turns[Vec::width], sines[Vec::width], others[Vec::width];
    store(turns, turns_of(near));
    store(sines, short_sine_of(near));
    store(others, sine_anywhere(z));
    for (int i = 0; i < Vec::width; ++i)
        if (!(turns[i] >= -kShortReach && turns[i] < kShortReach)) sines[i] = others[i];
    return load(sines);
}

// Sine and cosine of any z, within 1.4e-7 and 1.8e-7.
static DIGAN_FAST_INLINE void sine_and_cosine(Vec z, Vec* sine, Vec* cosine) {
    const Reduced near = reduced(z);
    *sine = sine_of(near);
    *cosine = cosine_of(near);
    if (!any_beyond(absolute(z), kSincosReach)) return;
    float angles[Vec::width], sines[Vec::width], cosines[Vec::width];
    store(angles, z);
    store(sines, *sine);
    store(cosines, *cosine);
    for (int i = 0; i < Vec::width; ++i)
        if (fabsf(angles[i]) > kSincosReach) sincos_far(angles[i], &sines[i], &cosines[i]);
    *sine = load(sines);
    *cosine = load(cosines);
}

}  // namespace digan_fast::DIGAN_FAST_ISA
