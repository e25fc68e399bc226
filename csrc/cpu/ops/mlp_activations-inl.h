#pragma once

// The activations of coordinate MLPs over arrays, with or without their derivatives.

#include "digan_fast/coord_mlp.h"
#include "simd/activations-inl.h"
#include "simd/sine-inl.h"
#include "simd/vec_bfloat16-inl.h"

namespace digan_fast::DIGAN_FAST_ISA {

inline float gauss(float z) { return exp_(-0.5f * (z * z)); }

// z, below zero times the slope; also for z = −infinity and the slope 0.
inline float below_zero(float z, float slope) {
    const float negative = slope == 0.0f ? 0.0f : z * slope;
    return z < 0.0f ? negative : z;
}

// y[i] = act(z[i]); n is a multiple of a vector's width, and y may be z.
static inline void activate_n(Activation activation, const float* z, float* y, int64_t n) {
    if (activation == Activation::sine) {
        for (int64_t i = 0; i < n; i += Vec::width) store(y + i, sine_anywhere(load(z + i)));
    } else if (activation == kGauss) {
#pragma omp simd
        for (int64_t i = 0; i < n; ++i) y[i] = gauss(z[i]);
    } else if (activation == Activation::tanh) {
#pragma omp simd
        for (int64_t i = 0; i < n; ++i) y[i] = tanh_(z[i]);
    } else if (activation == Activation::sigmoid) {
#pragma omp simd
        for (int64_t i = 0; i < n; ++i) y[i] = sigmoid(z[i]);
    } else {
        const float slope = slope_below_zero(activation);
#pragma omp simd
        for (int64_t i = 0; i < n; ++i) y[i] = below_zero(z[i], slope);
    }
}

// The same with d[i] = act'(z[i]); neither y nor d overlaps z.
static inline void activate_n(Activation activation, const float* z, float* y, float* d,
                              int64_t n) {
    if (activation == Activation::sine) {
        for (int64_t i = 0; i < n; i += Vec::width) {
            Vec sine, cosine;
            sine_and_cosine(load(z + i), &sine, &cosine);
            store(y + i, sine);
            store(d + i, cosine);
        }
    } else if (activation == kGauss) {
#pragma omp simd
        for (int64_t i = 0; i < n; ++i) {
            y[i] = gauss(z[i]);
            d[i] = -z[i] * y[i];
        }
    } else if (activation == Activation::tanh) {
#pragma omp simd
        for (int64_t i = 0; i < n; ++i) {
            y[i] = tanh_(z[i]);
            d[i] = slope<Activation::tanh>(z[i], 0.0f);
        }
    } else if (activation == Activation::sigmoid) {
#pragma omp simd
        for (int64_t i = 0; i < n; ++i) {
            y[i] = sigmoid(z[i]);
            d[i] = slope<Activation::sigmoid>(z[i], 0.0f);
        }
    } else {
        const float slope = slope_below_zero(activation);
#pragma omp simd
        for (int64_t i = 0; i < n; ++i) {
            y[i] = below_zero(z[i], slope);
            d[i] = z[i] <= 0.0f ? slope : 1.0f;
        }
    }
}

}  // namespace digan_fast::DIGAN_FAST_ISA
