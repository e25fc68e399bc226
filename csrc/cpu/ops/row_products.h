#pragma once

// Products of matrices in rows, for drivers that are compiled once: as they are, or float32 as
// terms, on AMX.

#include <algorithm>
#include <cmath>

#include "gemm/pack_weights_kernel.h"
#include "gemm/pixel_rows_kernel.h"
#include "gemm/terms_rows_kernel.h"

namespace digan_fast {

// Filled up to whole squares, a matrix of float32 as terms takes 6/16 of the time.
inline bool as_terms(int64_t outputs, int64_t inputs) {
    return traits_of(Precision::bfloat16).terms &&
           whole_squares(outputs) * whole_squares(inputs) <= 2 * outputs * inputs;
}

// out[r] = bias + x[r] · panels for `rows` rows; as terms it writes whole squares' columns.
struct RowProduct {
    RowFactors factors;
    float* out;
    int64_t out_stride;
    const float* bias;  // [columns], or null
};

inline void row_product(const RowProduct& product) {
    const RowFactors& p = product.factors;
    if (p.terms) {
        return terms_row_gemm({.out = product.out,
                               .out_stride = product.out_stride,
                               .x = static_cast<const float*>(p.x),
                               .x_stride = p.x_stride,
                               .rows = p.rows,
                               .packed = p.packed,
                               .panels = p.panels,
                               .depth = p.depth,
                               .columns = p.columns,
                               .bias = product.bias});
    }
    void* out[kStripRows];
    const int64_t parts = (p.rows + kStripRows - 1) / kStripRows;
    for (int64_t part = 0; part < parts; ++part) {
        const int64_t first = part * p.rows / parts, rows = (part + 1) * p.rows / parts - first;
        for (int64_t r = 0; r < rows; ++r) out[r] = product.out + (first + r) * product.out_stride;
        pixel_row_gemm({
            .out = out,
            .out_number = Number::float32,
            .x = element_at(p.x, p.number, first * p.x_stride),
            .number = p.number,
            .x_stride = p.x_stride,
            .rows = rows,
            .packed = p.packed,
            .panels = p.panels,
            .depth = p.depth,
            .columns = p.columns,
            .start = {.bias = product.bias, .scale = 1.0f},
            .scale = 1.0f,
            .activation = {.activation = Activation::linear, .gain = 1.0f, .clamp = INFINITY},
            .non_temporal = false,
        });
    }
}

// into[n][i] += Σ_r dz[r][n] · x[r][i], [outputs, inputs], or as terms in squares.
struct GradientProduct {
    bool terms, in_squares;
    float* into;
    const void* dz;
    int64_t dz_stride;
    const void* x;  // as terms it may be null: packed_x
    int64_t x_stride;
    const float* packed_x;  // as TermsWeightGradient has it
    Number number;          // of dz and x
    int64_t rows;
    int64_t outputs, inputs;
    float* tail;       // 32 · rows elements, or terms_size(rows, 32)
    float* packed_dz;  // of bfloat16 rows · dz_stride elements, or terms_size(rows, outputs)
};

inline void gradient_product(const GradientProduct& p) {
    if (p.terms) {
        return terms_weight_gradient({.into = p.into,
                                      .in_squares = p.in_squares,
                                      .dz = static_cast<const float*>(p.dz),
                                      .dz_stride = p.dz_stride,
                                      .x = static_cast<const float*>(p.x),
                                      .x_stride = p.x_stride,
                                      .packed_x = p.packed_x,
                                      .rows = p.rows,
                                      .outputs = p.outputs,
                                      .inputs = p.inputs,
                                      .tail = p.tail,
                                      .packed_dz = p.packed_dz});
    }
    weight_gradient({.into = p.into,
                     .dz = p.dz,
                     .dz_stride = p.dz_stride,
                     .x = p.x,
                     .x_stride = p.x_stride,
                     .number = p.number,
                     .rows = p.rows,
                     .outputs = p.outputs,
                     .inputs = p.inputs,
                     .tail = p.tail,
                     .packed_dz = p.packed_dz,
                     .next = {}});
}

}  // namespace digan_fast
