#pragma once

// The vectors of an instruction set, and the operations that kernels use.

#include <math.h>
#include <stdint.h>
#include <string.h>

#if defined(__AVX2__)
#    include <immintrin.h>
#endif

#if defined(__GNUC__)
#    define DIGAN_FAST_INLINE inline __attribute__((always_inline))
#    define DIGAN_FAST_INLINE_LAMBDA __attribute__((always_inline))
#else
#    define DIGAN_FAST_INLINE inline
#    define DIGAN_FAST_INLINE_LAMBDA
#endif

// Sanitizers do not see non-temporal stores.
#if defined(__SANITIZE_ADDRESS__)
#    define DIGAN_FAST_STREAM(width) width##_store_ps
#else
#    define DIGAN_FAST_STREAM(width) width##_stream_ps
#endif

namespace digan_fast::DIGAN_FAST_ISA {

#if defined(__AVX512F__)

struct Vec {
    static constexpr int width = 16;
    __m512 v;
};

static DIGAN_FAST_INLINE Vec load(const float* p) { return {_mm512_loadu_ps(p)}; }
static DIGAN_FAST_INLINE void store(float* p, Vec a) { _mm512_storeu_ps(p, a.v); }
static DIGAN_FAST_INLINE void store_streaming(float* p, Vec a) {
    DIGAN_FAST_STREAM(_mm512)(p, a.v);
}
static DIGAN_FAST_INLINE Vec broadcast(float a) { return {_mm512_set1_ps(a)}; }
static DIGAN_FAST_INLINE Vec add(Vec a, Vec b) { return {_mm512_add_ps(a.v, b.v)}; }
static DIGAN_FAST_INLINE Vec sub(Vec a, Vec b) { return {_mm512_sub_ps(a.v, b.v)}; }
static DIGAN_FAST_INLINE Vec mul(Vec a, Vec b) { return {_mm512_mul_ps(a.v, b.v)}; }
static DIGAN_FAST_INLINE Vec max(Vec a, Vec b) { return {_mm512_max_ps(a.v, b.v)}; }
static DIGAN_FAST_INLINE Vec min(Vec a, Vec b) { return {_mm512_min_ps(a.v, b.v)}; }
// a·b + c
static DIGAN_FAST_INLINE Vec fma(Vec a, Vec b, Vec c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
// p[0], p[0], p[0], p[0], p[1], …
static DIGAN_FAST_INLINE Vec repeat_each_four(const float* p) {
    const __m512i lane = _mm512_set_epi32(3, 3, 3, 3, 2, 2, 2, 2, 1, 1, 1, 1, 0, 0, 0, 0);
    return {_mm512_permutexvar_ps(lane, _mm512_castps128_ps512(_mm_loadu_ps(p)))};
}

// The sign of a flipped where the lowest bit of b's representation is set; a shift of that bit
// would take the port of fma and mul.
static DIGAN_FAST_INLINE Vec flip_sign(Vec a, Vec b) {
    const __mmask16 odd = _mm512_test_epi32_mask(_mm512_castps_si512(b.v), _mm512_set1_epi32(1));
    return {_mm512_mask_xor_ps(a.v, odd, a.v, _mm512_set1_ps(-0.0f))};
}
static DIGAN_FAST_INLINE Vec absolute(Vec a) { return {_mm512_abs_ps(a.v)}; }
// a less the nearest integer, for finite a.
static DIGAN_FAST_INLINE Vec from_nearest(Vec a) { return {_mm512_reduce_ps(a.v, 0)}; }
// The larger of |a| and |b|, the other one if one is NaN.
static DIGAN_FAST_INLINE Vec larger_magnitude(Vec a, Vec b) {
    return {_mm512_range_ps(a.v, b.v, 0x0b)};
}
// x where a < b, else y.
static DIGAN_FAST_INLINE Vec where_less(Vec a, Vec b, Vec x, Vec y) {
    return {_mm512_mask_blend_ps(_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ), y.v, x.v)};
}
// x where a ≤ b, else y.
static DIGAN_FAST_INLINE Vec where_at_most(Vec a, Vec b, Vec x, Vec y) {
    return {_mm512_mask_blend_ps(_mm512_cmp_ps_mask(a.v, b.v, _CMP_LE_OQ), y.v, x.v)};
}
static DIGAN_FAST_INLINE bool any_beyond(Vec a, float reach) {
    return _mm512_cmp_ps_mask(a.v, _mm512_set1_ps(reach), _CMP_GT_OQ) != 0;
}
// Of integers in lanes: bits | (a's representation − from), and whether one has a bit of `mask`
static DIGAN_FAST_INLINE Vec join_difference(Vec bits, Vec a, int32_t from) {
    const __m512i difference = _mm512_sub_epi32(_mm512_castps_si512(a.v), _mm512_set1_epi32(from));
    return {_mm512_castsi512_ps(_mm512_or_si512(_mm512_castps_si512(bits.v), difference))};
}
static DIGAN_FAST_INLINE bool any_bits(Vec bits, int32_t mask) {
    return _mm512_test_epi32_mask(_mm512_castps_si512(bits.v), _mm512_set1_epi32(mask)) != 0;
}

#elif defined(__AVX2__) && defined(__FMA__)

struct Vec {
    static constexpr int width = 8;
    __m256 v;
};

static DIGAN_FAST_INLINE Vec load(const float* p) { return {_mm256_loadu_ps(p)}; }
static DIGAN_FAST_INLINE void store(float* p, Vec a) { _mm256_storeu_ps(p, a.v); }
static DIGAN_FAST_INLINE void store_streaming(float* p, Vec a) {
    DIGAN_FAST_STREAM(_mm256)(p, a.v);
}
static DIGAN_FAST_INLINE Vec broadcast(float a) { return {_mm256_set1_ps(a)}; }
static DIGAN_FAST_INLINE Vec add(Vec a, Vec b) { return {_mm256_add_ps(a.v, b.v)}; }
static DIGAN_FAST_INLINE Vec sub(Vec a, Vec b) { return {_mm256_sub_ps(a.v, b.v)}; }
static DIGAN_FAST_INLINE Vec mul(Vec a, Vec b) { return {_mm256_mul_ps(a.v, b.v)}; }
static DIGAN_FAST_INLINE Vec max(Vec a, Vec b) { return {_mm256_max_ps(a.v, b.v)}; }
static DIGAN_FAST_INLINE Vec min(Vec a, Vec b) { return {_mm256_min_ps(a.v, b.v)}; }
static DIGAN_FAST_INLINE Vec fma(Vec a, Vec b, Vec c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }
static DIGAN_FAST_INLINE Vec repeat_each_four(const float* p) {
    return {_mm256_set_m128(_mm_set1_ps(p[1]), _mm_set1_ps(p[0]))};
}
static DIGAN_FAST_INLINE Vec flip_sign(Vec a, Vec b) {
    const __m256i sign = _mm256_slli_epi32(_mm256_castps_si256(b.v), 31);
    return {_mm256_castsi256_ps(_mm256_xor_si256(_mm256_castps_si256(a.v), sign))};
}
static DIGAN_FAST_INLINE Vec absolute(Vec a) {
    return {_mm256_andnot_ps(_mm256_set1_ps(-0.0f), a.v)};
}
static DIGAN_FAST_INLINE Vec where_less(Vec a, Vec b, Vec x, Vec y) {
    return {_mm256_blendv_ps(y.v, x.v, _mm256_cmp_ps(a.v, b.v, _CMP_LT_OQ))};
}
static DIGAN_FAST_INLINE Vec where_at_most(Vec a, Vec b, Vec x, Vec y) {
    return {_mm256_blendv_ps(y.v, x.v, _mm256_cmp_ps(a.v, b.v, _CMP_LE_OQ))};
}
static DIGAN_FAST_INLINE bool any_beyond(Vec a, float reach) {
    return _mm256_movemask_ps(_mm256_cmp_ps(a.v, _mm256_set1_ps(reach), _CMP_GT_OQ)) != 0;
}
static DIGAN_FAST_INLINE Vec join_difference(Vec bits, Vec a, int32_t from) {
    const __m256i difference = _mm256_sub_epi32(_mm256_castps_si256(a.v), _mm256_set1_epi32(from));
    return {_mm256_castsi256_ps(_mm256_or_si256(_mm256_castps_si256(bits.v), difference))};
}
static DIGAN_FAST_INLINE bool any_bits(Vec bits, int32_t mask) {
    return _mm256_testz_si256(_mm256_castps_si256(bits.v), _mm256_set1_epi32(mask)) == 0;
}

#else

// Four lanes that any compiler keeps in a register; product and sum are rounded separately.
struct Vec {
    static constexpr int width = 4;
    float v[4];
};

#    define DIGAN_FAST_LANES(expression)                 \
        Vec r;                                           \
        for (int i = 0; i < 4; ++i) r.v[i] = expression; \
        return r

static DIGAN_FAST_INLINE Vec load(const float* p) { DIGAN_FAST_LANES(p[i]); }
static DIGAN_FAST_INLINE void store(float* p, Vec a) {
    for (int i = 0; i < 4; ++i) p[i] = a.v[i];
}
static DIGAN_FAST_INLINE void store_streaming(float* p, Vec a) { store(p, a); }
static DIGAN_FAST_INLINE Vec broadcast(float a) { DIGAN_FAST_LANES(a); }
static DIGAN_FAST_INLINE Vec add(Vec a, Vec b) { DIGAN_FAST_LANES(a.v[i] + b.v[i]); }
static DIGAN_FAST_INLINE Vec sub(Vec a, Vec b) { DIGAN_FAST_LANES(a.v[i] - b.v[i]); }
static DIGAN_FAST_INLINE Vec mul(Vec a, Vec b) { DIGAN_FAST_LANES(a.v[i] * b.v[i]); }
static DIGAN_FAST_INLINE Vec max(Vec a, Vec b) {
    DIGAN_FAST_LANES(a.v[i] > b.v[i] ? a.v[i] : b.v[i]);
}
static DIGAN_FAST_INLINE Vec min(Vec a, Vec b) {
    DIGAN_FAST_LANES(a.v[i] < b.v[i] ? a.v[i] : b.v[i]);
}
static DIGAN_FAST_INLINE Vec fma(Vec a, Vec b, Vec c) {
    DIGAN_FAST_LANES(a.v[i] * b.v[i] + c.v[i]);
}
static DIGAN_FAST_INLINE Vec repeat_each_four(const float* p) { return broadcast(p[0]); }
static DIGAN_FAST_INLINE Vec flip_sign(Vec a, Vec b) {
    for (int i = 0; i < 4; ++i) {
        uint32_t bits;
        memcpy(&bits, &b.v[i], sizeof bits);
        a.v[i] = bits & 1u ? -a.v[i] : a.v[i];
    }
    return a;
}
static DIGAN_FAST_INLINE Vec absolute(Vec a) { DIGAN_FAST_LANES(fabsf(a.v[i])); }
static DIGAN_FAST_INLINE Vec where_less(Vec a, Vec b, Vec x, Vec y) {
    DIGAN_FAST_LANES(a.v[i] < b.v[i] ? x.v[i] : y.v[i]);
}
static DIGAN_FAST_INLINE Vec where_at_most(Vec a, Vec b, Vec x, Vec y) {
    DIGAN_FAST_LANES(a.v[i] <= b.v[i] ? x.v[i] : y.v[i]);
}
static DIGAN_FAST_INLINE bool any_beyond(Vec a, float reach) {
    bool any = false;
    for (int i = 0; i < 4; ++i) any |= a.v[i] > reach;
    return any;
}

static DIGAN_FAST_INLINE Vec join_difference(Vec bits, Vec a, int32_t from) {
    for (int i = 0; i < 4; ++i) {
        uint32_t x, joined;
        memcpy(&x, &a.v[i], sizeof x);
        memcpy(&joined, &bits.v[i], sizeof joined);
        joined |= x - static_cast<uint32_t>(from);
        memcpy(&bits.v[i], &joined, sizeof joined);
    }
    return bits;
}
static DIGAN_FAST_INLINE bool any_bits(Vec bits, int32_t mask) {
    uint32_t any = 0;
    for (int i = 0; i < 4; ++i) {
        uint32_t x;
        memcpy(&x, &bits.v[i], sizeof x);
        any |= x & static_cast<uint32_t>(mask);
    }
    return any != 0;
}

#    undef DIGAN_FAST_LANES

#endif

// Four 32-bit elements.
#if defined(__AVX2__)
using Quad = __m128;
#else
struct Quad {
    float v[4];
};
#endif

static DIGAN_FAST_INLINE Quad load_quad(const void* p) {
#if defined(__AVX2__)
    return _mm_loadu_ps(static_cast<const float*>(p));
#else
    Quad quad;
    memcpy(&quad, p, sizeof quad);
    return quad;
#endif
}

// to[i · stride + j] = from[j][i], 4 by 4
static DIGAN_FAST_INLINE void store_transposed(const Quad* from, float* to, int64_t stride) {
#if defined(__AVX2__)
    __m128 a = from[0], b = from[1], c = from[2], d = from[3];
    _MM_TRANSPOSE4_PS(a, b, c, d);
    _mm_storeu_ps(to, a);
    _mm_storeu_ps(to + stride, b);
    _mm_storeu_ps(to + 2 * stride, c);
    _mm_storeu_ps(to + 3 * stride, d);
#else
    for (int i = 0; i < 4; ++i)
        for (int j = 0; j < 4; ++j) to[i * stride + j] = from[j].v[i];
#endif
}

// Called after a thread's last `store_streaming`, a non-temporal store; p is aligned to a
// vector.
static DIGAN_FAST_INLINE void fence_streaming() {
#if defined(__AVX2__)
    _mm_sfence();
#endif
}

// Prefetches the line at p into L2. GCC drops calls of functions that only prefetch, as pure; they
// must be always_inline.
static DIGAN_FAST_INLINE void prefetch(const void* p) {
#if defined(__GNUC__)
    __builtin_prefetch(p, 0, 2);
#else
    (void)p;
#endif
}

// Rounds an operand of a product to the nearest bfloat16, ties to even; a NaN keeps its upper bits,
// unlike in `narrowed` (simd/bfloat16-inl.h), for elements of tensors.
static DIGAN_FAST_INLINE uint32_t bfloat16_bits(float a) {
    uint32_t bits;
    memcpy(&bits, &a, sizeof bits);
    const uint32_t rounded = (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
    return (bits & 0x7fffffffu) > 0x7f800000u ? (bits >> 16 | 0x40u) : rounded;
}

static DIGAN_FAST_INLINE float to_bfloat16(float a) {
    const uint32_t bits = bfloat16_bits(a) << 16;
    memcpy(&a, &bits, sizeof a);
    return a;
}

}  // namespace digan_fast::DIGAN_FAST_ISA
