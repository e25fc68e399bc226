#pragma once

// The interface of gemm/pixel_rows_kernel.cpp, compiled for each instruction set, to
// ops/linear_act.cpp and ops/coord_linear.cpp, compiled once: products of matrices whose rows are
// pixels, for training INRs.

#include <cstdint>

#include "digan_fast/bias_act.h"

namespace digan_fast {

// Rows that go through a product, forward and backward, together.
constexpr int64_t kStripRows = 192;

// The most elements that the panels of a [depth, columns] matrix take.
constexpr int64_t panel_size(int64_t depth, int64_t columns) {
    return depth * ((columns + 31) / 32 * 32);
}

// A matrix [depth, columns] in panels of columns [depth, width]: element (k, n) is
// weight[k · depth_stride + n · column_stride] · scale. Lanes [first, last), multiples of 32 or
// the end.
struct ColumnPanelPacking {
    float* panels;
    const float* weight;
    int64_t depth, columns;
    int64_t depth_stride, column_stride;
    float scale;
    int64_t first, last;
};

// act(z) · gain, clamped to ±clamp.
struct RowActivation {
    Activation activation;
    float gain;
    float clamp;  // infinity: none
};

// The initial value of a row of outputs.
struct GemmStart {
    const float* bias;         // [columns], or null
    const float* const* base;  // for each row, [columns], or null
    float scale;               // applied to both
};

// Rows that are read next: prefetched during a product, a part of them before each tile.
struct PrefetchRows {
    const float* const* rows;  // null: none
    int64_t count;
    int64_t size;  // elements per row
};

// out[r] = act(start + x[r] · panels) for `rows` rows.
struct PixelRowGemm {
    float* const* out;  // for each row, [columns]
    const float* x;
    int64_t x_stride;
    int64_t rows;
    float* packed;  // rows · depth elements
    const float* panels;
    int64_t depth, columns;
    GemmStart start;
    RowActivation activation;  // the gain of lrelu, relu and linear is in the panels and the scale
    bool non_temporal;         // requires rows of `out` to be whole cache lines
    PrefetchRows next = {};
};

// into[n][i] += Σ_r dz[r][n] · x[r][i]: a weight's gradient, [outputs, inputs].
struct WeightGradient {
    float* into;
    const float* dz;
    int64_t dz_stride;
    const float* x;
    int64_t x_stride;
    int64_t rows;
    int64_t outputs, inputs;
    float* tail;  // 32 · kStripRows elements
    PrefetchRows next[2];
};

// dz = grad · act'(z) · gain, 0 where clamped, and dbias += Σ_r dz[r].
struct ActivationBackward {
    float* dz;
    int64_t dz_stride;
    const float* const* grad;  // for each row; null: a row of zeros
    const float* const* out;   // for each row
    const float* z;            // [rows, columns], for sine
    int64_t rows, columns;
    float* dbias;
    RowActivation activation;
};

void pack_column_panels(const ColumnPanelPacking& params);
void pixel_row_gemm(const PixelRowGemm& params);
void weight_gradient(const WeightGradient& params);
void activation_backward(const ActivationBackward& params);

}  // namespace digan_fast
