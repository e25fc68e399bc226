#pragma once

// Operands of products rounded to a lower precision and kept in float32, which multiplies them
// exactly as they are.

#include "digan_fast/bias_act.h"
#include "simd/vec-inl.h"
#include "simd/vec_bfloat16-inl.h"

namespace digan_fast::DIGAN_FAST_ISA {

// The nearest float16, ties to even: infinity from 65520 on, multiples of 2⁻²⁴ below 2⁻¹⁴; NaN
// stays one. float16's last place, 13 binary places above float32's, is that of a sum with 2¹³
// times the number's power of two.
[[maybe_unused]] static DIGAN_FAST_INLINE float to_float16(float a) {
    constexpr uint32_t kExponent = 0x7f800000u, kOne = 1u << 23,
                       kSmallestNormal = (127 - 14) * kOne;
    const float size = fabsf(a);
    uint32_t bits;
    memcpy(&bits, &size, sizeof bits);
    const uint32_t power = bits & kExponent;
    bits = (power > kSmallestNormal ? power : kSmallestNormal) + 13 * kOne;
    float shift;
    memcpy(&shift, &bits, sizeof shift);
    const float rounded = (size + shift) - shift;
    return copysignf(size < 65520.0f ? rounded : size * INFINITY, a);
}

static DIGAN_FAST_INLINE Vec to_float16(Vec a) {
#if defined(__AVX512F__)
    return {_mm512_cvtph_ps(_mm512_cvtps_ph(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC))};
#elif defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
    return {_mm256_cvtph_ps(_mm256_cvtps_ph(a.v, _MM_FROUND_TO_NEAREST_INT))};
#else
    float lanes[Vec::width];
    store(lanes, a);
    for (float& lane : lanes) lane = to_float16(lane);
    return load(lanes);
#endif
}

// to[i] = from[i] rounded; `to` may be `from`.
static DIGAN_FAST_INLINE void round_n(Number number, float* to, const float* from, int64_t n) {
    if (number == Number::float16) {
        for (int64_t i = 0; i < n; i += Vec::width)
            store_some(to + i, n - i, to_float16(load_some(from + i, n - i)));
    } else if (number == Number::bfloat16) {
#pragma omp simd
        for (int64_t i = 0; i < n; ++i) to[i] = to_bfloat16(from[i]);
    } else if (to != from) {
        memcpy(to, from, n * sizeof(float));
    }
}

}  // namespace digan_fast::DIGAN_FAST_ISA
