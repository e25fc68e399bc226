#pragma once

#include <cstdint>

#include "digan_fast/bias_act.h"

namespace digan_fast {

// A convolution (as in torch, a correlation) of x [images, height, width, inputs] with a weight
// [outputs, inputs, 3, 3] and zeros around x, to [images, out_height, out_width, outputs].
struct Conv3x3Shape {
    std::int64_t images;
    std::int64_t inputs;
    std::int64_t outputs;
    std::int64_t height;
    std::int64_t width;
    std::int64_t stride;   // 1 or 2
    std::int64_t padding;  // 0 to 2
    float gain;            // of the weight

    std::int64_t out_height() const { return (height + 2 * padding - 3) / stride + 1; }
    std::int64_t out_width() const { return (width + 2 * padding - 3) / stride + 1; }
};

// Σ grad · conv(x, weight) is linear in each of grad, x and weight: each function computes its
// derivative by one of them, whose pointer is null, from the other two.
struct Conv3x3Params {
    Conv3x3Shape shape;
    void* result;  // the derivative by grad or x
    float* dweight;
    const void* x;
    const float* weight;
    const void* grad;  // of the output
    Number number;     // of x, grad and result
    int threads;
};

void conv3x3_cpu(const Conv3x3Params& params);
void conv3x3_input_gradient_cpu(const Conv3x3Params& params);
void conv3x3_weight_gradient_cpu(const Conv3x3Params& params);

}  // namespace digan_fast
