#pragma once

// Sine and cosine for loops that the compiler vectorises, under the rules of simd/vec_math-inl.h:
// the same bits from every instruction set and every position in a vector. NaN and infinity in, NaN
// out.

#include <math.h>
#include <stdint.h>
#include <string.h>

namespace digan_fast::DIGAN_FAST_ISA {

// Up to here sincos_ holds its error bound. Beyond it the reduction loses digits of π/2 and
// sincos_far is used.
constexpr float kSincosReach = 1e4f;

// *s = sin x, *c = cos x for |x| ≤ kSincosReach, absolute error below 9.5e-8 (all floats from
// 0.5 to the reach, against float64); unspecified beyond it. sin −0 is +0.
//
// x = n·π/2 + r, |r| ≤ 0.7866 (π/4 plus the rounding of x·2/π at the reach), n < 2¹³. π/2 is split
// after 8 and 19 bits, so that the products with n are exact, and so are the first two
// differences: both terms are multiples of 2⁻²⁴ and the result is below 1. Only the third rounds.
// The polynomials are fitted on |r| ≤ 0.7866: 3.1e-9 and 4.6e-10 off in exact arithmetic.
static inline void sincos_(float x, float* s, float* c) {
    const float shifted = x * 0.636619772f + 12582912.0f;  // 1.5 · 2²³: the low bits hold n
    const float n = shifted - 12582912.0f;
    const float r = ((x - n * 1.5703125f) - n * 4.8375129697e-4f) - n * 7.5497901264e-8f;
    const float r2 = r * r;
    float p = -1.9494585285e-4f;
    p = p * r2 + 8.3319703117e-3f;
    p = p * r2 + -1.6666650772e-1f;
    const float sine = r + r * (r2 * p);
    float q = 2.4437345928e-5f;
    q = q * r2 + -1.3887358364e-3f;
    q = q * r2 + 4.1666645557e-2f;
    const float cosine = (1.0f - 0.5f * r2) + (r2 * r2) * q;
    // Odd n swaps the two; bit 1 of n negates the sine, bit 1 of n + 1 the cosine.
    uint32_t quadrant, sine_bits, cosine_bits;
    memcpy(&quadrant, &shifted, sizeof quadrant);
    memcpy(&sine_bits, &sine, sizeof sine_bits);
    memcpy(&cosine_bits, &cosine, sizeof cosine_bits);
    const uint32_t exchange = (sine_bits ^ cosine_bits) & (0u - (quadrant & 1u));
    sine_bits ^= exchange ^ ((quadrant & 2u) << 30);
    cosine_bits ^= exchange ^ (((quadrant + 1u) & 2u) << 30);
    memcpy(s, &sine_bits, sizeof sine_bits);
    memcpy(c, &cosine_bits, sizeof cosine_bits);
}

// Whether any of x[0 … n) is beyond the reach of sincos_.
static inline bool sincos_any_far(const float* x, int64_t n) {
    int far = 0;
#pragma omp simd reduction(| : far)
    for (int64_t i = 0; i < n; ++i) far |= fabsf(x[i]) > kSincosReach;
    return far != 0;
}

// The same beyond the reach, by the C library in double: within half a unit in the last place.
static inline void sincos_far(float x, float* s, float* c) {
    *s = static_cast<float>(sin(static_cast<double>(x)));
    *c = static_cast<float>(cos(static_cast<double>(x)));
}

// s[i] = sin x[i], c[i] = cos x[i] for any x; neither overlaps x. Each value depends only on its
// own x, not on its neighbours.
static inline void sincos_n(const float* x, float* s, float* c, int64_t n) {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) sincos_(x[i], s + i, c + i);
    if (!sincos_any_far(x, n)) return;
    for (int64_t i = 0; i < n; ++i) {
        if (fabsf(x[i]) > kSincosReach) sincos_far(x[i], s + i, c + i);
    }
}

}  // namespace digan_fast::DIGAN_FAST_ISA
