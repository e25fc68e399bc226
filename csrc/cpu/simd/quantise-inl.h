#pragma once

// The numbers of int8, and those of digan_fast/reference/render_int8.py: weights w ≈ s·q with q in
// ±127, activations x ≈ s·(q − z) with q and z in 0 … 255.
//
// What is rounded to an integer is rounded the same by every instruction set: products and sums
// are rounded each.

#include <stdint.h>
#include <string.h>

namespace digan_fast::DIGAN_FAST_ISA {

constexpr float kWeightLevels = 127.0f;

// Of 255 levels a little is left out: with min·l = −z ± 0.5, max·l + z stays below 255.5.
constexpr float kActivationLevels = 254.99f;

// Features are within ±1 and take 1 … 255.
constexpr float kFeatureLevels = 127.0f;
constexpr int32_t kFeatureZero = 128;

// Of a pixel or a row of zeros; its scale and the inverse of it are normal numbers.
constexpr float kSmallestRange = 1e-30f;

// 1.5 · 2²³: x + kRound is rounded to an integer, ties to even, that its representation holds from
// kRoundBits on.
constexpr float kRound = 12582912.0f;
constexpr uint32_t kRoundBits = 0x4b400000u;

// To the nearest integer, in two's complement, for |x| < 2²².
static inline uint32_t rounded_bits(float x) {
    const float shifted = x + kRound;
    uint32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    return bits - kRoundBits;
}

}  // namespace digan_fast::DIGAN_FAST_ISA
