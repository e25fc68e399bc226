#pragma once

// How a block of the product kernel divides its work, and how an operand gets into shared memory.

#include <type_traits>

#include "numbers.cuh"
#include "gemm/params.h"

namespace digan_fast::cuda {

template <class Number_>
struct ProductTile {
    using Number = Number_;
    using Element = typename Number::Element;
    static constexpr bool HALF = sizeof(Element) == 2;
    static constexpr int ELEMENTS = kVectorElements<Number>;  // of 16 bytes
    static constexpr int EXTENT = 128;                        // rows, and columns
    static constexpr int DEPTH = 4 * ELEMENTS;                // terms of a step
    static constexpr int WARPS = 8, THREADS = 32 * WARPS;
    static constexpr int WARP_ROWS = 32, ROW_TILES = WARP_ROWS / 16, COLUMN_TILES = 8;
    static constexpr int BYTES = EXTENT * DEPTH * static_cast<int>(sizeof(Element));
    static constexpr int SLOTS = 3;
    static constexpr int COPIES = BYTES / 16 / THREADS;  // of an operand's step, by each thread

    // Sums [ROW_TILES][COLUMN_TILES] of 16 by 8. A warp's columns lie at the same places in both
    // halves of the tile, so that a thread has the sums by a sinusoid's sine and by its cosine.
    static __device__ __forceinline__ int column(int warp, int tile) {
        return tile / 4 * (EXTENT / 2) + warp % 2 * 32 + tile % 4 * 8;
    }
    static __device__ __forceinline__ int row(int warp) { return warp / 2 * WARP_ROWS; }

    // Sixteen bytes of an operand: [row][4] or, across, [term][EXTENT / ELEMENTS]. They are
    // exchanged so that eight rows', or eight terms', same chunk lie in all 32 banks, as do four
    // terms of float32 and two neighbouring chunks.
    static __device__ __forceinline__ int exchanged(bool across, int outer, int chunk) {
        return chunk ^ (!across ? outer >> 1 & 3 : HALF ? outer & 7 : (outer & 3) << 1);
    }
    static __device__ __forceinline__ unsigned char* chunk(unsigned char* room, bool across,
                                                           int outer, int chunk) {
        const int chunks = across ? EXTENT / ELEMENTS : 4;
        return room + (outer * chunks + exchanged(across, outer, chunk)) * 16;
    }
};

// An operand's tiles, step by step, from global into shared memory. Zero past its borders. Of a
// step a thread copies COPIES chunks, a number of rows, or terms across, apart.
template <class Tile, bool ACROSS>
class OperandStream {
    using Element = typename Tile::Element;

  public:
    // Rows from `first`, terms [begin, end).
    __device__ __forceinline__ OperandStream(const Operand& operand, std::int64_t batch,
                                             std::int64_t first, std::int64_t rows,
                                             std::int64_t begin, std::int64_t end)
        : operand_(operand) {
        const int half = CHUNKS / 2;
        const bool second = operand.cosines != 0 && inner() >= half;
        const int along = (second ? inner() - half : inner()) * Tile::ELEMENTS;
        const std::int64_t row = first + (ACROSS ? along : outer());
        const std::int64_t term = begin + (ACROSS ? outer() : along);
        source_ = static_cast<const Element*>(operand.data) +
                  batch / operand.shared_by * operand.batch +
                  (ACROSS ? term * operand.stride + row : row * operand.stride + term) +
                  (second ? operand.cosines : 0);
        terms_left_ = static_cast<int>(end - term);
        rows_left_ = static_cast<int>(min(rows - row, std::int64_t{Tile::EXTENT}));
    }

    // The next step's; copies are of the group that is committed next.
    __device__ __forceinline__ void issue(unsigned char* room) {
#pragma unroll
        for (int i = 0; i < Tile::COPIES; ++i) {
            unsigned char* to = Tile::chunk(room, ACROSS, outer() + i * APART, inner());
            const Element* from = source_ + i * APART * operand_.stride;
            const int rows = rows_left_ - (ACROSS ? 0 : i * APART);
            const int terms = terms_left_ - (ACROSS ? i * APART : 0);
            if (operand_.vectors)
                copy_async_16_or_zero(to, from, rows > 0 && terms > 0);
            else
                gather(to, from, rows, terms);
        }
        const int terms = operand_.cosines && !ACROSS ? Tile::DEPTH / 2 : Tile::DEPTH;
        source_ += terms * (ACROSS ? operand_.stride : 1);
        terms_left_ -= terms;
    }

  private:
    static constexpr int CHUNKS = ACROSS ? Tile::EXTENT / Tile::ELEMENTS : 4;
    static constexpr int APART = Tile::THREADS / CHUNKS;

    __device__ __forceinline__ int outer() const { return threadIdx.x / CHUNKS; }
    __device__ __forceinline__ int inner() const { return threadIdx.x % CHUNKS; }

    __device__ __forceinline__ void gather(unsigned char* to, const Element* from, int rows,
                                           int terms) const {
        const int count = rows <= 0 || terms <= 0 ? 0 : ACROSS ? rows : terms;
        union {
            uint4 whole;
            Element elements[Tile::ELEMENTS];
        } vector;
#pragma unroll
        for (int e = 0; e < Tile::ELEMENTS; ++e)
            vector.elements[e] = e < count ? from[e] : static_cast<Element>(0);
        *reinterpret_cast<uint4*>(to) = vector.whole;
    }

    const Operand& operand_;
    const Element* source_;
    int rows_left_, terms_left_;
};

}  // namespace digan_fast::cuda
