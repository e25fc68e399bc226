#pragma once

#include <cstdint>

#include "digan_fast/cuda_info.h"

namespace digan_fast {

enum class Modulation : int { linear, demod, tanh, sigmoid };

constexpr int kModulations = 4;

// out[b] = V = W ∘ (m(L[b]·R[b] · scale) + 1); demod divides each row by its 2-norm + 1e-8.
// m is tanh, sigmoid − 1/2, or the identity.
struct FmmWeightsParams {
    float* out;           // [batch, outputs, inputs]
    const float* weight;  // [outputs, inputs]
    const float* left;    // [batch, outputs, rank]
    const float* right;   // [batch, rank, inputs]
    std::int64_t batch;
    std::int64_t outputs;
    std::int64_t inputs;
    std::int64_t rank;
    Modulation modulation;
    float scale;
    int threads;
};

void fmm_weights_cpu(const FmmWeightsParams& params);

// The most inputs of a layer on a CUDA device, where a row of weights is kept in shared memory.
constexpr std::int64_t kFmmWeightsCudaInputs = 4096;

void fmm_weights_cuda(const FmmWeightsParams& params, CudaStream stream);

struct FmmWeightsBackwardParams {
    float* dweight;     // [outputs, inputs]
    float* dleft;       // [batch, outputs, rank]
    float* dright;      // [batch, rank, inputs]
    float* partials;    // [fmm_weights_parts(outputs), batch, rank, inputs]
    const float* grad;  // [batch, outputs, inputs]; a single element if grad_expanded
    const float* weight;
    const float* left;
    const float* right;
    std::int64_t batch;
    std::int64_t outputs;
    std::int64_t inputs;
    std::int64_t rank;
    Modulation modulation;
    bool grad_expanded;
    float scale;
    int threads;
};

// Number of runs of outputs whose contributions to dright are summed separately, so that the order
// depends only on the extents: at most 16, of 32 or more outputs.
static inline std::int64_t fmm_weights_parts(std::int64_t outputs) {
    const std::int64_t parts = outputs / 32;
    return parts < 1 ? 1 : parts > 16 ? 16 : parts;
}

void fmm_weights_backward_cpu(const FmmWeightsBackwardParams& params);

// `partials` has batch · outputs · inputs elements; grad is never expanded.
void fmm_weights_backward_cuda(const FmmWeightsBackwardParams& params, CudaStream stream);

}  // namespace digan_fast
