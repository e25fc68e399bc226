#pragma once

// A step's multiplications: by mma.sync, or by fma of exact float32. Both leave the sums where
// mma.sync does: lane 4·g + q has rows g and g + 8 and columns 2·q and 2·q + 1 of each 16 by 8.

#include "product_tile.cuh"

namespace digan_fast::cuda {

template <class Tile>
using ProductSums = float[Tile::ROW_TILES][Tile::COLUMN_TILES][4];

// A float32 element of an operand that lies across.
template <class Tile>
__device__ __forceinline__ const float* element_across(unsigned char* room, int term, int row) {
    return reinterpret_cast<const float*>(Tile::chunk(room, true, term, row / 4)) + row % 4;
}

// 16 rows by the terms of two chunks.
template <class Tile>
__device__ __forceinline__ void load_left(uint32_t (&words)[4], unsigned char* room, bool across,
                                          int row, int step, int lane) {
    if (!across) {
        load_matrices(words, Tile::chunk(room, false, row + lane % 16, 2 * step + lane / 16));
    } else if constexpr (Tile::HALF) {
        const int term = 16 * step + lane / 16 * 8 + lane % 8;
        load_matrices_transposed(words, Tile::chunk(room, true, term, row / 8 + lane / 8 % 2));
    } else {
#pragma unroll
        for (int part = 0; part < 4; ++part)
            words[part] = __float_as_uint(*element_across<Tile>(
                room, 8 * step + lane % 4 + part / 2 * 4, row + lane / 4 + part % 2 * 8));
    }
    if constexpr (!Tile::HALF)
        for (uint32_t& word : words) word = to_tf32(__uint_as_float(word));
}

// Two neighbouring tiles of 8 columns by the terms of two chunks.
template <class Tile>
__device__ __forceinline__ void load_right(uint32_t (&words)[4], unsigned char* room, bool across,
                                           int column, int step, int lane) {
    const int matrix = lane / 8;
    if (!across) {
        const int row = column + matrix / 2 * 8 + lane % 8;
        load_matrices(words, Tile::chunk(room, false, row, 2 * step + matrix % 2));
    } else if constexpr (Tile::HALF) {
        const int term = 16 * step + matrix % 2 * 8 + lane % 8;
        load_matrices_transposed(words, Tile::chunk(room, true, term, column / 8 + matrix / 2));
    } else {
#pragma unroll
        for (int part = 0; part < 4; ++part)
            words[part] = __float_as_uint(*element_across<Tile>(
                room, 8 * step + lane % 4 + part % 2 * 4, column + lane / 4 + part / 2 * 8));
    }
    if constexpr (!Tile::HALF)
        for (uint32_t& word : words) word = to_tf32(__uint_as_float(word));
}

// Four terms of a row, or of COUNT neighbouring rows.
template <class Tile, int COUNT>
__device__ __forceinline__ void load_terms(float (&terms)[COUNT][4], unsigned char* room,
                                           bool across, int row, int step) {
    if (across) {
#pragma unroll
        for (int e = 0; e < 4; ++e) {
            const float* from = element_across<Tile>(room, 4 * step + e, row);
            if constexpr (COUNT == 2) {
                const float2 both = *reinterpret_cast<const float2*>(from);
                terms[0][e] = both.x;
                terms[1][e] = both.y;
            } else {
                terms[0][e] = *from;
            }
        }
    } else {
#pragma unroll
        for (int n = 0; n < COUNT; ++n) {
            const float4 four =
                *reinterpret_cast<const float4*>(Tile::chunk(room, false, row + n, step));
            terms[n][0] = four.x;
            terms[n][1] = four.y;
            terms[n][2] = four.z;
            terms[n][3] = four.w;
        }
    }
}

template <class Tile>
__device__ __forceinline__ void multiply_exactly(ProductSums<Tile>& sums, unsigned char* left,
                                                 bool left_across, unsigned char* right,
                                                 bool right_across, int warp, int lane) {
#pragma unroll 1
    for (int step = 0; step < Tile::DEPTH / 4; ++step) {
        float rows[2 * Tile::ROW_TILES][1][4];
#pragma unroll
        for (int i = 0; i < 2 * Tile::ROW_TILES; ++i)
            load_terms<Tile>(rows[i], left, left_across, Tile::row(warp) + 8 * i + lane / 4, step);
#pragma unroll
        for (int j = 0; j < Tile::COLUMN_TILES; ++j) {
            float columns[2][4];
            load_terms<Tile>(columns, right, right_across, Tile::column(warp, j) + lane % 4 * 2,
                             step);
#pragma unroll
            for (int e = 0; e < 4; ++e)
#pragma unroll
                for (int i = 0; i < 2 * Tile::ROW_TILES; ++i)
#pragma unroll
                    for (int n = 0; n < 2; ++n) {
                        float& sum = sums[i / 2][j][i % 2 * 2 + n];
                        sum = fmaf(rows[i][0][e], columns[n][e], sum);
                    }
        }
    }
}

template <class Tile>
__device__ __forceinline__ void multiply_step(ProductSums<Tile>& sums, unsigned char* left,
                                              bool left_across, unsigned char* right,
                                              bool right_across, int warp, int lane) {
    if constexpr (std::is_same_v<typename Tile::Number, Float32>) {
        multiply_exactly<Tile>(sums, left, left_across, right, right_across, warp, lane);
    } else {
#pragma unroll 1
        for (int step = 0; step < 2; ++step) {
            uint32_t rows[Tile::ROW_TILES][4];
#pragma unroll
            for (int i = 0; i < Tile::ROW_TILES; ++i)
                load_left<Tile>(rows[i], left, left_across, Tile::row(warp) + 16 * i, step, lane);
#pragma unroll
            for (int j = 0; j < Tile::COLUMN_TILES; j += 2) {
                uint32_t columns[4];
                load_right<Tile>(columns, right, right_across, Tile::column(warp, j), step, lane);
#pragma unroll
                for (int i = 0; i < Tile::ROW_TILES; ++i) {
                    Tile::Number::multiply(sums[i][j], rows[i], columns[0], columns[1]);
                    Tile::Number::multiply(sums[i][j + 1], rows[i], columns[2], columns[3]);
                }
            }
        }
    }
}

}  // namespace digan_fast::cuda
