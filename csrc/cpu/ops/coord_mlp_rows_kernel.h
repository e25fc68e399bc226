#pragma once

// The interface of ops/coord_mlp_rows_kernel.cpp, compiled for each instruction set, to
// ops/coord_mlp_backward.cpp, compiled once: what is done to each number of a strip whose rows are
// points, between products.

#include <cstdint>

#include "digan_fast/bias_act.h"

namespace digan_fast {

// u = scale∘x + shift, columns of a product's operand.
struct MlpRowOperand {
    void* u;             // [rows, u_stride]
    Number number;       // to which u is rounded; float16 is stored as float32
    const float* x;      // [rows, x_stride]
    const float* scale;  // [columns], or null
    const float* shift;  // [columns], or null
    int64_t rows, columns, u_stride, x_stride;
};

// The gradient by that x: dx = scale∘du, or dx += scale∘du; dscale += Σ du∘x, dshift += Σ du.
struct MlpRowOperandGradient {
    const float* du;  // [rows, du_stride]
    float* dx;        // [rows, dx_stride]; may be du; null: not wanted
    bool adds;
    const float* x;      // [rows, x_stride]; read for dscale
    const float* scale;  // [columns], or null
    float* dscale;       // [columns], or null
    float* dshift;       // [columns], or null
    int64_t rows, columns, du_stride, dx_stride, x_stride;
};

// dv = dy∘slope, dz = scale∘dv; dscale += Σ dv∘z, dshift += Σ dv, dbias += Σ dz.
struct MlpRowActivationGradient {
    void* dz;            // [rows, dz_stride]; null: only the sums are wanted, dz being dy
    Number number;       // to which dz is rounded; float16 is stored as float32
    const float* dy;     // [rows, dy_stride]
    const float* slope;  // [rows, stride], or null: 1
    bool selects;        // slope is 0 or 1, and dv 0 where it is 0, for any dy
    const float* z;      // [rows, stride]; read for dscale
    const float* scale;  // [columns], or null
    float* dscale;       // [columns], or null
    float* dshift;       // [columns], or null
    float* dbias;        // [columns], or null
    int64_t rows, columns, dz_stride, dy_stride, stride;
};

// to = from·scale, rounded.
struct MlpRounding {
    void* to;
    Number number;  // bfloat16, or float16, stored as float32
    const float* from;
    float scale;
    int64_t count;
};

void mlp_row_operand(const MlpRowOperand& params);
void mlp_row_operand_gradient(const MlpRowOperandGradient& params);
void mlp_row_activation_gradient(const MlpRowActivationGradient& params);
void mlp_rounding(const MlpRounding& params);

}  // namespace digan_fast
