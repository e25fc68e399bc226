#pragma once

// The interface of ops/coord_mlp_products_kernel.cpp, compiled for each instruction set, to
// ops/coord_mlp_backward.cpp, compiled once: products together with the activation between two
// layers, or its gradient, which are applied to sums that have not left for memory. As terms, they
// become the operands of the next layer's products while tiles compute the next sums.

#include <cstdint>

#include "digan_fast/coord_mlp.h"
#include "gemm/pixel_rows_kernel.h"

namespace digan_fast {

// y = act(x · panels + bias) and slope = act'. Rows of y, slope and dz are padded; they are written
// up to the end of a tile. In matrices as terms, rows from `rows` to the next whole square are 0.
struct MlpActivation {
    RowFactors factors;
    const float* bias;  // [columns]
    Activation activation;
    float* slope;  // [rows, stride], or null, as may be all forms of y
    float* y;      // [rows, stride]
    int64_t stride;
    float* y_rows;     // as terms, those of a product, terms_size(rows, columns)
    float* y_columns;  // as terms, those of a weight's gradient, terms_size(rows, columns)
};

// dz = (x · panels)∘slope, x being dz of the next layer; dbias += Σ_r dz[r], and dshift too.
struct MlpActivationGradient {
    RowFactors factors;
    const float* slope;  // [rows, slope_stride]; null: act' is 1
    int64_t slope_stride;
    void* dz;  // [rows, dz_stride]
    Number dz_number;
    int64_t dz_stride;
    float* dz_rows;  // as terms, those of a product, terms_size(rows, columns), or null
    float* dbias;    // [columns], or null
    float* dshift;   // [columns], or null
};

void mlp_activation(const MlpActivation& params);
void mlp_activation_gradient(const MlpActivationGradient& params);

}  // namespace digan_fast
