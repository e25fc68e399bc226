#pragma once

// A step's multiplications: by mma.sync, or by fma of exact float32. Both leave the sums where
// mma.sync does: lane 4·g + q has rows g and g + 8 and columns 2·q and 2·q + 1 of each 16 by 8.

#include "gemm/tile.cuh"

namespace digan_fast::cuda {

template <class Tile>
using ProductSums = float[Tile::ROW_TILES][Tile::COLUMN_TILES][4];

// Where a lane reads an operand: all that hangs on the lane, to which `at` adds constants. What is
// added leaves `exchanged` as it is, and chunks meet in no bit.
template <class Tile, bool ACROSS>
class LanePlace {
    static constexpr int OUTER = ACROSS ? Tile::EXTENT * 16 / Tile::ELEMENTS : 64;  // bytes

  public:
    // Of outer index and chunk; `bytes` within the chunk.
    __device__ __forceinline__ LanePlace(int outer, int chunk, int bytes = 0)
        : offset_(outer * OUTER + bytes), chunk_(Tile::exchanged(ACROSS, outer, chunk)) {}

    __device__ __forceinline__ unsigned char* at(unsigned char* room, int outer, int chunk) const {
        return room + offset_ + outer * OUTER + (chunk_ ^ chunk) * 16;
    }

  private:
    int offset_, chunk_;
};

// Four words of 16 rows or columns and of the terms of two chunks.
template <class Tile>
__device__ __forceinline__ void rounded_words(uint32_t (&words)[4]) {
    if constexpr (!Tile::HALF)
#pragma unroll
        for (int i = 0; i < 4; ++i) words[i] = to_tf32(__uint_as_float(words[i]));
}

__device__ __forceinline__ uint32_t word_at(const unsigned char* place) {
    return *reinterpret_cast<const uint32_t*>(place);
}

template <class Tile, bool LEFT_ACROSS, bool RIGHT_ACROSS>
class TensorMultiply {
    static constexpr bool HALF = Tile::HALF;

  public:
    __device__ __forceinline__ TensorMultiply(int warp, int lane)
        : left_(left_place(Tile::row(warp), lane)),
          right_(right_place(Tile::column(warp, 0), lane)) {}

    __device__ __forceinline__ void operator()(ProductSums<Tile>& sums, unsigned char* left,
                                               unsigned char* right) const {
#pragma unroll
        for (int step = 0; step < 2; ++step) {
            uint32_t rows[Tile::ROW_TILES][4];
#pragma unroll
            for (int i = 0; i < Tile::ROW_TILES; ++i) load_left(rows[i], left, step, i);
#pragma unroll
            for (int j = 0; j < Tile::COLUMN_TILES; j += 2) {
                uint32_t columns[4];
                load_right(columns, right, step, j);
#pragma unroll
                for (int i = 0; i < Tile::ROW_TILES; ++i) {
                    Tile::Number::multiply(sums[i][j], rows[i], columns[0], columns[1]);
                    Tile::Number::multiply(sums[i][j + 1], rows[i], columns[2], columns[3]);
                }
            }
        }
    }

  private:
    static __device__ __forceinline__ LanePlace<Tile, LEFT_ACROSS> left_place(int row, int lane) {
        if constexpr (!LEFT_ACROSS) return {row + lane % 16, lane / 16};
        if constexpr (HALF) return {lane / 16 * 8 + lane % 8, row / 8 + lane / 8 % 2};
        return {lane % 4, row / 4 + lane / 16, lane / 4 % 4 * 4};
    }
    static __device__ __forceinline__ LanePlace<Tile, RIGHT_ACROSS> right_place(int column,
                                                                                int lane) {
        if constexpr (!RIGHT_ACROSS) return {column + lane / 16 * 8 + lane % 8, lane / 8 % 2};
        if constexpr (HALF) return {lane / 8 % 2 * 8 + lane % 8, column / 8 + lane / 16};
        return {lane % 4, column / 4 + lane / 16, lane / 4 % 4 * 4};
    }

    __device__ __forceinline__ void load_left(uint32_t (&words)[4], unsigned char* room, int step,
                                              int i) const {
        if constexpr (!LEFT_ACROSS)
            load_matrices(words, left_.at(room, 16 * i, 2 * step));
        else if constexpr (HALF)
            load_matrices_transposed(words, left_.at(room, 16 * step, 2 * i));
        else
#pragma unroll
            for (int part = 0; part < 4; ++part)
                words[part] =
                    word_at(left_.at(room, 8 * step + part / 2 * 4, 4 * i + part % 2 * 2));
        rounded_words<Tile>(words);
    }

    // Column tiles j and j + 1.
    __device__ __forceinline__ void load_right(uint32_t (&words)[4], unsigned char* room, int step,
                                               int j) const {
        const int column = Tile::column(0, j);
        if constexpr (!RIGHT_ACROSS)
            load_matrices(words, right_.at(room, column, 2 * step));
        else if constexpr (HALF)
            load_matrices_transposed(words, right_.at(room, 16 * step, column / 8));
        else
#pragma unroll
            for (int part = 0; part < 4; ++part)
                words[part] =
                    word_at(right_.at(room, 8 * step + part % 2 * 4, column / 4 + part / 2 * 2));
        rounded_words<Tile>(words);
    }

    LanePlace<Tile, LEFT_ACROSS> left_;
    LanePlace<Tile, RIGHT_ACROSS> right_;
};

// Of float32, four terms at a time.
template <class Tile, bool LEFT_ACROSS, bool RIGHT_ACROSS>
class ExactMultiply {
  public:
    __device__ __forceinline__ ExactMultiply(int warp, int lane)
        : left_(place<LEFT_ACROSS>(Tile::row(warp) + lane / 4)),
          right_(place<RIGHT_ACROSS>(Tile::column(warp, 0) + lane % 4 * 2)) {}

    __device__ __forceinline__ void operator()(ProductSums<Tile>& sums, unsigned char* left,
                                               unsigned char* right) const {
#pragma unroll 1
        for (int step = 0; step < Tile::DEPTH / 4; ++step) {
            float rows[2 * Tile::ROW_TILES][4];
#pragma unroll
            for (int i = 0; i < 2 * Tile::ROW_TILES; ++i)
                load<LEFT_ACROSS>(rows[i], left_, left, step, 8 * i);
#pragma unroll
            for (int j = 0; j < Tile::COLUMN_TILES; ++j) {
                float columns[2][4];
                load_two<RIGHT_ACROSS>(columns, right_, right, step, Tile::column(0, j));
#pragma unroll
                for (int e = 0; e < 4; ++e)
#pragma unroll
                    for (int i = 0; i < 2 * Tile::ROW_TILES; ++i)
#pragma unroll
                        for (int n = 0; n < 2; ++n) {
                            float& sum = sums[i / 2][j][i % 2 * 2 + n];
                            sum = fmaf(rows[i][e], columns[n][e], sum);
                        }
            }
        }
    }

  private:
    template <bool ACROSS>
    static __device__ __forceinline__ LanePlace<Tile, ACROSS> place(int row) {
        if constexpr (ACROSS) return {0, row / 4, row % 4 * 4};
        return {row, 0};
    }

    // Row `row` of a lane; it is a multiple of 8.
    template <bool ACROSS>
    static __device__ __forceinline__ void load(float (&terms)[4],
                                                const LanePlace<Tile, ACROSS>& place,
                                                unsigned char* room, int step, int row) {
        if constexpr (ACROSS) {
#pragma unroll
            for (int e = 0; e < 4; ++e)
                terms[e] = *reinterpret_cast<const float*>(
                    place.at(room, 4 * step + e, Tile::exchanged(true, e, row / 4)));
        } else {
            const float4 four = *reinterpret_cast<const float4*>(place.at(room, row, step));
            terms[0] = four.x;
            terms[1] = four.y;
            terms[2] = four.z;
            terms[3] = four.w;
        }
    }

    // That row and the next.
    template <bool ACROSS>
    static __device__ __forceinline__ void load_two(float (&terms)[2][4],
                                                    const LanePlace<Tile, ACROSS>& place,
                                                    unsigned char* room, int step, int row) {
        if constexpr (ACROSS) {
#pragma unroll
            for (int e = 0; e < 4; ++e) {
                const float2 both = *reinterpret_cast<const float2*>(
                    place.at(room, 4 * step + e, Tile::exchanged(true, e, row / 4)));
                terms[0][e] = both.x;
                terms[1][e] = both.y;
            }
        } else {
            load<false>(terms[0], place, room, step, row);
            load<false>(terms[1], place, room, step, row + 1);
        }
    }

    LanePlace<Tile, LEFT_ACROSS> left_;
    LanePlace<Tile, RIGHT_ACROSS> right_;
};

template <class Tile, bool LEFT_ACROSS, bool RIGHT_ACROSS>
using Multiply = std::conditional_t<std::is_same_v<typename Tile::Number, Float32>,
                                    ExactMultiply<Tile, LEFT_ACROSS, RIGHT_ACROSS>,
                                    TensorMultiply<Tile, LEFT_ACROSS, RIGHT_ACROSS>>;

}  // namespace digan_fast::cuda
