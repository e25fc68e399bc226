#pragma once

// A layer's product: the tile's activations, in shared memory, times the stream's weights.

#include "fused/weight_pipeline.cuh"

namespace digan_fast::cuda {

template <class Tile>
using Sums = float[Tile::ROW_TILES][Tile::COLUMN_TILES][4];

// The ELEMENTS neighbouring columns that a thread holds of a group, in row half of row tile i.
template <class Tile, class Visit>
__device__ __forceinline__ void visit_columns(Sums<Tile>& sums, int group, int i, int half,
                                              Visit&& visit) {
#pragma unroll
    for (int e = 0; e < Tile::ELEMENTS; ++e)
        visit(e, sums[i][group * Tile::GROUP_TILES + e / 2][2 * half + e % 2]);
}

// With HALVED half the columns, their weights of two steps side by side; or half of the steps.
template <class Tile, bool HALVED, class Stream>
__device__ __forceinline__ void multiply_on_tensor_cores(Sums<Tile>& sums,
                                                         const Activations<Tile>& tile,
                                                         Stream& stream, int steps, int lane) {
    constexpr bool SPLIT = HALVED && Tile::SPLITS;
    constexpr int PARTS = HALVED && !SPLIT ? 2 : 1, COLUMN_TILES = Tile::COLUMN_TILES / PARTS;
    const int odd = SPLIT ? static_cast<int>(threadIdx.x / 32) / (Tile::WARPS / 2) : 0;
    for (int step = 0; step < steps; ++step) {
        uint32_t right[4 * Tile::VECTORS];
        stream.take(right);
#pragma unroll
        for (int part = 0; part < PARTS; ++part) {
            const int chunk = 2 * (SPLIT ? 2 * step + odd : PARTS * step + part) + lane / 16;
            const int first = part * 2 * COLUMN_TILES;
#pragma unroll
            for (int i = 0; i < Tile::ROW_TILES; ++i) {
                uint32_t left[4];
                load_matrices(left, tile.chunk(16 * i + lane % 16, chunk));
#pragma unroll
                for (int j = 0; j < COLUMN_TILES; ++j)
                    Tile::Number::multiply(sums[i][j], left, right[first + 2 * j],
                                           right[first + 2 * j + 1]);
            }
        }
    }
}

// The same sums in the same threads, input by input. Four lanes share a pixel's activations, eight
// a column's weights.
template <class Tile, bool HALVED, class Stream>
__device__ __forceinline__ void multiply_by_fma(Sums<Tile>& sums, const Activations<Tile>& tile,
                                                Stream& stream, int steps, int lane) {
    constexpr int PARTS = HALVED ? 2 : 1, GROUPS = Tile::GROUPS / PARTS;
    constexpr int CHUNKS = 2 * PARTS;  // of four inputs
    for (int step = 0; step < steps; ++step) {
        const float4* weights = stream.hold() + lane % 4;
#pragma unroll
        for (int chunk = 0; chunk < CHUNKS; ++chunk) {
            Vector left[Tile::ROW_TILES][2];
#pragma unroll
            for (int i = 0; i < Tile::ROW_TILES; ++i)
#pragma unroll
                for (int half = 0; half < 2; ++half)
                    left[i][half] = tile.read(16 * i + 8 * half + lane / 4, CHUNKS * step + chunk);
#pragma unroll
            for (int input = 0; input < 4; ++input) {
#pragma unroll
                for (int group = 0; group < GROUPS; ++group) {
                    const float4 four = weights[4 * ((4 * chunk + input) * GROUPS + group)];
                    const float right[4] = {four.x, four.y, four.z, four.w};
#pragma unroll
                    for (int i = 0; i < Tile::ROW_TILES; ++i)
#pragma unroll
                        for (int half = 0; half < 2; ++half)
                            visit_columns<Tile>(sums, group, i, half, [&](int e, float& sum) {
                                const float activation = bits_to_float(left[i][half].words[input]);
                                sum = fmaf(activation, right[e], sum);
                            });
                }
            }
        }
        stream.release();
    }
}

// sums += tile · weightsᵀ over the next `steps` steps.
template <class Tile, bool HALVED = false, class Stream>
__device__ __forceinline__ void multiply_tile(Sums<Tile>& sums, const Activations<Tile>& tile,
                                              Stream& stream, int steps, int lane) {
    if constexpr (Tile::Number::ON_TENSOR_CORES)
        multiply_on_tensor_cores<Tile, HALVED>(sums, tile, stream, steps, lane);
    else
        multiply_by_fma<Tile, HALVED>(sums, tile, stream, steps, lane);
}

}  // namespace digan_fast::cuda
