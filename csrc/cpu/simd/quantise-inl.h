#pragma once

// Quantisation to int8, as in digan_fast/reference/render_int8.py: weights w ≈ s·q with q in ±127,
// activations x ≈ s·(q − z) with q and z in 0 … 255.
//
// Every instruction set rounds to the same integers: products and sums are rounded separately,
// without fma.

#include <stdint.h>
#include <string.h>

namespace digan_fast::DIGAN_FAST_ISA {

constexpr float kWeightLevels = 127.0f;

// Slightly fewer than 255 levels: with min·l = −z ± 0.5, max·l + z stays below 255.5.
constexpr float kActivationLevels = 254.99f;

// Features are within ±1 and map to 1 … 255.
constexpr float kFeatureLevels = 127.0f;
constexpr int32_t kFeatureZero = 128;

// The range of a pixel or row of zeros; its scale and the scale's inverse are normal numbers.
constexpr float kSmallestRange = 1e-30f;

// 1.5 · 2²³: x + kRound rounds x to an integer, ties to even; the bits of the sum are kRoundBits
// plus that integer.
constexpr float kRound = 12582912.0f;
constexpr uint32_t kRoundBits = 0x4b400000u;

// x rounded to the nearest integer, in two's complement, for |x| < 2²².
static inline uint32_t rounded_bits(float x) {
    const float shifted = x + kRound;
    uint32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    return bits - kRoundBits;
}

}  // namespace digan_fast::DIGAN_FAST_ISA
