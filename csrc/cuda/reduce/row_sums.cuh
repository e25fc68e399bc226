#pragma once

#include "dtype.cuh"
#include "reduce/row_sums.h"

namespace digan_fast::cuda {

constexpr int kRowSumThreads = 256, kRowSumLanes = 32;

// Count values of each thread, [Count][threads], padded so that neither one value of a warp's lanes
// nor all values of neighbouring threads share a bank.
template <int Count>
struct ThreadSums {
    static constexpr int kPitch = kRowSumThreads + 32 / Count, kBytes = Count * kPitch * 4;
    float* smem;

    __device__ __forceinline__ float& at(int kind, int thread) const {
        return smem[kind * kPitch + thread];
    }

    // Adds up those of threads that are a multiple of `lanes` apart, into the first `lanes`.
    __device__ __forceinline__ void add(int lanes) const {
        __syncthreads();
        for (int half = kRowSumThreads / 2; half >= lanes; half /= 2) {
            const int thread = threadIdx.x;
            if (thread < half)
#pragma unroll
                for (int e = 0; e < Count; ++e) at(e, thread) += at(e, thread + half);
            __syncthreads();
        }
    }
};

// Count neighbouring columns' dz at an element, added to `totals`.
template <class Dtype, int Count>
__device__ __forceinline__ void add_gradients(const GradientParams& p, float limit, std::int64_t at,
                                              float (&totals)[Count]) {
    float grads[Count], saved[Count] = {};
    load<Dtype>(p.grad, at, grads);
    if (p.saved) load<Dtype>(p.saved, at, saved);
#pragma unroll
    for (int e = 0; e < Count; ++e) {
        const float dz =
            grads[e] * (!p.saved || saved[e] > 0.0f ? p.epilogue.above : p.epilogue.below);
        grads[e] = passes_clamp(saved[e], limit) ? dz : 0.0f;
        totals[e] += grads[e];
    }
    if (p.dz) store<Dtype>(p.dz, at, grads);
}

// A block has 32·Count columns of a part of the rows, a warp every eighth of them.
template <class Dtype, int Count>
__global__ void __launch_bounds__(kRowSumThreads)
    gradient_kernel(const __grid_constant__ GradientParams p) {
    DIGAN_FAST_DYNAMIC_SHARED(smem);
    const ThreadSums<Count> sums{reinterpret_cast<float*>(smem)};
    const std::int64_t across = (p.columns + kRowSumLanes * Count - 1) / (kRowSumLanes * Count);
    const std::int64_t column =
        (blockIdx.x % across * kRowSumLanes + threadIdx.x % kRowSumLanes) * Count;
    const std::int64_t part = blockIdx.x / across % p.parts, group = blockIdx.x / across / p.parts;
    const std::int64_t begin = p.rows * part / p.parts, end = p.rows * (part + 1) / p.parts;
    const bool exists = column < p.columns;
    // The clamp rounded to the output's type.
    const float limit = Dtype::widened(Dtype::narrowed(p.epilogue.clamp));
    float totals[Count] = {};
    for (std::int64_t row = begin + threadIdx.x / kRowSumLanes; exists && row < end;
         row += kRowSumThreads / kRowSumLanes) {
        const std::int64_t at = (group * p.rows + row) * p.columns + column;
        if (!p.dbase) {
            add_gradients<Dtype>(p, limit, at, totals);
            continue;
        }
        const Features& w = p.features;
        const std::int64_t line = divided(row, w.base_width), frame = divided(line, w.base_height);
        const std::int64_t top = (line - frame * w.base_height) * 2 - (w.top & 1);
        const std::int64_t left = (row - line * w.base_width) * 2 - (w.left & 1);
        float own[Count] = {};
#pragma unroll 1
        for (int child = 0; child < 4; ++child) {
            const std::int64_t y = top + child / 2, x = left + child % 2;
            if (y < 0 || y >= w.height || x < 0 || x >= w.width) continue;
            add_gradients<Dtype>(p, limit,
                                 ((frame * w.height + y) * w.width + x) * p.columns + column, own);
        }
        store<Dtype>(p.dbase, at, own);
#pragma unroll
        for (int e = 0; e < Count; ++e) totals[e] += own[e];
    }
#pragma unroll
    for (int e = 0; e < Count; ++e) sums.at(e, threadIdx.x) = totals[e];
    sums.add(kRowSumLanes);
    const int own = threadIdx.x;
    const std::int64_t first = blockIdx.x % across * kRowSumLanes * Count;
    if (own < kRowSumLanes * Count && first + own < p.columns)
        p.partials[(group * p.parts + part) * p.columns + first + own] =
            sums.at(own % Count, own / Count);
}

// A block has `lanes` columns of a group: as many as there are threads for a few rows, 32 for many.
template <class Dtype>
__global__ void __launch_bounds__(kRowSumThreads)
    row_sum_kernel(const __grid_constant__ RowSumParams p) {
    DIGAN_FAST_DYNAMIC_SHARED(smem);
    const ThreadSums<1> sums{reinterpret_cast<float*>(smem)};
    const int lanes = p.rows < kRowSumThreads / kRowSumLanes ? kRowSumThreads : kRowSumLanes;
    const std::int64_t across = (p.columns + lanes - 1) / lanes;
    const std::int64_t column = blockIdx.x % across * lanes + threadIdx.x % lanes;
    const std::int64_t group = blockIdx.x / across;
    float total = 0.0f;
    if (column < p.columns)
        for (std::int64_t row = threadIdx.x / lanes; row < p.rows; row += kRowSumThreads / lanes)
            total += p.in[(group * p.rows + row) * p.columns + column];
    sums.at(0, threadIdx.x) = total;
    sums.add(lanes);
    if (static_cast<int>(threadIdx.x) < lanes && column < p.columns)
        store<Dtype>(p.out, group * p.columns + column, sums.at(0, threadIdx.x));
}

}  // namespace digan_fast::cuda
