#pragma once

#include "activation.cuh"
#include "digan_fast/bias_act.h"
#include "features.cuh"

namespace digan_fast::cuda {

// dz = grad·act'(·)·gain where `saved` is within the clamp, act' by the sign of `saved`; its sums
// over the rows of a part; and, where rows are the pixels of a base, over their children.
struct GradientParams {
    void* dz;           // [groups, rows, columns]; null: not wanted
    void* dbase;        // [groups, rows, columns], the others being of its children, or null
    float* partials;    // [groups, parts, columns]
    const void* grad;   // like dz
    const void* saved;  // like dz; null: it does not matter
    std::int64_t groups, rows, columns, parts;
    Epilogue epilogue;
    Features features;  // of dbase
};

// out[g, c] = Σ_r in[g, r, c], in a fixed order.
struct RowSumParams {
    void* out;        // [groups, columns] of `number`
    const float* in;  // [groups, rows, columns]
    std::int64_t groups, rows, columns;
    Number number;
};

void pre_activation_gradient(const char* op, Number number, const GradientParams& params,
                             CudaStream stream);
void sum_rows(const char* op, const RowSumParams& params, CudaStream stream);

// Parts of a group's rows, each of them one block's.
constexpr std::int64_t row_sum_parts(std::int64_t rows) {
    constexpr std::int64_t kRows = 128, kMost = 512;
    return rows <= kRows ? 1 : rows >= kRows * kMost ? kMost : (rows + kRows - 1) / kRows;
}

}  // namespace digan_fast::cuda
