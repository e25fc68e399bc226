#pragma once

// Pairs of bfloat16 in 32 bits, the operands of VDPBF16PS.

#include "simd/vec-inl.h"

namespace digan_fast::DIGAN_FAST_ISA {

// Two neighbouring channels, the even one in the low half.
struct Bf16x2 {
    uint32_t bits;
};

static DIGAN_FAST_INLINE Bf16x2 pack_bf16x2(float even, float odd) {
    return {bfloat16_bits(odd) << 16 | bfloat16_bits(even)};
}

#if defined(__AVX512BF16__)
static DIGAN_FAST_INLINE __m512bh load_bf16x2(const Bf16x2* p) {
    return (__m512bh)_mm512_loadu_si512(p);
}

static DIGAN_FAST_INLINE __m512bh broadcast_bf16x2(Bf16x2 p) {
    __m512i pairs = _mm512_set1_epi32(static_cast<int>(p.bits));
#    if defined(__clang__) && __clang_major__ == 16
    asm("" : "+v"(pairs));  // clang 16 crashes if it sees one value become bfloat16
#    endif
    return (__m512bh)pairs;
}

// The even or the odd channels of a vector of pairs.
static DIGAN_FAST_INLINE Vec even_channels(__m512i pairs) {
    return {_mm512_castsi512_ps(_mm512_slli_epi32(pairs, 16))};
}
static DIGAN_FAST_INLINE Vec odd_channels(__m512i pairs) {
    const __m512i high = _mm512_set1_epi32(static_cast<int>(0xffff0000u));
    return {_mm512_castsi512_ps(_mm512_and_si512(pairs, high))};
}

// A vector's elements in the low halves.
static DIGAN_FAST_INLINE __m512i narrowed_bf16(__m512 values) {
    return _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(values));
}

// A vector of pairs.
static DIGAN_FAST_INLINE __m512i rounded_pairs(Vec even, Vec odd) {
    const __m512i both = (__m512i)_mm512_cvtne2ps_pbh(odd.v, even.v);
    const __m512i order =
        _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6,
                         21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    return _mm512_permutexvar_epi16(order, both);
}

static DIGAN_FAST_INLINE void store_pairs(Bf16x2* to, Vec even, Vec odd) {
    _mm512_storeu_si512(to, rounded_pairs(even, odd));
}

// Stores R ≤ 16 pairs.
template <int R>
static DIGAN_FAST_INLINE void store_pairs(Bf16x2* to, const float* even, const float* odd) {
    constexpr __mmask16 kFirst = (1u << R) - 1;
    const auto half = [](const float* from) {
        return narrowed_bf16(_mm512_maskz_loadu_ps(kFirst, from));
    };
    _mm512_mask_storeu_epi32(to, kFirst,
                             _mm512_or_si512(half(even), _mm512_slli_epi32(half(odd), 16)));
}
#endif

}  // namespace digan_fast::DIGAN_FAST_ISA
