#pragma once

#include "sincos.cuh"

namespace digan_fast::cuda {

// clamp(act(z)·gain, ±clamp), act being sine, or z above 0 and slope·z below: linear, relu, lrelu.
struct Finish {
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
        // A NaN stays one.
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

}  // namespace digan_fast::cuda
