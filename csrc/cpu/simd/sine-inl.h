#pragma once

// The sine of a vector.

#include "simd/sincos-inl.h"
#include "simd/vec-inl.h"

namespace digan_fast::DIGAN_FAST_ISA {

// sin r = r + r³·(…) for |r| ≤ π/2, fitted; error 5e-9.
constexpr float kSine[4] = {-1.6666656733e-1f, 8.3330152556e-3f, -1.9806477940e-4f,
                            2.5997510420e-6f};

// cos r = 1 + r²·(…) for |r| ≤ π/2, fitted; error 5e-9.
constexpr float kCosine[5] = {-4.9999999546e-1f, 4.1666640563e-2f, -1.3888401204e-3f,
                              2.4761761242e-5f, -2.6074796507e-7f};

// z = n·π + r, |r| ≤ π/2, for |z| up to kSincosReach; n is odd where the lowest bit of `shifted`
// is set.
//
// π is split after 8 and 19 bits, so that products with n < 2¹² are exact whether or not they are
// fused.
struct Reduced {
    Vec r, shifted;
};

static DIGAN_FAST_INLINE Reduced reduced(Vec z) {
    const Vec shift = broadcast(12582912.0f);  // 1.5 · 2²³: the low bits hold n
    const Vec shifted = fma(z, broadcast(0.318309886f), shift);
    const Vec n = add(shifted, broadcast(-12582912.0f));
    Vec r = fma(n, broadcast(-3.140625f), z);
    r = fma(n, broadcast(-9.67502593994140625e-4f), r);
    r = fma(n, broadcast(-1.50995799097837643e-7f), r);
    return {r, shifted};
}

static DIGAN_FAST_INLINE Vec sine_of(const Reduced& z) {
    const Vec r2 = mul(z.r, z.r);
    Vec p = fma(broadcast(kSine[3]), r2, broadcast(kSine[2]));
    p = fma(p, r2, broadcast(kSine[1]));
    p = fma(p, r2, broadcast(kSine[0]));
    return flip_sign(fma(mul(z.r, r2), p, z.r), z.shifted);
}

// The same for results that are rounded to bfloat16, whose half ulp is up to 2e-3: error 9e-7.
constexpr float kShortSine[3] = {-1.6665685285e-1f, 8.3124165196e-3f, -1.8493437274e-4f};

static DIGAN_FAST_INLINE Vec short_sine_of(const Reduced& z) {
    const Vec r2 = mul(z.r, z.r);
    Vec p = fma(broadcast(kShortSine[2]), r2, broadcast(kShortSine[1]));
    p = fma(p, r2, broadcast(kShortSine[0]));
    return flip_sign(fma(mul(z.r, r2), p, z.r), z.shifted);
}

static DIGAN_FAST_INLINE Vec cosine_of(const Reduced& z) {
    const Vec r2 = mul(z.r, z.r);
    Vec p = fma(broadcast(kCosine[4]), r2, broadcast(kCosine[3]));
    p = fma(p, r2, broadcast(kCosine[2]));
    p = fma(p, r2, broadcast(kCosine[1]));
    p = fma(p, r2, broadcast(kCosine[0]));
    return flip_sign(fma(r2, p, broadcast(1.0f)), z.shifted);
}

// sin z for |z| up to kSincosReach, absolute error within 1.4e-7.
static DIGAN_FAST_INLINE Vec sine_within_reach(Vec z) { return sine_of(reduced(z)); }

// The same for any z; beyond the reach by the C library.
static inline Vec sine_anywhere(Vec z) {
    const Vec near = sine_within_reach(z);
    float angles[Vec::width], sines[Vec::width], cosine;
    store(angles, z);
    store(sines, near);
    for (int i = 0; i < Vec::width; ++i)
        if (fabsf(angles[i]) > kSincosReach) sincos_far(angles[i], &sines[i], &cosine);
    return load(sines);
}

// Sine and cosine of any z, both within 1.4e-7.
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
