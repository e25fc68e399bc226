#pragma once

// The sine of a vector.

#include "simd/sincos-inl.h"
#include "simd/vec-inl.h"

namespace digan_fast::DIGAN_FAST_ISA {

// sin r = r + r³·(…) for |r| ≤ π/2, fitted; error 5e-9.
constexpr float kSine[4] = {-1.6666656733e-1f, 8.3330152556e-3f, -1.9806477940e-4f,
                            2.5997510420e-6f};

// sin z for |z| up to kSincosReach, absolute error within 1.4e-7.
//
// z = n·π + r, |r| ≤ π/2. π is split after 8 and 19 bits, so that products with n < 2¹² are exact
// whether or not they are fused.
static DIGAN_FAST_INLINE Vec sine_within_reach(Vec z) {
    const Vec shift = broadcast(12582912.0f);  // 1.5 · 2²³: the low bits hold n
    const Vec shifted = fma(z, broadcast(0.318309886f), shift);
    const Vec n = add(shifted, broadcast(-12582912.0f));
    Vec r = fma(n, broadcast(-3.140625f), z);
    r = fma(n, broadcast(-9.67502593994140625e-4f), r);
    r = fma(n, broadcast(-1.50995799097837643e-7f), r);
    const Vec r2 = mul(r, r);
    Vec p = fma(broadcast(kSine[3]), r2, broadcast(kSine[2]));
    p = fma(p, r2, broadcast(kSine[1]));
    p = fma(p, r2, broadcast(kSine[0]));
    return flip_sign(fma(mul(r, r2), p, r), shifted);
}

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

}  // namespace digan_fast::DIGAN_FAST_ISA
