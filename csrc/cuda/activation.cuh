#pragma once

#include "digan_fast/bias_act.h"
#include "sincos.cuh"

namespace digan_fast::cuda {

constexpr float kSlope = 0.2f;  // of lrelu below 0

// A layer's epilogue: clamp(act(z)·gain, ±clamp), act being sine, or z above 0 and slope·z below:
// linear, relu, lrelu.
struct Epilogue {
    float above;  // gain
    float below;  // gain·slope
    float clamp;  // infinity: none
    bool sine;

    __device__ __forceinline__ float operator()(float z) const {
        float y;
        if (sine) {
            float cosine;
            sin_cos(z, y, cosine);
            y *= above;
        } else {
            y = z * (z > 0.0f ? above : below);
        }
        // NaN passes through.
        y = y > clamp ? clamp : y;
        return y < -clamp ? -clamp : y;
    }

    // act'(z)·gain.
    __device__ __forceinline__ float slope(float z) const {
        if (!sine) return z > 0.0f ? above : below;
        float unused, cosine;
        sin_cos(z, unused, cosine);
        return cosine * above;
    }
};

inline Epilogue epilogue_of(Activation activation, float gain, float clamp) {
    const float below = activation == Activation::relu    ? 0.0f
                        : activation == Activation::lrelu ? kSlope * gain
                                                          : gain;
    return {gain, below, clamp, activation == Activation::sine};
}

// Whether the gradient goes through an output, the clamp being rounded to its type. NaN lets it
// through where there is no clamp.
__device__ __forceinline__ bool passes_clamp(float output, float clamp) {
    return clamp == __uint_as_float(0x7F800000u) || fabsf(output) < clamp;
}

}  // namespace digan_fast::cuda
