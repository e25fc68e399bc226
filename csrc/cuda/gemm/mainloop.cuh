#pragma once

// A step of the main loop: by mma.sync, or by fma of exact float32. Both leave the sums where
// mma.sync does: lane 4·g + q has rows g and g + 8 and columns 2·q and 2·q + 1 of each 16 by 8.

#include <type_traits>

#include "gemm/tile.cuh"

namespace digan_fast::cuda {

template <class Tile>
using GemmSums = float[Tile::kRowTiles][Tile::kColumnTiles][4];

// Where a lane reads an operand: all that depends on the lane, to which `at` adds constants. Outer
// offsets leave the swizzle as it is, and chunks share no set bit with the lane's, so that + and ^
// agree.
template <class Tile, bool Transposed>
class LanePlace {
    static constexpr int kOuter = Transposed ? Tile::kExtent * 16 / Tile::kElements : 64;  // bytes

  public:
    // Of outer index and chunk; `bytes` within the chunk.
    __device__ __forceinline__ LanePlace(int outer, int chunk, int bytes = 0)
        : offset_(outer * kOuter + bytes), chunk_(Tile::swizzled(Transposed, outer, chunk)) {}

    __device__ __forceinline__ unsigned char* at(unsigned char* smem, int outer, int chunk) const {
        return smem + offset_ + outer * kOuter + (chunk_ ^ chunk) * 16;
    }

  private:
    int offset_, chunk_;
};

// Four words of 16 rows or columns and of the terms of two chunks.
template <class Tile>
__device__ __forceinline__ void rounded_words(uint32_t (&words)[4]) {
    if constexpr (!Tile::kHalf)
#pragma unroll
        for (int i = 0; i < 4; ++i) words[i] = to_tf32(__uint_as_float(words[i]));
}

__device__ __forceinline__ uint32_t word_at(const unsigned char* place) {
    return *reinterpret_cast<const uint32_t*>(place);
}

template <class Tile, bool LeftTransposed, bool RightTransposed>
class TensorCoreStep {
    static constexpr bool kHalf = Tile::kHalf;

  public:
    __device__ __forceinline__ TensorCoreStep(int warp, int lane)
        : left_(left_place(Tile::row(warp), lane)),
          right_(right_place(Tile::column(warp, 0), lane)) {}

    __device__ __forceinline__ void operator()(GemmSums<Tile>& sums, unsigned char* left,
                                               unsigned char* right) const {
#pragma unroll
        for (int step = 0; step < 2; ++step) {
            uint32_t rows[Tile::kRowTiles][4];
#pragma unroll
            for (int i = 0; i < Tile::kRowTiles; ++i) load_left(rows[i], left, step, i);
#pragma unroll
            for (int j = 0; j < Tile::kColumnTiles; j += 2) {
                uint32_t columns[4];
                load_right(columns, right, step, j);
#pragma unroll
                for (int i = 0; i < Tile::kRowTiles; ++i) {
                    Tile::Dtype::mma(sums[i][j], rows[i], columns[0], columns[1]);
                    Tile::Dtype::mma(sums[i][j + 1], rows[i], columns[2], columns[3]);
                }
            }
        }
    }

  private:
    static __device__ __forceinline__ LanePlace<Tile, LeftTransposed> left_place(int row,
                                                                                 int lane) {
        if constexpr (!LeftTransposed) return {row + lane % 16, lane / 16};
        if constexpr (kHalf) return {lane / 16 * 8 + lane % 8, row / 8 + lane / 8 % 2};
        return {lane % 4, row / 4 + lane / 16, lane / 4 % 4 * 4};
    }
    static __device__ __forceinline__ LanePlace<Tile, RightTransposed> right_place(int column,
                                                                                   int lane) {
        if constexpr (!RightTransposed) return {column + lane / 16 * 8 + lane % 8, lane / 8 % 2};
        if constexpr (kHalf) return {lane / 8 % 2 * 8 + lane % 8, column / 8 + lane / 16};
        return {lane % 4, column / 4 + lane / 16, lane / 4 % 4 * 4};
    }

    __device__ __forceinline__ void load_left(uint32_t (&words)[4], unsigned char* smem, int step,
                                              int i) const {
        if constexpr (!LeftTransposed)
            load_matrices(words, left_.at(smem, 16 * i, 2 * step));
        else if constexpr (kHalf)
            load_matrices_transposed(words, left_.at(smem, 16 * step, 2 * i));
        else
#pragma unroll
            for (int part = 0; part < 4; ++part)
                words[part] =
                    word_at(left_.at(smem, 8 * step + part / 2 * 4, 4 * i + part % 2 * 2));
        rounded_words<Tile>(words);
    }

    // Column tiles j and j + 1.
    __device__ __forceinline__ void load_right(uint32_t (&words)[4], unsigned char* smem, int step,
                                               int j) const {
        const int column = Tile::column(0, j);
        if constexpr (!RightTransposed)
            load_matrices(words, right_.at(smem, column, 2 * step));
        else if constexpr (kHalf)
            load_matrices_transposed(words, right_.at(smem, 16 * step, column / 8));
        else
#pragma unroll
            for (int part = 0; part < 4; ++part)
                words[part] =
                    word_at(right_.at(smem, 8 * step + part % 2 * 4, column / 4 + part / 2 * 2));
        rounded_words<Tile>(words);
    }

    LanePlace<Tile, LeftTransposed> left_;
    LanePlace<Tile, RightTransposed> right_;
};

// Of float32, four terms at a time.
template <class Tile, bool LeftTransposed, bool RightTransposed>
class FmaStep {
  public:
    __device__ __forceinline__ FmaStep(int warp, int lane)
        : left_(place<LeftTransposed>(Tile::row(warp) + lane / 4)),
          right_(place<RightTransposed>(Tile::column(warp, 0) + lane % 4 * 2)) {}

    __device__ __forceinline__ void operator()(GemmSums<Tile>& sums, unsigned char* left,
                                               unsigned char* right) const {
#pragma unroll 1
        for (int step = 0; step < Tile::kDepth / 4; ++step) {
            float rows[2 * Tile::kRowTiles][4];
#pragma unroll
            for (int i = 0; i < 2 * Tile::kRowTiles; ++i)
                load<LeftTransposed>(rows[i], left_, left, step, 8 * i);
#pragma unroll
            for (int j = 0; j < Tile::kColumnTiles; ++j) {
                float columns[2][4];
                load_two<RightTransposed>(columns, right_, right, step, Tile::column(0, j));
#pragma unroll
                for (int e = 0; e < 4; ++e)
#pragma unroll
                    for (int i = 0; i < 2 * Tile::kRowTiles; ++i)
#pragma unroll
                        for (int n = 0; n < 2; ++n) {
                            float& sum = sums[i / 2][j][i % 2 * 2 + n];
                            sum = fmaf(rows[i][e], columns[n][e], sum);
                        }
            }
        }
    }

  private:
    template <bool Transposed>
    static __device__ __forceinline__ LanePlace<Tile, Transposed> place(int row) {
        if constexpr (Transposed) return {0, row / 4, row % 4 * 4};
        return {row, 0};
    }

    // Row `row` of a lane; it is a multiple of 8.
    template <bool Transposed>
    static __device__ __forceinline__ void load(float (&terms)[4],
                                                const LanePlace<Tile, Transposed>& place,
                                                unsigned char* smem, int step, int row) {
        if constexpr (Transposed) {
#pragma unroll
            for (int e = 0; e < 4; ++e)
                terms[e] = *reinterpret_cast<const float*>(
                    place.at(smem, 4 * step + e, Tile::swizzled(true, e, row / 4)));
        } else {
            const float4 four = *reinterpret_cast<const float4*>(place.at(smem, row, step));
            terms[0] = four.x;
            terms[1] = four.y;
            terms[2] = four.z;
            terms[3] = four.w;
        }
    }

    // That row and the next.
    template <bool Transposed>
    static __device__ __forceinline__ void load_two(float (&terms)[2][4],
                                                    const LanePlace<Tile, Transposed>& place,
                                                    unsigned char* smem, int step, int row) {
        if constexpr (Transposed) {
#pragma unroll
            for (int e = 0; e < 4; ++e) {
                const float2 both = *reinterpret_cast<const float2*>(
                    place.at(smem, 4 * step + e, Tile::swizzled(true, e, row / 4)));
                terms[0][e] = both.x;
                terms[1][e] = both.y;
            }
        } else {
            load<false>(terms[0], place, smem, step, row);
            load<false>(terms[1], place, smem, step, row + 1);
        }
    }

    LanePlace<Tile, LeftTransposed> left_;
    LanePlace<Tile, RightTransposed> right_;
};

template <class Tile, bool LeftTransposed, bool RightTransposed>
using MainloopStep = std::conditional_t<std::is_same_v<typename Tile::Dtype, Float32>,
                                        FmaStep<Tile, LeftTransposed, RightTransposed>,
                                        TensorCoreStep<Tile, LeftTransposed, RightTransposed>>;

}  // namespace digan_fast::cuda
