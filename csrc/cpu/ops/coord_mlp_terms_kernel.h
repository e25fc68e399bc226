#pragma once

// The interface of ops/coord_mlp_terms_kernel.cpp, compiled for each instruction set, to
// ops/coord_mlp_backward.cpp, compiled once: products as terms together with the activation between
// two layers, or its gradient. While tiles compute a product, the sums of the one before become the
// operands of the next layer's products. With passes of their own over float32, forward and
// backward of five layers of 512 take a tenth longer.

#include <cstdint>

#include "digan_fast/coord_mlp.h"

namespace digan_fast {

// y = act(x · panels + bias) and slope = act'. As terms, points from `rows` to the next whole
// square are 0.
struct TermsActivation {
    const float* x;  // [rows, x_stride]; null: `packed` has the rows already
    int64_t x_stride;
    int64_t rows;
    float* packed;        // terms_size(rows, depth)
    const float* panels;  // terms_size(depth, columns)
    int64_t depth, columns;
    const float* bias;  // [columns]
    Activation activation;
    float* slope;  // [rows, stride], or null, as may be all forms of y
    float* y;      // [rows, stride]
    int64_t stride;
    float* y_rows;     // terms_size(rows, columns)
    float* y_columns;  // columns of a weight's gradient, terms_size(rows, columns)
};

// dz = (x · panels)∘slope, x being the gradient by the next layer's product; dbias += Σ_r dz[r],
// and dshift too.
struct TermsActivationGradient {
    const float* x;  // as TermsActivation has these
    int64_t x_stride;
    int64_t rows;
    float* packed;
    const float* panels;
    int64_t depth, columns;
    const float* slope;  // [rows, slope_stride], or null: 1
    int64_t slope_stride;
    float* dz;       // [rows, dz_stride]
    float* dz_rows;  // dz as rows, terms_size(rows, columns)
    int64_t dz_stride;
    float* dbias;   // [columns], or null
    float* dshift;  // [columns], or null
};

void terms_activation(const TermsActivation& params);
void terms_activation_gradient(const TermsActivationGradient& params);

}  // namespace digan_fast
