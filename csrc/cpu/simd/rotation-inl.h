#pragma once

// Weights of sines and cosines, rotated by a phase φ:
//
//     S·sin(a + φ) + C·cos(a + φ) = P·sin a + Q·cos a
//     P = S·cos φ − C·sin φ,  Q = S·sin φ + C·cos φ

#include "simd/bf16x2-inl.h"
#include "simd/vec-inl.h"

namespace digan_fast::DIGAN_FAST_ISA {

struct Rotated {
    float sine, cosine;  // P, Q
};

static DIGAN_FAST_INLINE Rotated rotated(float sine, float cosine, float sin, float cos) {
    return {sine * cos - cosine * sin, sine * sin + cosine * cos};
}

// The same for R ≤ 16 rows, [R]; with fma, each sum is rounded once.
template <int R>
static DIGAN_FAST_INLINE void rotate(const float* sine, const float* cosine, float sin, float cos,
                                     float* P, float* Q) {
#if defined(__AVX512F__)
    constexpr __mmask16 kFirst = (1u << R) - 1;
    const __m512 s = _mm512_maskz_loadu_ps(kFirst, sine);
    const __m512 c = _mm512_maskz_loadu_ps(kFirst, cosine);
    const __m512 by_sin = _mm512_set1_ps(sin), by_cos = _mm512_set1_ps(cos);
    _mm512_mask_storeu_ps(P, kFirst, _mm512_fmsub_ps(s, by_cos, _mm512_mul_ps(c, by_sin)));
    _mm512_mask_storeu_ps(Q, kFirst, _mm512_fmadd_ps(s, by_sin, _mm512_mul_ps(c, by_cos)));
#else
    for (int r = 0; r < R; ++r) {
        const Rotated at = rotated(sine[r], cosine[r], sin, cos);
        P[r] = at.sine;
        Q[r] = at.cosine;
    }
#endif
}

#if defined(__AVX512F__)
// The same for a vector of sinusoids of a row.
static DIGAN_FAST_INLINE void rotate(Vec sine, Vec cosine, Vec sin, Vec cos, Vec* P, Vec* Q) {
    P->v = _mm512_fmsub_ps(sine.v, cos.v, _mm512_mul_ps(cosine.v, sin.v));
    Q->v = _mm512_fmadd_ps(sine.v, sin.v, _mm512_mul_ps(cosine.v, cos.v));
}
#endif

#if defined(__AVX512BF16__)
// The same for `count` ≤ 32 neighbouring sinusoids of a row, as 16 pairs, zero from `count` on.
static inline void rotate_pairs(const float* sine, const float* cosine, const float* sin,
                                const float* cos, int64_t count, Bf16x2* P, Bf16x2* Q) {
    __m512 p[2], q[2];
    for (int half = 0; half < 2; ++half) {
        const int64_t own = count - 16 * half;
        const __mmask16 some = own >= 16 ? 0xffff : own > 0 ? (1u << own) - 1 : 0;
        const auto part = [&](const float* from) {
            return _mm512_maskz_loadu_ps(some, from + 16 * half);
        };
        const __m512 s = part(sine), c = part(cosine), by_sin = part(sin), by_cos = part(cos);
        p[half] = _mm512_fmsub_ps(s, by_cos, _mm512_mul_ps(c, by_sin));
        q[half] = _mm512_fmadd_ps(s, by_sin, _mm512_mul_ps(c, by_cos));
    }
    _mm512_storeu_si512(P, (__m512i)_mm512_cvtne2ps_pbh(p[1], p[0]));
    _mm512_storeu_si512(Q, (__m512i)_mm512_cvtne2ps_pbh(q[1], q[0]));
}
#endif

}  // namespace digan_fast::DIGAN_FAST_ISA
