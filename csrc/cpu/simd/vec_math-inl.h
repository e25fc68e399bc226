#pragma once

// Elementary functions for loops that the compiler vectorises: no branches, calls or standard
// library templates. Only correctly rounded operations and no contraction to fma, so every
// instruction set and every position in a vector gives the same bits. NaN in, NaN out.

#include <math.h>
#include <stdint.h>
#include <string.h>

namespace digan_fast::DIGAN_FAST_ISA {

// x = n·ln 2 + r, |r| ≤ ln 2 / 2.
struct ExpParts {
    float scale;  // 2ⁿ; 0 for n = −127, infinity for n = 128
    float tail;   // e^r − 1
};

static inline ExpParts exp_parts(float x) {
    x = x < -88.0f ? -88.0f : x;
    x = x > 88.7f ? 88.7f : x;
    const float shifted = x * 1.44269504f + 12582912.0f;  // 1.5 · 2²³: the low bits hold n
    const float n = shifted - 12582912.0f;
    const float r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
    uint32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    bits = (bits + 127u) << 23;
    ExpParts parts;
    memcpy(&parts.scale, &bits, sizeof bits);
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    parts.tail = p * (r * r) + r;
    return parts;
}

static inline float exp_(float x) {
    const ExpParts parts = exp_parts(x);
    return parts.scale * (1.0f + parts.tail);
}

// For x ≤ 0: e^x − 1, without cancellation near 0.
static inline float expm1_negative(float x) {
    const ExpParts parts = exp_parts(x);
    return parts.scale * parts.tail + (parts.scale - 1.0f);
}

// For 0 ≤ x ≤ 1: ln(1 + x) = 2 artanh(s), s = x / (2 + x) ≤ 1/3; the ninth term is below 1e-9.
static inline float log1p_unit(float x) {
    const float s = x / (2.0f + x);
    const float s2 = s * s;
    float p = 1.0f / 15.0f;
    p = p * s2 + 1.0f / 13.0f;
    p = p * s2 + 1.0f / 11.0f;
    p = p * s2 + 1.0f / 9.0f;
    p = p * s2 + 1.0f / 7.0f;
    p = p * s2 + 1.0f / 5.0f;
    p = p * s2 + 1.0f / 3.0f;
    return 2.0f * (s + s * (s2 * p));
}

static inline float tanh_(float x) {
    const float e = expm1_negative(-2.0f * fabsf(x));
    return copysignf(e / (2.0f + e), x);
}

static inline float sigmoid(float x) { return 1.0f / (1.0f + exp_(-x)); }

static inline float softplus(float x) {
    return (x > 0.0f ? x : 0.0f) + log1p_unit(exp_(-fabsf(x)));
}

}  // namespace digan_fast::DIGAN_FAST_ISA
