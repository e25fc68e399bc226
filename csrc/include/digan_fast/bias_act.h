#pragma once

#include <cstdint>

#include "digan_fast/cuda_info.h"

namespace digan_fast {

enum class Activation : int {
    linear,
    relu,
    lrelu,
    tanh,
    sigmoid,
    elu,
    selu,
    softplus,
    swish,
    sine
};

constexpr int kActivations = 10;

// How tensors are stored; arithmetic is always in float32. On a CPU float16 is what
// coordinate MLPs round to, not a tensor's type.
enum class Number : int { float32, bfloat16, float16 };

// y = clamp(act(x + b[c]) · gain, ±clamp) over contiguous [outer, channels, inner].
struct BiasActParams {
    void* out;          // [outer, channels, inner] of `number`; may be x itself
    const void* x;      // [outer, channels, inner] of `number`
    const float* bias;  // [channels], or null
    std::int64_t outer;
    std::int64_t channels;
    std::int64_t inner;
    Activation activation;
    Number number;
    float alpha;  // slope of lrelu below 0, scale of elu
    float gain;
    float clamp;  // infinity: none
    int threads;
};

void bias_act_cpu(const BiasActParams& params);
void bias_act_cuda(const BiasActParams& params, CudaStream stream);

// dx = grad · act'(x + b[c]) · gain where |y| < clamp, else 0; dbias[c] = Σ dx over outer, inner.
// linear, relu and lrelu derive act' from the sign of y, the others from x and bias.
struct BiasActBackwardParams {
    void* dx;           // [outer, channels, inner] of `number`
    float* dbias;       // [channels]
    float* partials;    // [bias_act_partials(…)]
    const void* grad;   // like dx; a single element if grad_expanded
    const void* x;      // like dx; not read for linear, relu, lrelu
    const float* bias;  // [channels], or null
    const void* out;    // y, like dx; not read for the others if clamp is infinite
    std::int64_t outer;
    std::int64_t channels;
    std::int64_t inner;
    Activation activation;
    Number number;
    bool grad_expanded;
    float alpha;
    float gain;
    float clamp;
    int threads;
};

// How sums of dx are divided into parts: depends only on the extents, and so does their order.
struct BiasActParts {
    std::int64_t rows;      // inner > 1: outer · channels; else outer
    std::int64_t per_task;  // rows per task
    std::int64_t split;     // pieces per row, of `length` elements (the last may be shorter)
    std::int64_t length;
};

// About 2¹⁴ elements per task: the least worth another thread (csrc/cpu/ops/bias_act_kernel.cpp).
static inline BiasActParts bias_act_parts(std::int64_t outer, std::int64_t channels,
                                          std::int64_t inner) {
    constexpr std::int64_t kTask = 1 << 14;
    const std::int64_t row = inner > 1 ? inner : channels;
    BiasActParts parts;
    parts.rows = inner > 1 ? outer * channels : outer;
    parts.per_task = row < kTask ? kTask / row : 1;
    parts.length = inner > 1 && inner > kTask ? kTask : row;
    parts.split = (row + parts.length - 1) / parts.length;
    return parts;
}

// Length of BiasActBackwardParams::partials, for extents of 1 or more.
static inline std::int64_t bias_act_partials(std::int64_t outer, std::int64_t channels,
                                             std::int64_t inner) {
    const BiasActParts parts = bias_act_parts(outer, channels, inner);
    if (inner > 1) return parts.rows * parts.split;
    return (parts.rows + parts.per_task - 1) / parts.per_task * channels;
}

void bias_act_backward_cpu(const BiasActBackwardParams& params);

// `partials` has bias_act_cuda_parts(…) · channels elements; grad is never expanded.
void bias_act_backward_cuda(const BiasActBackwardParams& params, CudaStream stream);

// Number of parts of a channel's sum, one thread block each.
static inline std::int64_t bias_act_cuda_parts(std::int64_t outer, std::int64_t inner) {
    constexpr std::int64_t kElements = 4096, kMost = 64;
    const std::int64_t parts = (outer * inner + kElements - 1) / kElements;
    return parts < 1 ? 1 : parts > kMost ? kMost : parts;
}

}  // namespace digan_fast
