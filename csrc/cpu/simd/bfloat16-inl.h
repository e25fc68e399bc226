#pragma once

// bfloat16 is the upper half of a float32. Converted with integers, so that every instruction set
// gives the same bits: avx512bf16's own conversion flushes subnormals to zero.

#include <stdint.h>
#include <string.h>

namespace digan_fast::DIGAN_FAST_ISA {

static inline float widened(uint16_t x) {
    const uint32_t bits = static_cast<uint32_t>(x) << 16;
    float wide;
    memcpy(&wide, &bits, sizeof wide);
    return wide;
}
static inline float widened(float x) { return x; }

// Rounds to nearest, ties to even; every NaN becomes the same quiet NaN. Elements of tensors are
// rounded here, operands of products by bfloat16_bits (simd/vec-inl.h), which keeps a NaN's upper
// bits.
static inline uint16_t narrowed(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    return static_cast<uint16_t>((bits & 0x7fffffffu) > 0x7f800000u ? 0x7fc0u : rounded);
}

template <class Stored>
static inline Stored narrowed_to(float x) {
    if constexpr (sizeof(Stored) == sizeof(uint16_t)) {
        return narrowed(x);
    } else {
        return x;
    }
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
