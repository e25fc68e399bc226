#pragma once

// The interface of gemm/terms_rows_kernel.cpp to drivers that are compiled once: products of
// float32 matrices as terms (simd/terms-inl.h), where LayerTraits::terms says that there are such.

#include <cstdint>

#include "simd/terms.h"

namespace digan_fast {

// Matrices as terms are filled up to whole squares of this side.
constexpr int64_t kTermsSide = 32;

constexpr int64_t whole_squares(int64_t count) {
    return (count + kTermsSide - 1) / kTermsSide * kTermsSide;
}

// Elements of 32 bits of a matrix as terms.
constexpr int64_t terms_size(int64_t rows, int64_t columns) {
    return whole_squares(rows) * whole_squares(columns) / 2 * kTerms;
}

// Elements of 32 bits of a row in such a matrix.
constexpr int64_t terms_depth(int64_t columns) { return whole_squares(columns) / 2 * kTerms; }

// A matrix [depth, columns] in panels of columns: element (k, n) is
// weight[k · depth_stride + n · column_stride] · scale.
struct TermsPanelPacking {
    float* panels;  // terms_size(depth, columns)
    const float* weight;
    int64_t depth, columns;
    int64_t depth_stride, column_stride;  // one of them is 1
    float scale;
};

// out[r] = bias + x[r] · panels for `rows` rows; writes whole squares' columns.
struct TermsRowGemm {
    float* out;
    int64_t out_stride;
    const float* x;  // null: `packed` has the rows already
    int64_t x_stride;
    int64_t rows;
    float* packed;  // terms_size(rows, depth)
    const float* panels;
    int64_t depth, columns;
    const float* bias;  // [columns], or null
};

// The place of element (n, i) of a matrix [outputs, inputs] in squares [32][32], column after
// column, as a product makes them: a square's lines follow one another in memory.
constexpr int64_t terms_element(int64_t n, int64_t i, int64_t outputs) {
    return i / kTermsSide * kTermsSide * whole_squares(outputs) + n * kTermsSide + i % kTermsSide;
}

// into[n][i] += Σ_r dz[r][n] · x[r][i]: a weight's gradient, [outputs, inputs], or in squares.
struct TermsWeightGradient {
    float* into;
    bool in_squares;
    const float* dz;
    int64_t dz_stride;
    const float* x;  // null: packed_x
    int64_t x_stride;
    const float* packed_x;  // x as columns, terms_size(rows, inputs)
    int64_t rows;
    int64_t outputs, inputs;
    float* tail;       // terms_size(rows, 32)
    float* packed_dz;  // terms_size(rows, outputs)
};

void pack_terms_panels(const TermsPanelPacking& params);
void terms_row_gemm(const TermsRowGemm& params);
void terms_weight_gradient(const TermsWeightGradient& params);

}  // namespace digan_fast
