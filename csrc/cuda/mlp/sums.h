#pragma once

#include <cstdint>

#include "digan_fast/cuda_info.h"

namespace digan_fast::cuda {

// out[g, e] = factor·factors[g, e]·Σ_r in[g, r, e] in a fixed order, or that added to what is
// there. Elements e = m·inner + n lie m·in_pitch + n and m·out_pitch + n·out_step apart.
struct MlpSum {
    float* out;
    const float* in;
    const float* factors;  // [groups, count], or null
    std::int64_t groups, rows, count, inner;
    std::int64_t in_group, in_row, in_pitch;
    std::int64_t out_group, out_pitch, out_step;
    float factor;
    bool adds;
};

// The sums of a launch.
struct MlpSums {
    static constexpr int kMost = 9;
    MlpSum sum[kMost];
    int count;

    void add(const MlpSum& one) { sum[count++] = one; }
};

void sum_mlp(const MlpSums& sums, CudaStream stream);

}  // namespace digan_fast::cuda
