#pragma once

// What ops/linear_act.cpp, compiled once, asks of gemm/skinny_kernel.cpp, compiled for each
// instruction set: products of which one matrix has a few rows, as a layer of three outputs has or
// a batch of a few vectors. They take as long as memory does, so that nothing is packed.
//
// `many` is [rows, depth], `few` [few_rows, depth]; the element (m, s) of what belongs to a row of
// each lies at m · row_step + s · few_step.

#include <cstdint>

#include "gemm/pixel_rows_kernel.h"

namespace digan_fast {

// Rows of the smaller matrix, at most: from there on packing is the quicker.
constexpr int64_t kSkinnyRows = 8;
// Of these, in registers together; `dmany` of more is written in several passes.
constexpr int64_t kSkinnyTogether = 4;
// Rows of the larger one that go together.
constexpr int64_t kManyRows = 64;

// out(m, s) = act(scale · (Σ_d many[m][d] · few[s][d] + bias(m, s))).
struct SkinnyGemm {
    const float* many;
    const float* few;
    int64_t rows, few_rows, depth;  // rows: up to kManyRows
    float* out;
    int64_t row_step, few_step;
    const float* bias;  // or null
    int64_t bias_row_step, bias_few_step;
    float scale;
    RowActivation activation;  // the gain of lrelu, relu and linear is in the scale
};

// dmany[m] = Σ_s dz(m, s) · few[s], dfew[s] += Σ_m dz(m, s) · many[m].
struct SkinnyGradient {
    const float* many;
    const float* few;
    int64_t rows, few_rows, depth;
    const float* dz;
    int64_t row_step, few_step;
    float* dmany;
    float* dfew;
    bool non_temporal;  // stores of dmany
};

void skinny_gemm(const SkinnyGemm& params);
void skinny_gradient(const SkinnyGradient& params);

}  // namespace digan_fast
