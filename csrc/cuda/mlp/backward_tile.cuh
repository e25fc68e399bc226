#pragma once

// The backward's tile, and what its threads keep of it in global memory.

#include "mlp/kernel.cuh"

namespace digan_fast::cuda {

// The forward's tile with at most 64 points, and 48 at 512 channels in half precision: of more,
// sums and what else is alive spill.
template <class Dtype, int Width>
struct BackwardTile : StageTile<Dtype, Width> {
    using Stage = StageTile<Dtype, Width>;
    static constexpr int kPixels = Width >= 512 ? (Stage::kHalf ? 48 : 32) : 64;
    static constexpr int kRowTiles = kPixels / 16;
    static constexpr int kActivationBytes = kPixels * Stage::kChunks * 16;
    // Whether layers may read encoded coordinates again.
    static constexpr bool kReadsFeatures = !(Stage::kHalf && Width >= 512);
};

// act'(z).
__device__ __forceinline__ float mlp_derivative(float z, Activation activation) {
    return activation == kGauss ? -z * expf(-0.5f * z * z) : derivative(z, activation, kSlope);
}

// act of neighbouring sums; the branch is one for all of them. Eight at a time would take more than
// 128 registers.
template <int Count>
__device__ __forceinline__ void activate_all(float (&values)[Count], Activation activation) {
    const auto apply = [&](auto act) {
#pragma unroll
        for (int e = 0; e < Count; ++e) {
            values[e] = mlp_activated(values[e], act());
            if (e % 4 == 3) __syncwarp();
        }
    };
    switch (activation) {
        case Activation::linear:
            break;
        case Activation::sine:
            return apply([] { return Activation::sine; });
        default:
            apply([activation] { return activation; });
    }
}

template <int Count>
__device__ __forceinline__ void derive_all(float (&values)[Count], Activation activation) {
    const auto apply = [&](auto act) {
#pragma unroll
        for (int e = 0; e < Count; ++e) {
            values[e] = mlp_derivative(values[e], act());
            if (e % 4 == 3) __syncwarp();
        }
    };
    switch (activation) {
        case Activation::sine:
            return apply([] { return Activation::sine; });
        default:
            apply([activation] { return activation; });
    }
}

// Neighbouring numbers of a table, or of row `row` of a thread's eighths of a tile: floats in
// sixteen bytes each.
template <int Count>
__device__ __forceinline__ void load_run(const float* from, std::int64_t stride,
                                         float (&values)[Count]) {
#pragma unroll
    for (int q = 0; q < Count / 4; ++q) {
        const float4 four = *reinterpret_cast<const float4*>(from + q * stride);
        values[4 * q] = four.x;
        values[4 * q + 1] = four.y;
        values[4 * q + 2] = four.z;
        values[4 * q + 3] = four.w;
    }
}

// A tile's numbers in global memory, in the order of the threads' sums: each reads what it wrote.
// A thread has kElements columns of a group in rows 0 … kRows − 1, at pixels 8·row + lane / 4.
template <class Tile>
class Kept {
  public:
    static constexpr int kRows = 2 * Tile::kRowTiles;
    using Values = float[Tile::kElements];

    explicit __device__ __forceinline__ Kept(float* numbers) : own_(numbers + 4 * threadIdx.x) {}

    __device__ __forceinline__ void load(int group, int row, Values& values) const {
        load_run(at(group, row), kApart, values);
    }
    __device__ __forceinline__ void store(int group, int row, const Values& values) const {
#pragma unroll
        for (int q = 0; q < Tile::kElements / 4; ++q)
            store_global(reinterpret_cast<float4*>(at(group, row) + q * kApart),
                         {values[4 * q], values[4 * q + 1], values[4 * q + 2], values[4 * q + 3]});
    }

    __device__ __forceinline__ void store_sums(StageSums<Tile>& sums) const {
        visit(sums, [&](int group, int row, const auto& sum) {
            Values values;
#pragma unroll
            for (int e = 0; e < Tile::kElements; ++e) values[e] = sum(e);
            store(group, row, values);
        });
    }
    __device__ __forceinline__ void load_sums(StageSums<Tile>& sums) const {
        visit(sums, [&](int group, int row, const auto& sum) {
            Values values;
            load(group, row, values);
#pragma unroll
            for (int e = 0; e < Tile::kElements; ++e) sum(e) = values[e];
        });
    }

  private:
    static constexpr int kApart = kRows * Tile::kThreads * 4;

    __device__ __forceinline__ float* at(int group, int row) const {
        return own_ + group * (Tile::kElements / 4) * kApart + row * Tile::kThreads * 4;
    }

    template <class Visit>
    static __device__ __forceinline__ void visit(StageSums<Tile>& sums, Visit&& each) {
#pragma unroll
        for (int group = 0; group < Tile::kGroups; ++group)
#pragma unroll
            for (int row = 0; row < kRows; ++row)
                each(group, row, [&](int e) -> float& {
                    return sums[row / 2][group * Tile::kGroupTiles + e / 2][2 * (row % 2) + e % 2];
                });
    }

    float* own_;
};

// Adds neighbouring columns' totals over the lanes that share them, and stores them.
template <int Count>
__device__ __forceinline__ void store_column_sums(float (&totals)[Count], float* to, int lane) {
#pragma unroll
    for (int e = 0; e < Count; ++e)
#pragma unroll
        for (int mask = 4; mask < 32; mask *= 2)
            totals[e] += __shfl_xor_sync(0xFFFFFFFFu, totals[e], mask);
    if (lane >= 4) return;
#pragma unroll
    for (int q = 0; q < Count / 4; ++q)
        store_global(reinterpret_cast<float4*>(to) + q,
                     {totals[4 * q], totals[4 * q + 1], totals[4 * q + 2], totals[4 * q + 3]});
}

// A layer's columns of a group, as its thread reads their numbers from the tables.
template <class Tile>
struct ColumnTables {
    static constexpr int kElements = Tile::kElements;
    const float* first;

    __device__ __forceinline__ void load(MlpTable table, float (&values)[kElements]) const {
        load_run(first + table * Tile::kWidth, 4, values);
    }
};

}  // namespace digan_fast::cuda
