#pragma once

// The interface of gemm/skinny_kernel.cpp, compiled for each instruction set, to
// ops/linear_act.cpp, compiled once: products in which one matrix has few rows, such as a layer of
// three outputs or a batch of a few vectors. They are bound by memory, so nothing is packed.
//
// `many` is [rows, depth], `few` [few_rows, depth]; element (m, s) of a tensor with one element for
// each pair of their rows is at m · row_stride + s · few_stride.

#include <cstdint>

#include "gemm/pixel_rows_kernel.h"

namespace digan_fast {

// The most rows of the smaller matrix; with more, packing is faster.
constexpr int64_t kSkinnyLimit = 8;
// Of these, the rows in registers at once; with more, `dmany` is written in several passes, unless
// it is in bfloat16, which is rounded once.
constexpr int64_t kSkinnyNR = 4;
// Rows of the larger matrix per call.
constexpr int64_t kSkinnyStripRows = 64;

// out(m, s) = act(scale · (Σ_d many[m][d] · few[s][d] + bias(m, s))).
struct SkinnyGemm {
    const void* many;
    const void* few;
    Number many_number, few_number;  // bfloat16 only for many, or for both
    int64_t rows, few_rows, depth;   // rows: up to kSkinnyStripRows
    void* out;                       // of few's number
    int64_t row_stride, few_stride;
    const float* bias;  // or null
    int64_t bias_row_stride, bias_few_stride;
    float scale;
    RowActivation activation;  // the gain of lrelu, relu and linear is in the scale
};

// dmany[m] = Σ_s dz(m, s) · few[s], dfew[s] += Σ_m dz(m, s) · many[m].
struct SkinnyGradient {
    const void* many;
    const void* few;
    Number many_number, few_number;  // as above
    int64_t rows, few_rows, depth;
    const float* dz;
    int64_t row_stride, few_stride;
    void* dmany;  // of many's number
    float* dfew;
    bool non_temporal;  // how dmany is stored
};

void skinny_gemm(const SkinnyGemm& params);
void skinny_gradient(const SkinnyGradient& params);

}  // namespace digan_fast
