#pragma once

// The main loop of a layer's product: the tile's activations, in shared memory, times the weights
// that the pipeline brings.

#include "fused/weight_pipeline.cuh"

namespace digan_fast::cuda {

template <class Tile>
using StageSums = float[Tile::kRowTiles][Tile::kColumnTiles][4];

// The kElements neighbouring columns that a thread holds of a group, in row half of row tile i.
template <class Tile, class Visit>
__device__ __forceinline__ void visit_columns(StageSums<Tile>& sums, int group, int i, int half,
                                              Visit&& visit) {
#pragma unroll
    for (int e = 0; e < Tile::kElements; ++e)
        visit(e, sums[i][group * Tile::kGroupTiles + e / 2][2 * half + e % 2]);
}

// Halved: half the columns a warp, with the weights of two steps side by side; or, split along K,
// half of the steps a warp.
template <class Tile, bool Halved, class Weights>
__device__ __forceinline__ void tensor_core_mainloop(StageSums<Tile>& sums,
                                                     const Activations<Tile>& tile,
                                                     Weights& weights, int steps, int lane) {
    constexpr bool kSplit = Halved && Tile::kSplits;
    constexpr int kParts = Halved && !kSplit ? 2 : 1, kColumnTiles = Tile::kColumnTiles / kParts;
    const int odd = kSplit ? static_cast<int>(threadIdx.x / 32) / (Tile::kWarps / 2) : 0;
    for (int step = 0; step < steps; ++step) {
        uint32_t right[4 * Tile::kVectors];
        weights.take(right);
#pragma unroll
        for (int part = 0; part < kParts; ++part) {
            const int chunk = 2 * (kSplit ? 2 * step + odd : kParts * step + part) + lane / 16;
            const int first = part * 2 * kColumnTiles;
#pragma unroll
            for (int i = 0; i < Tile::kRowTiles; ++i) {
                uint32_t left[4];
                load_matrices(left, tile.chunk(16 * i + lane % 16, chunk));
#pragma unroll
                for (int j = 0; j < kColumnTiles; ++j)
                    Tile::Dtype::mma(sums[i][j], left, right[first + 2 * j],
                                     right[first + 2 * j + 1]);
            }
        }
    }
}

// The same sums in the same threads, by fma, input by input. Four lanes share a pixel's
// activations, eight a column's weights.
template <class Tile, bool Halved, class Weights>
__device__ __forceinline__ void fma_mainloop(StageSums<Tile>& sums, const Activations<Tile>& tile,
                                             Weights& weights, int steps, int lane) {
    constexpr int kParts = Halved ? 2 : 1, kGroups = Tile::kGroups / kParts;
    constexpr int kChunks = 2 * kParts;  // of four inputs
    for (int step = 0; step < steps; ++step) {
        const float4* columns = weights.hold() + lane % 4;
#pragma unroll
        for (int chunk = 0; chunk < kChunks; ++chunk) {
            Vector left[Tile::kRowTiles][2];
#pragma unroll
            for (int i = 0; i < Tile::kRowTiles; ++i)
#pragma unroll
                for (int half = 0; half < 2; ++half)
                    left[i][half] = tile.read(16 * i + 8 * half + lane / 4, kChunks * step + chunk);
#pragma unroll
            for (int input = 0; input < 4; ++input) {
#pragma unroll
                for (int group = 0; group < kGroups; ++group) {
                    const float4 four = columns[4 * ((4 * chunk + input) * kGroups + group)];
                    const float right[4] = {four.x, four.y, four.z, four.w};
#pragma unroll
                    for (int i = 0; i < Tile::kRowTiles; ++i)
#pragma unroll
                        for (int half = 0; half < 2; ++half)
                            visit_columns<Tile>(sums, group, i, half, [&](int e, float& sum) {
                                const float activation = bits_to_float(left[i][half].words[input]);
                                sum = fmaf(activation, right[e], sum);
                            });
                }
            }
        }
        weights.release();
    }
}

// sums += tile · weightsᵀ over the next `steps` steps.
template <class Tile, bool Halved = false, class Weights>
__device__ __forceinline__ void mainloop(StageSums<Tile>& sums, const Activations<Tile>& tile,
                                         Weights& weights, int steps, int lane) {
    if constexpr (Tile::Dtype::kOnTensorCores)
        tensor_core_mainloop<Tile, Halved>(sums, tile, weights, steps, lane);
    else
        fma_mainloop<Tile, Halved>(sums, tile, weights, steps, lane);
}

}  // namespace digan_fast::cuda
