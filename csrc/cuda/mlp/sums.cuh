#pragma once

#include "mlp/sums.h"
#include "reduce/row_sums.cuh"

namespace digan_fast::cuda {

// A block has as many elements as there are threads for a few rows, 32 for many.
__host__ __device__ __forceinline__ int mlp_sum_lanes(const MlpSum& sum) {
    return sum.rows < kRowSumThreads / kRowSumLanes ? kRowSumThreads : kRowSumLanes;
}

__host__ __device__ __forceinline__ std::int64_t mlp_sum_blocks(const MlpSum& sum) {
    const int lanes = mlp_sum_lanes(sum);
    return (sum.count + lanes - 1) / lanes * sum.groups;
}

__global__ void __launch_bounds__(kRowSumThreads)
    sum_mlp_kernel(const __grid_constant__ MlpSums p) {
    DIGAN_FAST_DYNAMIC_SHARED(smem);
    const ThreadSums<1> sums{reinterpret_cast<float*>(smem)};
    std::int64_t block = blockIdx.x;
    int which = 0;
    while (block >= mlp_sum_blocks(p.sum[which])) block -= mlp_sum_blocks(p.sum[which++]);
    const MlpSum& sum = p.sum[which];
    const int lanes = mlp_sum_lanes(sum);
    const std::int64_t across = (sum.count + lanes - 1) / lanes;
    const std::int64_t element = block % across * lanes + threadIdx.x % lanes;
    const std::int64_t group = block / across;
    const std::int64_t line = element / sum.inner, place = element % sum.inner;
    float total = 0.0f;
    if (element < sum.count) {
        const float* const in = sum.in + group * sum.in_group + line * sum.in_pitch + place;
        for (std::int64_t row = threadIdx.x / lanes; row < sum.rows; row += kRowSumThreads / lanes)
            total += in[row * sum.in_row];
    }
    sums.at(0, threadIdx.x) = total;
    sums.add(lanes);
    if (static_cast<int>(threadIdx.x) >= lanes || element >= sum.count) return;
    total = sums.at(0, threadIdx.x) * sum.factor;
    if (sum.factors) total *= sum.factors[group * sum.count + element];
    float& out = sum.out[group * sum.out_group + line * sum.out_pitch + place * sum.out_step];
    out = sum.adds ? out + total : total;
}

}  // namespace digan_fast::cuda
