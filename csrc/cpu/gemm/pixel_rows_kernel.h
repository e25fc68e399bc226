#pragma once

// The interface of gemm/pixel_rows_kernel.cpp, compiled for each instruction set, to
// ops/linear_act.cpp and ops/coord_linear.cpp, compiled once: products of matrices whose rows are
// pixels, for training INRs.

#include <cstdint>

#include "digan_fast/bias_act.h"

namespace digan_fast {

// Rows that go through a product, forward and backward, together.
constexpr int64_t kStripRows = 192;
constexpr int64_t kMostStripRows = 2 * kStripRows;  // of pairs of bfloat16

// The address of an element of a tensor of bfloat16, or of any other number as float32.
static inline const void* element_at(const void* tensor, Number number, int64_t index) {
    return static_cast<const char*>(tensor) + index * (number == Number::bfloat16 ? 2 : 4);
}
static inline void* element_at(void* tensor, Number number, int64_t index) {
    return static_cast<char*>(tensor) + index * (number == Number::bfloat16 ? 2 : 4);
}

// The most elements that the panels of a [depth, columns] matrix take.
constexpr int64_t panel_size(int64_t depth, int64_t columns) {
    return depth * ((columns + 31) / 32 * 32);
}

// A matrix [depth, columns] in panels of columns [depth, width]: element (k, n) is
// weight[k · depth_stride + n · column_stride] · scale. Lanes [first, last), multiples of 32 or
// the end.
struct ColumnPanelPacking {
    float* panels;
    const void* weight;
    Number number;
    int64_t depth, columns;
    int64_t depth_stride, column_stride;  // one of them is 1
    float scale;                          // 1 for bfloat16, which it would round again
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
    const float* bias;  // [columns], or null
    float scale;        // of the bias
};

// The factors of x · panels, as they are, or float32 as terms, on AMX.
struct RowFactors {
    bool terms;
    const void* x;  // [rows, x_stride]; as terms null if `packed` has the rows already
    Number number;  // of x and of the matrix in the panels
    int64_t x_stride;
    int64_t rows;
    float* packed;        // rows · depth elements, or terms_size(rows, depth)
    const float* panels;  // panel_size(depth, columns) elements, or terms_size(depth, columns)
    int64_t depth, columns;
};

// Rows that are read next: prefetched during a product, a part of them before each tile.
struct PrefetchRows {
    const void* const* rows;  // null: none
    int64_t count;
    int64_t size;  // bytes per row
};

// out[r] = act(scale · (start + x[r] · panels)) for `rows` rows.
struct PixelRowGemm {
    void* const* out;  // for each row, [columns]
    Number out_number;
    const void* x;
    Number number;  // of x and of the matrix in the panels
    int64_t x_stride;
    int64_t rows;
    float* packed;  // rows · depth elements
    const float* panels;
    int64_t depth, columns;
    GemmStart start;
    float scale;               // 1 if it is in the panels and the start
    RowActivation activation;  // the gain of lrelu, relu and linear is in the scale
    bool non_temporal;         // requires rows of `out` to be whole cache lines
    PrefetchRows next = {};
};

// into[n][i] += Σ_r dz[r][n] · x[r][i]: a weight's gradient, [outputs, inputs]. All elements of
// rows · x_stride and rows · dz_stride are readable.
struct WeightGradient {
    float* into;
    const void* dz;
    int64_t dz_stride;
    const void* x;
    int64_t x_stride;
    Number number;  // of dz and x
    int64_t rows;
    int64_t outputs, inputs;
    float* tail;       // 32 · rows elements
    float* packed_dz;  // count · dz_stride elements, for bfloat16
    PrefetchRows next[2];
};

// dz = grad · act'(z) · gain, 0 where clamped, and dbias += Σ_r dz[r].
struct ActivationBackward {
    void* dz;
    Number dz_number;  // that of grad and out, or float32
    int64_t dz_stride;
    const void* const* grad;  // for each row
    const void* const* out;   // for each row
    Number number;            // of grad and out
    const float* z;           // [rows, columns], for sine
    int64_t rows, columns;
    float* dbias;
    RowActivation activation;
};

void pack_column_panels(const ColumnPanelPacking& params);
void pixel_row_gemm(const PixelRowGemm& params);
void weight_gradient(const WeightGradient& params);
void activation_backward(const ActivationBackward& params);

}  // namespace digan_fast
