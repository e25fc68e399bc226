#pragma once

// bfloat16 in memory, float32 in vectors: loads are exact, stores round to nearest, ties to even,
// and keep NaN.

#include "simd/bf16x2-inl.h"
#include "simd/bfloat16-inl.h"
#include "simd/vec-inl.h"

namespace digan_fast::DIGAN_FAST_ISA {

using Bfloat16 = uint16_t;

#if defined(__AVX512F__)

static DIGAN_FAST_INLINE Vec load(const Bfloat16* p) {
    const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16))};
}

static DIGAN_FAST_INLINE __m256i bfloat16_bits(Vec a) {
#    if defined(__AVX512BF16__)
    return (__m256i)_mm512_cvtneps_pbh(a.v);
#    else
    const __m512i bits = _mm512_castps_si512(a.v), high = _mm512_srli_epi32(bits, 16);
    const __m512i odd = _mm512_and_si512(high, _mm512_set1_epi32(1));
    const __m512i half = _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff));
    const __m512i rounded = _mm512_srli_epi32(_mm512_add_epi32(bits, half), 16);
    const __m512i quiet = _mm512_or_si512(high, _mm512_set1_epi32(0x40));
    const __mmask16 nan = _mm512_cmp_ps_mask(a.v, a.v, _CMP_UNORD_Q);
    return _mm512_cvtepi32_epi16(_mm512_mask_mov_epi32(rounded, nan, quiet));
#    endif
}

static DIGAN_FAST_INLINE void store(Bfloat16* p, Vec a) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), bfloat16_bits(a));
}
static DIGAN_FAST_INLINE void store_streaming(Bfloat16* p, Vec a) {
#    if defined(__SANITIZE_ADDRESS__)
    store(p, a);
#    else
    _mm256_stream_si256(reinterpret_cast<__m256i*>(p), bfloat16_bits(a));
#    endif
}

#elif defined(__AVX2__) && defined(__FMA__)

static DIGAN_FAST_INLINE Vec load(const Bfloat16* p) {
    const __m128i bits = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return {_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16))};
}

static DIGAN_FAST_INLINE __m128i bfloat16_bits(Vec a) {
    const __m256i bits = _mm256_castps_si256(a.v), high = _mm256_srli_epi32(bits, 16);
    const __m256i odd = _mm256_and_si256(high, _mm256_set1_epi32(1));
    const __m256i half = _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff));
    const __m256i rounded = _mm256_srli_epi32(_mm256_add_epi32(bits, half), 16);
    const __m256i quiet = _mm256_or_si256(high, _mm256_set1_epi32(0x40));
    const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(a.v, a.v, _CMP_UNORD_Q));
    const __m256i chosen = _mm256_blendv_epi8(rounded, quiet, nan);
    return _mm_packus_epi32(_mm256_castsi256_si128(chosen), _mm256_extracti128_si256(chosen, 1));
}

static DIGAN_FAST_INLINE void store(Bfloat16* p, Vec a) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), bfloat16_bits(a));
}
static DIGAN_FAST_INLINE void store_streaming(Bfloat16* p, Vec a) {
#    if defined(__SANITIZE_ADDRESS__)
    store(p, a);
#    else
    _mm_stream_si128(reinterpret_cast<__m128i*>(p), bfloat16_bits(a));
#    endif
}

#else

static DIGAN_FAST_INLINE Vec load(const Bfloat16* p) {
    Vec a;
    for (int i = 0; i < Vec::width; ++i) a.v[i] = widened(p[i]);
    return a;
}
static DIGAN_FAST_INLINE void store(Bfloat16* p, Vec a) {
    for (int i = 0; i < Vec::width; ++i) p[i] = narrowed(a.v[i]);
}
static DIGAN_FAST_INLINE void store_streaming(Bfloat16* p, Vec a) { store(p, a); }

#endif

// Neighbouring vectors.
template <class Stored>
static DIGAN_FAST_INLINE void store_two(Stored* p, Vec a, Vec b) {
    store(p, a);
    store(p + Vec::width, b);
}
template <class Stored>
static DIGAN_FAST_INLINE void store_two_streaming(Stored* p, Vec a, Vec b) {
    store_streaming(p, a);
    store_streaming(p + Vec::width, b);
}
#if defined(__AVX512BF16__)
static DIGAN_FAST_INLINE void store_two(Bfloat16* p, Vec a, Vec b) {
    _mm512_storeu_si512(p, (__m512i)_mm512_cvtne2ps_pbh(b.v, a.v));
}
#    if !defined(__SANITIZE_ADDRESS__)
static DIGAN_FAST_INLINE void store_two_streaming(Bfloat16* p, Vec a, Vec b) {
    _mm512_stream_si512(reinterpret_cast<__m512i*>(p), (__m512i)_mm512_cvtne2ps_pbh(b.v, a.v));
}
#    endif
#endif

// A vector of `count` elements, none to all of its lanes; the other ones are zero.
template <class Stored>
static DIGAN_FAST_INLINE Vec load_some(const Stored* p, int64_t count) {
    if (count >= Vec::width) return load(p);
    Stored lanes[Vec::width] = {};
    for (int64_t i = 0; i < count; ++i) lanes[i] = p[i];
    return load(lanes);
}

template <class Stored>
static DIGAN_FAST_INLINE void store_some(Stored* p, int64_t count, Vec a) {
    if (count >= Vec::width) return store(p, a);
    Stored lanes[Vec::width];
    store(lanes, a);
    for (int64_t i = 0; i < count; ++i) p[i] = lanes[i];
}

// Sanitizers do not see masked accesses.
#if defined(__AVX512F__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
static DIGAN_FAST_INLINE __mmask16 first_lanes(int64_t count) {
    return static_cast<__mmask16>(count > 0 ? (1 << count) - 1 : 0);
}
static DIGAN_FAST_INLINE Vec load_some(const float* p, int64_t count) {
    return count >= Vec::width ? load(p) : Vec{_mm512_maskz_loadu_ps(first_lanes(count), p)};
}
static DIGAN_FAST_INLINE void store_some(float* p, int64_t count, Vec a) {
    if (count >= Vec::width) return store(p, a);
    _mm512_mask_storeu_ps(p, first_lanes(count), a.v);
}
#endif

#if defined(__AVX512BF16__)
// A vector of pairs k along the rows of x, of `rows` rows: `lanes` of them, then zeros.
static DIGAN_FAST_INLINE void pack_lanes(const Bfloat16* x, int64_t stride, int64_t k, int64_t rows,
                                         int64_t lanes, Bf16x2* to) {
    const __mmask16 some = lanes >= 16 ? 0xffff : (1u << (lanes < 0 ? 0 : lanes)) - 1;
    const auto half = [&](int64_t row) {
        const __mmask16 mask = row < rows ? some : 0;
        return _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, x + row * stride));
    };
    _mm512_storeu_si512(to, _mm512_or_si512(half(2 * k), _mm512_slli_epi32(half(2 * k + 1), 16)));
}
#endif

}  // namespace digan_fast::DIGAN_FAST_ISA
