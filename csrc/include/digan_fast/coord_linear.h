#pragma once

#include <cstdint>

#include "digan_fast/bias_act.h"

namespace digan_fast {

// out = clamp(act(W·[sin θ, cos θ] + up(base) + b) · gain, ±clamp), θ = F·(x, y) + φ, on a
// rectangle of a grid; activation: linear, relu or lrelu.
struct CoordLinearParams {
    float* out;              // [B, T, H, W, O]
    const float* base;       // [B, T, h, w, O] on the grid of half the side, or null
    const float* frequency;  // [B, K, 2]
    const float* phase;      // [B, T, K]
    const float* weight;     // [B, O, 2K]
    const float* bias;       // [O], or null
    std::int64_t videos, frames, sinusoids, outputs;
    std::int64_t side, top, left, height, width;
    Activation activation;
    float gain;
    float clamp;  // infinity: none
    int threads;
};

// Gradients from `grad` = dL/dout.
struct CoordLinearBackwardParams {
    CoordLinearParams forward;  // `out` as computed
    const float* grad;          // [B, T, H, W, O]
    float* dbase;               // the shape of base, or null
    float* dfrequency;          // [B, K, 2]
    float* dphase;              // [B, T, K]
    float* dweight;             // [B, O, 2K]
    float* dbias;               // [O]
};

void coord_linear_cpu(const CoordLinearParams& params);
void coord_linear_backward_cpu(const CoordLinearBackwardParams& params);

}  // namespace digan_fast
