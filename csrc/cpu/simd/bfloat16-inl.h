#pragma once

// bfloat16 is the upper half of a float32. Converted with integers, so that every instruction set
// gives the same bits: avx512bf16's own conversion flushes subnormals to zero.

#include "simd/vec-inl.h"

namespace digan_fast::DIGAN_FAST_ISA {

static inline float widened(uint16_t x) {
    const uint32_t bits = static_cast<uint32_t>(x) << 16;
    float wide;
    memcpy(&wide, &bits, sizeof wide);
    return wide;
}

// Rounds to nearest, ties to even; a NaN stays a NaN and keeps its upper bits, as in avx512bf16's
// conversion, so that a product's NaNs are the same whichever of the two packed its operands.
static DIGAN_FAST_INLINE uint32_t bfloat16_bits(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    const uint32_t rounded = (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
    return (bits & 0x7fffffffu) > 0x7f800000u ? (bits >> 16 | 0x40u) : rounded;
}

static DIGAN_FAST_INLINE float to_bfloat16(float x) {
    const uint32_t bits = bfloat16_bits(x) << 16;
    memcpy(&x, &bits, sizeof x);
    return x;
}

// A tensor's element: every NaN becomes the same quiet NaN, as in torch.
static inline uint16_t narrowed(float x) {
    return static_cast<uint16_t>(x != x ? 0x7fc0u : bfloat16_bits(x));
}

static inline void widen(float* out, const uint16_t* x, int64_t n) {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) out[i] = widened(x[i]);
}

static inline void narrow(uint16_t* out, const float* x, int64_t n) {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) out[i] = narrowed(x[i]);
}

}  // namespace digan_fast::DIGAN_FAST_ISA
