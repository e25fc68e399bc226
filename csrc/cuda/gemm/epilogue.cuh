#pragma once

// The epilogue: a tile's sums become what GemmOutput says, and leave in whole sectors.

#include "gemm/mainloop.cuh"
#include "gemm/params.h"

namespace digan_fast::cuda {

// A block's tile of the output, and the terms that it sums.
struct GemmPlace {
    std::int64_t row, column;  // its first ones; of a column that has a cosine, its sinusoid
    std::int64_t row_tile, row_tiles, batch, split, begin, end;
    int warp, lane;

    // `width` columns in a tile. Blocks of the same rows follow each other.
    __device__ __forceinline__ GemmPlace(const GemmParams& p, int extent, int width) {
        const std::int64_t across = (p.columns + width - 1) / width;
        row_tiles = (p.rows + extent - 1) / extent;
        std::int64_t block = blockIdx.x;
        column = block % across * width;
        block /= across;
        row_tile = block % row_tiles;
        row = row_tile * extent;
        block /= row_tiles;
        batch = block % p.batches;
        split = block / p.batches;
        begin = split * p.split_depth;
        end = min(p.depth, begin + p.split_depth);
        warp = threadIdx.x / 32;
        lane = threadIdx.x % 32;
    }
};

// A warp's sums of 16 rows, [16][kPitch] in shared memory: its columns in the first half of the
// tile, then those in the second.
template <class Tile>
struct WarpRows {
    // Rows begin 8 banks apart: pairs of columns of four rows cover all 32.
    static constexpr int kColumns = Tile::kColumnTiles * 8, kPitch = kColumns + 8;

    // Those of row tile i; both are named, as registers cannot be indexed.
    static __device__ __forceinline__ void write(float* smem, const GemmSums<Tile>& sums, int i,
                                                 int lane) {
#pragma unroll
        for (int j = 0; j < Tile::kColumnTiles; ++j)
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                float* to = smem + (lane / 4 + 8 * half) * kPitch + 8 * j + lane % 4 * 2;
                const float first = i ? sums[1][j][2 * half] : sums[0][j][2 * half];
                const float second = i ? sums[1][j][2 * half + 1] : sums[0][j][2 * half + 1];
                store_shared(reinterpret_cast<float2*>(to), {first, second});
            }
    }
};

// Four neighbouring elements of a tensor of the GEMM's type, or of float32.
template <class Tile>
struct Four {
    float values[4];

    // Of which `count` exist.
    static __device__ __forceinline__ Four load(const void* data, std::int64_t at, int count,
                                                bool vectors) {
        const auto* from = static_cast<const typename Tile::Element*>(data) + at;
        Four four = {};
        if constexpr (Tile::kHalf) {
            uint2 words = {0, 0};
            if (vectors) {
                if (count) words = *reinterpret_cast<const uint2*>(from);
            } else {
                if (count > 0) words.x = from[0];
                if (count > 1) words.x |= static_cast<uint32_t>(from[1]) << 16;
                if (count > 2) words.y = from[2];
                if (count > 3) words.y |= static_cast<uint32_t>(from[3]) << 16;
            }
            four.values[0] = Tile::Dtype::first(words.x);
            four.values[1] = Tile::Dtype::second(words.x);
            four.values[2] = Tile::Dtype::first(words.y);
            four.values[3] = Tile::Dtype::second(words.y);
        } else {
#pragma unroll
            for (int e = 0; e < 4; ++e)
                if (e < count) four.values[e] = from[e];
        }
        return four;
    }

    __device__ __forceinline__ void store(void* data, std::int64_t at, int count, bool vectors,
                                          bool is_wide) const {
        if (Tile::kHalf && !is_wide) {
            if constexpr (Tile::kHalf) {
                auto* to = static_cast<uint16_t*>(data) + at;
                const uint2 words = {Tile::Dtype::pack(values[0], values[1]),
                                     Tile::Dtype::pack(values[2], values[3])};
                if (vectors) {
                    if (count) store_global(reinterpret_cast<uint2*>(to), words);
                    return;
                }
                if (count > 0) to[0] = static_cast<uint16_t>(words.x & 0xFFFFu);
                if (count > 1) to[1] = static_cast<uint16_t>(words.x >> 16);
                if (count > 2) to[2] = static_cast<uint16_t>(words.y & 0xFFFFu);
                if (count > 3) to[3] = static_cast<uint16_t>(words.y >> 16);
            }
            return;
        }
        auto* to = static_cast<float*>(data) + at;
        if (vectors) {
            if (count)
                store_global(reinterpret_cast<float4*>(to),
                             {values[0], values[1], values[2], values[3]});
            return;
        }
#pragma unroll
        for (int e = 0; e < 4; ++e)
            if (e < count) to[e] = values[e];
    }
};

// A lane has four neighbouring columns, half a warp a row.
template <class Tile, bool WithFeatures>
__device__ __forceinline__ void store_rows(const float* smem, const GemmParams& p,
                                           const GemmPlace& place, int first_row) {
    const bool is_sum = p.output == GemmOutput::plain || p.output == GemmOutput::partial;
    const bool has_cosines = WithFeatures && is_sum;
    const std::int64_t columns = has_cosines ? 2 * p.columns : p.columns;
    const int local = place.lane % 16 * 4,
              tile_column = Tile::column(place.warp, local / 8) + local % 8;
    const bool second = has_cosines && tile_column >= Tile::kExtent / 2;
    const std::int64_t column =
        place.column + (second ? tile_column - Tile::kExtent / 2 : tile_column);
    const std::int64_t behind = second ? p.columns : 0, after = p.columns - column;
    const int most = after < 0 ? 0 : after < 4 ? static_cast<int>(after) : 4;
    const std::int64_t entry = place.split * p.batches + place.batch;
    const float* bias = is_sum || !p.bias ? nullptr : p.bias + place.batch * p.bias_batch + column;
    float limit = p.epilogue.clamp;
    if constexpr (Tile::kHalf) limit = rounded<typename Tile::Dtype>(limit);
#pragma unroll 1
    for (int step = place.lane / 16; step < 16; step += 2) {
        const std::int64_t row = place.row + first_row + step;
        const int count = row < p.rows ? most : 0;
        const float4 read =
            *reinterpret_cast<const float4*>(smem + step * WarpRows<Tile>::kPitch + local);
        Four<Tile> four = {{read.x, read.y, read.z, read.w}};
        const std::int64_t at = (entry * p.rows + row) * columns + behind + column;
        if (bias)
#pragma unroll
            for (int e = 0; e < 4; ++e)
                if (e < count) four.values[e] += bias[e];
        if constexpr (WithFeatures) {
            const Features& features = p.features;
            if (!is_sum && features.base && count) {
                const std::int64_t parent =
                    place.batch * features.base_height * features.base_width +
                    Pixel(features, row).parent(features);
                const auto base =
                    Four<Tile>::load(features.base, parent * columns + column, count, p.vectors);
#pragma unroll
                for (int e = 0; e < 4; ++e) four.values[e] += base.values[e];
            }
        }
        if (!WithFeatures && p.output == GemmOutput::gradient) {
            const auto grad = Four<Tile>::load(p.grad, at, count, p.vectors);
            const auto saved = Four<Tile>::load(p.saved, at, count, p.vectors);
#pragma unroll
            for (int e = 0; e < 4; ++e)
                four.values[e] = passes_clamp(saved.values[e], limit)
                                     ? grad.values[e] * p.epilogue.slope(four.values[e])
                                     : 0.0f;
        } else if (!is_sum) {
#pragma unroll
            for (int e = 0; e < 4; ++e) four.values[e] = p.epilogue(four.values[e]);
        }
        four.store(p.out, at, count, p.vectors, p.output == GemmOutput::partial);
    }
}

// dθ = (Σ by sin θ)·cos θ − (Σ by cos θ)·sin θ, alone and times x and y, of a lane's sinusoid over
// 16 rows.
template <class Tile>
__device__ __forceinline__ void add_theta(float (&totals)[3], const float* smem,
                                          const GemmParams& p, const GemmPlace& place,
                                          int first_row) {
    const std::int64_t k = place.column + Tile::column(place.warp, 0) + place.lane;
    if (k >= p.columns) return;
    const Sinusoids sinusoid(p.features, place.batch, k);
#pragma unroll 1
    for (int step = 0; step < 16; ++step) {
        const std::int64_t row = place.row + first_row + step;
        if (row >= p.rows) break;
        const Pixel pixel(p.features, row);
        float sine, cosine;
        sinusoid.at(pixel, 0, sine, cosine);
        const float* sums = smem + step * WarpRows<Tile>::kPitch + place.lane;
        const float dtheta = sums[0] * cosine - sums[WarpRows<Tile>::kColumns / 2] * sine;
        totals[0] += dtheta;
        totals[1] = fmaf(dtheta, pixel.x, totals[1]);
        totals[2] = fmaf(dtheta, pixel.y, totals[2]);
    }
}

// Adds the warps' totals, those of one column in the order of their rows.
template <class Tile>
__device__ __forceinline__ void store_theta(const float (&totals)[3], float* smem,
                                            const GemmParams& p, const GemmPlace& place) {
    constexpr int kHalf = Tile::kExtent / 2, kRows = Tile::kWarps / 2;
    __syncthreads();
#pragma unroll
    for (int kind = 0; kind < 3; ++kind)
        smem[(place.warp / 2 * 3 + kind) * kHalf + Tile::column(place.warp, 0) + place.lane] =
            totals[kind];
    __syncthreads();
    const int kind = threadIdx.x / kHalf, column = threadIdx.x % kHalf;
    if (kind >= 3 || place.column + column >= p.columns) return;
    float total = 0.0f;
#pragma unroll
    for (int row = 0; row < kRows; ++row) total += smem[(row * 3 + kind) * kHalf + column];
    const std::int64_t at =
        ((place.batch * place.row_tiles + place.row_tile) * 3 + kind) * p.columns;
    static_cast<float*>(p.out)[at + place.column + column] = total;
}

// Through shared memory, which is free once the main loop is done.
template <class Tile, bool WithFeatures>
__device__ __forceinline__ void store_sums(const GemmSums<Tile>& sums, float* smem,
                                           const GemmParams& p, const GemmPlace& place) {
    static_assert(Tile::kRowTiles == 2);
    float* own = smem + place.warp * 16 * WarpRows<Tile>::kPitch;
    float totals[3] = {};
    __syncthreads();
#pragma unroll 1
    for (int i = 0; i < Tile::kRowTiles; ++i) {
        WarpRows<Tile>::write(own, sums, i, place.lane);
        __syncwarp();
        const int first_row = Tile::row(place.warp) + 16 * i;
        if (WithFeatures && p.output == GemmOutput::theta)
            add_theta<Tile>(totals, own, p, place, first_row);
        else
            store_rows<Tile, WithFeatures>(own, p, place, first_row);
        __syncwarp();
    }
    if (WithFeatures && p.output == GemmOutput::theta) store_theta<Tile>(totals, smem, p, place);
}

}  // namespace digan_fast::cuda
