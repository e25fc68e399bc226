#pragma once

#include <cstdint>

#include "digan_fast/bias_act.h"

namespace digan_fast {

// out = clamp(act(W·[sin θ, cos θ] + up(base) + b) · gain, ±clamp), θ = F·(x, y) + φ, on a
// rectangle of a grid; activation: linear, relu or lrelu.
struct CoordLinearParams {
    void* out;               // [B, T, H, W, O]
    const void* base;        // [B, T, h, w, O] on the grid of half the side, or null
    const float* frequency;  // [B, K, 2]
    const float* phase;      // [B, T, K]
    const void* weight;      // [B, O, 2K]
    const float* bias;       // [O], or null
    std::int64_t videos, frames, sinusoids, outputs;
    std::int64_t side, top, left, height, width;
    Activation activation;
    Number number;  // of out, base and weight; sums are in float32
    float gain;
    float clamp;  // infinity: none
    int threads;
};

// Gradients from `grad` = dL/dout.
struct CoordLinearBackwardParams {
    CoordLinearParams forward;  // `out` as computed
    const void* grad;           // [B, T, H, W, O] of `number`
    void* dbase;                // the shape of base, of `number`; or null
    float* dfrequency;          // [B, K, 2]
    float* dphase;              // [B, T, K]
    float* dweight;             // [B, O, 2K]
    float* dbias;               // [O]
};

void coord_linear_cpu(const CoordLinearParams& params);
void coord_linear_backward_cpu(const CoordLinearBackwardParams& params);

// The same for tensors of type `number` on a CUDA device.
struct CoordLinearCudaParams {
    void* out;               // [B, T, H, W, O]
    const void* base;        // [B, T, h, w, O], or null
    const float* frequency;  // [B, K, 2]
    const float* phase;      // [B, T, K]
    const void* weight;      // [B, O, 2K]
    const float* bias;       // [O], or null
    std::int64_t videos, frames, sinusoids, outputs;
    std::int64_t side, top, left, height, width, base_height, base_width;
    Activation activation;
    Number number;
    bool tf32;  // float32 operands keep 10 mantissa bits
    float gain;
    float clamp;  // infinity: none
};

struct CoordLinearCudaBackwardParams {
    CoordLinearCudaParams forward;  // `out` as computed
    const void* grad;               // [B, T, H, W, O]
    void* dz;         // scratch shaped like grad; null: the gradient by z is `grad` itself
    void* dbase;      // the shape of base, or null
    void* dweight;    // [B, O, 2K]
    float* dtheta;    // [B, T, 3, K]: Σ dθ over pixels, which is dφ, Σ dθ·x, Σ dθ·y
    float* dvideo;    // [B, 3, K]: dtheta summed over frames; the last two are dF
    float* dbias;     // [O]
    float* partials;  // [coord_linear_cuda_partials(forward)]
};

void coord_linear_cuda(const CoordLinearCudaParams& params, CudaStream stream);
void coord_linear_backward_cuda(const CoordLinearCudaBackwardParams& params, CudaStream stream);
std::int64_t coord_linear_cuda_partials(const CoordLinearCudaParams& params);

}  // namespace digan_fast
