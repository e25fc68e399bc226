#pragma once

// float32 numbers as sums of three bfloat16, x = x₀ + x₁ + x₂, each the rest rounded: 24 binary
// digits as three times 8, so the sum is exact. It loses digits where a term is subnormal, below
// 2⁻¹⁰⁹. The terms of an infinity, and of numbers from 3.39e38 on, which round to one, are NaN.
//
// For |x| in [2ᵉ, 2ᵉ⁺¹), |x₁| ≤ 2ᵉ⁻⁸ and |x₂| ≤ 2ᵉ⁻¹⁷. Of the nine products of two numbers' terms,
// those of i + j ≤ 2 are summed; the others are at most 2⁻²⁴ + 2⁻³⁴ of x·y, float32's half ulp.

#include "simd/amx-inl.h"
#include "simd/terms.h"

#if DIGAN_FAST_AMX

namespace digan_fast::DIGAN_FAST_ISA {

// A channel pair's bits of one term.
struct Terms {
    uint32_t bits;
};

// Elements of a tile, and of the operands of a step: two tiles of each term.
constexpr int64_t kTmmElements = kTmmSide * kTmmSide;
constexpr int64_t kStepElements = kTerms * 2 * kTmmElements;

// What remains of x after the low or high halves of pairs.
static DIGAN_FAST_INLINE Vec rest_of(Vec x, __m512i bits) {
    return {_mm512_sub_ps(x.v, _mm512_castsi512_ps(bits))};
}

// Stores the terms of sixteen pairs, `stride` elements apart.
static DIGAN_FAST_INLINE void store_terms(Bf16x2* to, int64_t stride, Vec even, Vec odd) {
    const __m512i high = _mm512_set1_epi32(static_cast<int>(0xffff0000u));
    for (int term = 0; term < kTerms; ++term) {
        const __m512i pairs = rounded_pairs(even, odd);
        _mm512_storeu_si512(to + term * stride, pairs);
        if (term + 1 == kTerms) break;
        even = rest_of(even, _mm512_slli_epi32(pairs, 16));
        odd = rest_of(odd, _mm512_and_si512(pairs, high));
    }
}

// The same for 32 neighbours, in two vectors or in memory.
static DIGAN_FAST_INLINE void store_row_terms(Bf16x2* to, int64_t stride, Vec low, Vec high) {
    const __m512i even =
        _mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
    const __m512i odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
    store_terms(to, stride, {_mm512_permutex2var_ps(low.v, even, high.v)},
                {_mm512_permutex2var_ps(low.v, odd, high.v)});
}
static DIGAN_FAST_INLINE void store_row_terms(Bf16x2* to, int64_t stride, const float* from) {
    store_row_terms(to, stride, load(from), load(from + Vec::width));
}

}  // namespace digan_fast::DIGAN_FAST_ISA

#endif
