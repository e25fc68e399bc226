#pragma once

// The interface of ops/coord_mlp_products_kernel.cpp, compiled for each instruction set, to
// ops/coord_mlp_backward.cpp, compiled once: products together with the activation between two
// layers, or its gradient, which are applied to sums that have not left for memory. As terms, they
// become the operands of the next layer's products while tiles compute the next sums.

#include <cstdint>

#include "digan_fast/coord_mlp.h"
#include "gemm/pixel_rows_kernel.h"

namespace digan_fast {

// y = act(v) and slope = act'(v), where v = scale∘z + shift and z = x · panels + bias. Rows of z,
// y, slope and dz are padded; they are written up to the end of a tile. In matrices as terms, rows
// from `rows` to the next whole square are 0.
struct MlpActivation {
    RowFactors factors;
    const float* bias;   // [columns]
    const float* scale;  // [columns], or null: v = z
    const float* shift;  // [columns], or null
    Activation activation;
    float* z;      // [rows, stride], or null, as may be slope and all forms of y
    float* slope;  // [rows, stride]
    float* y;      // [rows, stride]
    int64_t stride;
    float* y_rows;     // as terms, those of a product, terms_size(rows, columns)
    float* y_columns;  // as terms, those of a weight's gradient, terms_size(rows, columns)
};

// dv = (x · panels)∘slope, x being dz of the next layer, and dz = scale∘dv; dscale += Σ_r
// (dv∘z)[r], dshift += Σ_r dv[r], dbias += Σ_r dz[r].
struct MlpActivationGradient {
    RowFactors factors;
    const float* slope;  // [rows, stride]; null: act' is 1
    bool selects;        // slope is 0 or 1, and dv 0 where it is 0, for any x · panels
    const float* z;      // [rows, stride]; read for dscale
    int64_t stride;
    const float* scale;  // [columns], or null
    void* dz;            // [rows, dz_stride]
    Number dz_number;
    int64_t dz_stride;
    float* dz_rows;  // as terms, those of a product, terms_size(rows, columns), or null
    float* dscale;   // [columns], or null, as may be the next two
    float* dshift;   // [columns]
    float* dbias;    // [columns]
};

void mlp_activation(const MlpActivation& params);
void mlp_activation_gradient(const MlpActivationGradient& params);

}  // namespace digan_fast
