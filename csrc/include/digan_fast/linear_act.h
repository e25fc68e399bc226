#pragma once

#include <cstdint>

#include "digan_fast/bias_act.h"

namespace digan_fast {

// y = clamp(act(x·Wᵀ + b) · gain, ±clamp), one W for each video; activation: linear, relu, lrelu
// or sine.
struct LinearActParams {
    float* out;           // [B, M, O]
    const float* x;       // [B, M, I]
    const float* weight;  // [B, O, I]
    const float* bias;    // [O] or [B, O], or null
    bool own_biases;      // [B, O]
    std::int64_t videos, rows, inputs, outputs;
    Activation activation;
    float gain;
    float clamp;  // infinity: none
    int threads;
};

// Gradients from `grad` = dL/dout.
struct LinearActBackwardParams {
    LinearActParams forward;  // `out` as computed
    const float* grad;        // [B, M, O]
    float* dx;                // [B, M, I]
    float* dweight;           // [B, O, I]
    float* dbias;             // the shape of bias
};

void linear_act_cpu(const LinearActParams& params);
void linear_act_backward_cpu(const LinearActBackwardParams& params);

}  // namespace digan_fast
