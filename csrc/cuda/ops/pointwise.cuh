#pragma once

// Every activation and its derivative, in float32.

#include "digan_fast/bias_act.h"
#include "sincos.cuh"

namespace digan_fast::cuda {

constexpr float kSeluScale = 1.0507009873554805f;
constexpr float kSeluAlpha = 1.6732632423543772f;

__device__ __forceinline__ float sigmoid(float z) { return 1.0f / (1.0f + expf(-z)); }

// act(z); alpha is the slope of lrelu below 0.
__device__ __forceinline__ float activated(float z, Activation activation, float alpha) {
    float sine, cosine;
    switch (activation) {
        case Activation::relu:
            return z > 0.0f ? z : z * 0.0f;
        case Activation::lrelu:
            return z > 0.0f ? z : z * alpha;
        case Activation::tanh:
            return tanhf(z);
        case Activation::sigmoid:
            return sigmoid(z);
        case Activation::elu:
            return z > 0.0f ? z : expm1f(z);
        case Activation::selu:
            return kSeluScale * (z > 0.0f ? z : kSeluAlpha * expm1f(z));
        // Above 20 torch returns z.
        case Activation::softplus:
            return z > 20.0f ? z : log1pf(expf(z));
        case Activation::swish:
            return z * sigmoid(z);
        case Activation::sine:
            sin_cos(z, sine, cosine);
            return sine;
        default:
            return z;
    }
}

// act'(z); of linear, relu and lrelu z may be the output.
__device__ __forceinline__ float derivative(float z, Activation activation, float alpha) {
    float sine, cosine;
    switch (activation) {
        case Activation::relu:
            return z > 0.0f ? 1.0f : 0.0f;
        case Activation::lrelu:
            return z > 0.0f ? 1.0f : alpha;
        case Activation::tanh:
            return 1.0f - tanhf(z) * tanhf(z);
        case Activation::sigmoid:
            return sigmoid(z) * sigmoid(-z);
        case Activation::elu:
            return z > 0.0f ? 1.0f : expf(z);
        case Activation::selu:
            return kSeluScale * (z > 0.0f ? 1.0f : kSeluAlpha * expf(z));
        case Activation::softplus:
            return sigmoid(z);
        case Activation::swish:
            return sigmoid(z) * (1.0f + z * sigmoid(-z));
        case Activation::sine:
            sin_cos(z, sine, cosine);
            return cosine;
        default:
            return 1.0f;
    }
}

__device__ __forceinline__ float clamped(float y, float clamp) {
    y = y > clamp ? clamp : y;
    return y < -clamp ? -clamp : y;
}

}  // namespace digan_fast::cuda
