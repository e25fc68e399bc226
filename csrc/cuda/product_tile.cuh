#pragma once

// How a block of the product kernel divides its work, and how an operand gets into shared memory.

#include <type_traits>

#include "numbers.cuh"
#include "product_params.h"

namespace digan_fast::cuda {

// float32 that is multiplied as it is.
struct Float32 {
    using Element = float;
};

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
    static __device__ __forceinline__ unsigned char* chunk(unsigned char* room, bool across,
                                                           int outer, int chunk) {
        const int exchange = !across ? outer >> 1 & 3 : HALF ? outer & 7 : (outer & 3) << 1;
        return room + (outer * (across ? EXTENT / ELEMENTS : 4) + (chunk ^ exchange)) * 16;
    }
};

// An operand's tiles, step by step, from global into shared memory. Zero past its borders.
template <class Tile>
class OperandStream {
    using Element = typename Tile::Element;

  public:
    // Rows from `first`, terms [begin, end).
    __device__ __forceinline__ OperandStream(const Operand& operand, std::int64_t batch,
                                             std::int64_t first, std::int64_t rows,
                                             std::int64_t begin, std::int64_t end)
        : across_(operand.across), vectors_(operand.vectors), left_(end - begin) {
        const bool halved = operand.cosines != 0;
        const auto* data =
            static_cast<const Element*>(operand.data) + batch / operand.shared_by * operand.batch;
        terms_ = halved && !across_ ? Tile::DEPTH / 2 : Tile::DEPTH;
        advance_ = terms_ * (across_ ? operand.stride : 1);
#pragma unroll
        for (int i = 0; i < Tile::COPIES; ++i) {
            const int chunk = inner(i), half = chunks() / 2;
            const bool second = halved && chunk >= half;
            const int along = (second ? chunk - half : chunk) * Tile::ELEMENTS;
            const std::int64_t row = first + (across_ ? along : outer(i));
            first_term_[i] = across_ ? outer(i) : along;
            const std::int64_t term = begin + first_term_[i];
            source_[i] = data +
                         (across_ ? term * operand.stride + row : row * operand.stride + term) +
                         (second ? operand.cosines : 0);
            const std::int64_t inside = rows - row, most = across_ ? Tile::ELEMENTS : 1;
            rows_[i] = static_cast<int>(inside < 0 ? 0 : inside < most ? inside : most);
        }
    }

    // The next step's; copies are of the group that is committed next.
    __device__ __forceinline__ void issue(unsigned char* room) {
#pragma unroll
        for (int i = 0; i < Tile::COPIES; ++i) {
            unsigned char* to = Tile::chunk(room, across_, outer(i), inner(i));
            const std::int64_t terms = left_ - first_term_[i];
            if (vectors_)
                copy_async_16_or_zero(to, source_[i], terms > 0 && rows_[i] > 0);
            else
                gather(to, source_[i], terms > 0 ? terms : 0, rows_[i]);
            source_[i] += advance_;
        }
        left_ -= terms_;
    }

  private:
    __device__ __forceinline__ int chunks() const {
        return across_ ? Tile::EXTENT / Tile::ELEMENTS : 4;
    }
    __device__ __forceinline__ int outer(int i) const {
        return (threadIdx.x + i * Tile::THREADS) / static_cast<unsigned>(chunks());
    }
    __device__ __forceinline__ int inner(int i) const {
        return (threadIdx.x + i * Tile::THREADS) % static_cast<unsigned>(chunks());
    }

    __device__ __forceinline__ void gather(unsigned char* to, const Element* from,
                                           std::int64_t terms, int rows) const {
        const std::int64_t count = across_ ? (terms > 0 ? rows : 0) : (rows > 0 ? terms : 0);
        union {
            uint4 whole;
            Element elements[Tile::ELEMENTS];
        } vector;
#pragma unroll
        for (int e = 0; e < Tile::ELEMENTS; ++e)
            vector.elements[e] = e < count ? from[e] : static_cast<Element>(0);
        *reinterpret_cast<uint4*>(to) = vector.whole;
    }

    bool across_, vectors_;
    int terms_;
    std::int64_t left_, advance_;
    const Element* source_[Tile::COPIES];
    int first_term_[Tile::COPIES], rows_[Tile::COPIES];
};

}  // namespace digan_fast::cuda
