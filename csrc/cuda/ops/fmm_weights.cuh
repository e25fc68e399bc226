#pragma once

#include "digan_fast/fmm_weights.h"
#include "ops/pointwise.cuh"

namespace digan_fast::cuda {

constexpr int kFmmThreads = 128;
constexpr float kFmmEpsilon = 1e-8f;

// The sum of all threads' values, returned to each, in a fixed order. `scratch` holds one value a
// thread.
__device__ __forceinline__ float block_sum(float value, float* scratch) {
    __syncthreads();
    scratch[threadIdx.x] = value;
    __syncthreads();
    for (int half = kFmmThreads / 2; half > 0; half /= 2) {
        if (static_cast<int>(threadIdx.x) < half)
            scratch[threadIdx.x] += scratch[threadIdx.x + half];
        __syncthreads();
    }
    return scratch[0];
}

// Σ_r left[r]·right[r, i]·scale.
template <class Params>
__device__ __forceinline__ float product_at(const Params& p, const float* left, const float* right,
                                            std::int64_t i) {
    float total = 0.0f;
    for (std::int64_t r = 0; r < p.rank; ++r) total = fmaf(left[r], right[r * p.inputs + i], total);
    return total * p.scale;
}

// m(M), and m'(M) in `slope`.
__device__ __forceinline__ float modulated(float product, Modulation modulation, float& slope) {
    slope = 1.0f;
    if (modulation == Modulation::tanh) {
        const float t = tanhf(product);
        slope = 1.0f - t * t;
        return t;
    }
    if (modulation == Modulation::sigmoid) {
        slope = sigmoid(product) * sigmoid(-product);
        return sigmoid(product) - 0.5f;
    }
    return product;
}

// A block makes one row of one video; shared memory holds it, [inputs], and [kFmmThreads].
__global__ void __launch_bounds__(kFmmThreads)
    fmm_weights_kernel(const __grid_constant__ FmmWeightsParams p) {
    DIGAN_FAST_DYNAMIC_SHARED(smem);
    float* row = reinterpret_cast<float*>(smem);
    float* scratch = row + p.inputs;
    const std::int64_t video = blockIdx.x / p.outputs, output = blockIdx.x % p.outputs;
    const float* left = p.left + (video * p.outputs + output) * p.rank;
    const float* right = p.right + video * p.rank * p.inputs;
    float squares = 0.0f;
    for (std::int64_t i = threadIdx.x; i < p.inputs; i += kFmmThreads) {
        float slope;
        const float factor = modulated(product_at(p, left, right, i), p.modulation, slope) + 1.0f;
        row[i] = p.weight[output * p.inputs + i] * factor;
        squares = fmaf(row[i], row[i], squares);
    }
    float norm = 1.0f;
    if (p.modulation == Modulation::demod) norm = sqrtf(block_sum(squares, scratch)) + kFmmEpsilon;
    float* out = p.out + (video * p.outputs + output) * p.inputs;
    for (std::int64_t i = threadIdx.x; i < p.inputs; i += kFmmThreads) out[i] = row[i] / norm;
}

// A block makes one row of dweight and dleft, and of dM, [batch, outputs, inputs], which dright is
// made of; videos in their order. With V = W∘(m(M) + 1), n = ‖V‖, demod:
// dV = (dW − V·⟨dW, V⟩/(n·(n + ε)))/(n + ε).
__global__ void __launch_bounds__(kFmmThreads)
    fmm_weights_rows_kernel(const __grid_constant__ FmmWeightsBackwardParams p) {
    DIGAN_FAST_DYNAMIC_SHARED(smem);
    float* dweight = reinterpret_cast<float*>(smem);  // [inputs]
    float* scratch = dweight + p.inputs;
    const std::int64_t output = blockIdx.x;
    const float* weight = p.weight + output * p.inputs;
    for (std::int64_t i = threadIdx.x; i < p.inputs; i += kFmmThreads) dweight[i] = 0.0f;
    for (std::int64_t video = 0; video < p.batch; ++video) {
        const std::int64_t at = video * p.outputs + output;
        const float* left = p.left + at * p.rank;
        const float* right = p.right + video * p.rank * p.inputs;
        const float* grad = p.grad + at * p.inputs;
        float* dproduct = p.partials + at * p.inputs;
        float squares = 0.0f, along = 0.0f, slope;
        if (p.modulation == Modulation::demod) {
            for (std::int64_t i = threadIdx.x; i < p.inputs; i += kFmmThreads) {
                const float v = weight[i] * (product_at(p, left, right, i) + 1.0f);
                squares = fmaf(v, v, squares);
                along = fmaf(grad[i], v, along);
            }
            squares = block_sum(squares, scratch);
            along = block_sum(along, scratch);
        }
        const float norm = sqrtf(squares);
        const bool demod = p.modulation == Modulation::demod;
        const float size = demod ? norm + kFmmEpsilon : 1.0f;
        const float share = demod ? along / ((norm > 0.0f ? norm : 1.0f) * size) : 0.0f;
        for (std::int64_t i = threadIdx.x; i < p.inputs; i += kFmmThreads) {
            const float factor =
                modulated(product_at(p, left, right, i), p.modulation, slope) + 1.0f;
            const float dv = (grad[i] - weight[i] * factor * share) / size;
            dweight[i] = fmaf(dv, factor, dweight[i]);
            dproduct[i] = dv * weight[i] * slope * p.scale;
        }
        for (std::int64_t r = 0; r < p.rank; ++r) {
            float total = 0.0f;
            for (std::int64_t i = threadIdx.x; i < p.inputs; i += kFmmThreads)
                total = fmaf(dproduct[i], right[r * p.inputs + i], total);
            total = block_sum(total, scratch);
            if (threadIdx.x == 0) p.dleft[at * p.rank + r] = total;
        }
    }
    for (std::int64_t i = threadIdx.x; i < p.inputs; i += kFmmThreads)
        p.dweight[output * p.inputs + i] = dweight[i];
}

// dright[b, r, i] = Σ_o left[b, o, r]·dM[b, o, i]; a thread makes one number.
__global__ void __launch_bounds__(kFmmThreads)
    fmm_weights_right_kernel(const __grid_constant__ FmmWeightsBackwardParams p) {
    const std::int64_t at = static_cast<std::int64_t>(blockIdx.x) * kFmmThreads + threadIdx.x;
    if (at >= p.batch * p.rank * p.inputs) return;
    const std::int64_t i = at % p.inputs, r = at / p.inputs % p.rank;
    const std::int64_t video = at / p.inputs / p.rank;
    float total = 0.0f;
    for (std::int64_t o = video * p.outputs; o < (video + 1) * p.outputs; ++o)
        total = fmaf(p.left[o * p.rank + r], p.partials[o * p.inputs + i], total);
    p.dright[at] = total;
}

}  // namespace digan_fast::cuda
