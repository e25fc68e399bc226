#pragma once

#include <cstdint>

#include "digan_fast/bias_act.h"

namespace digan_fast {

// y = clamp(act(x·Wᵀ + b) · gain, ±clamp), one W for each video; activation: linear, relu, lrelu
// or sine. Sums are in float32.
struct LinearActParams {
    void* out;           // [B, M, O]
    const void* x;       // [B, M, I]
    const void* weight;  // [B, O, I]
    const float* bias;   // [O] or [B, O], or null
    bool own_biases;     // [B, O]
    std::int64_t videos, rows, inputs, outputs;
    Activation activation;
    Number number;    // of out and weight
    Number x_number;  // of x: number, or bfloat16 where linear_act_takes it
    float gain;
    float clamp;  // infinity: none
    int threads;
};

// Gradients from `grad` = dL/dout.
struct LinearActBackwardParams {
    LinearActParams forward;  // `out` as computed
    const void* grad;         // [B, M, O] of `number`
    void* dx;                 // [B, M, I] of `x_number`
    float* dweight;           // [B, O, I]
    float* dbias;             // the shape of bias
};

// Whether the types of x and of the other tensors go together.
bool linear_act_takes(const LinearActParams& params);

void linear_act_cpu(const LinearActParams& params);
void linear_act_backward_cpu(const LinearActBackwardParams& params);

// The same for tensors of type `number` on a CUDA device.
struct LinearActCudaParams {
    void* out;           // [B, M, O]
    const void* x;       // [B, M, I], or [M, I]
    const void* weight;  // [B, O, I]
    const float* bias;   // [O] or [B, O], or null
    bool shared_x;       // [M, I]
    bool own_biases;     // [B, O]
    std::int64_t videos, rows, inputs, outputs;
    Activation activation;
    Number number;
    bool tf32;  // float32 operands keep 10 mantissa bits
    float gain;
    float clamp;  // infinity: none
};

struct LinearActCudaBackwardParams {
    LinearActCudaParams forward;  // `out` as computed
    const void* grad;             // [B, M, O]
    void* dz;         // scratch shaped like grad; null: the gradient by z is `grad` itself, as for
                      // linear without gain and clamp
    void* dx;         // [B, M, I], even if x is shared
    void* dweight;    // [B, O, I]
    float* dbias;     // [B, O] with own_biases, else [O]
    float* partials;  // [linear_act_cuda_partials(forward)]
};

void linear_act_cuda(const LinearActCudaParams& params, CudaStream stream);
void linear_act_backward_cuda(const LinearActCudaBackwardParams& params, CudaStream stream);
std::int64_t linear_act_cuda_partials(const LinearActCudaParams& params);

}  // namespace digan_fast
