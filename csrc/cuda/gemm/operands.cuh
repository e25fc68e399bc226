#pragma once

#include "gemm/params.h"
#include "gemm/tile.cuh"

namespace digan_fast::cuda {

// Copies an operand's tiles, step by step, from global into shared memory; zero past its borders.
// Of a step a thread copies kCopies chunks, kApart rows from each other, or terms where transposed.
template <class Tile, bool Transposed>
class OperandLoader {
    using Element = typename Tile::Element;

  public:
    // Rows from `first`, terms [begin, end).
    __device__ __forceinline__ OperandLoader(const Operand& operand, std::int64_t batch,
                                             std::int64_t first, std::int64_t rows,
                                             std::int64_t begin, std::int64_t end)
        : operand_(operand) {
        const int half = kChunks / 2;
        const bool second = operand.cosines != 0 && inner() >= half;
        const int along = (second ? inner() - half : inner()) * Tile::kElements;
        const std::int64_t row = first + (Transposed ? along : outer());
        const std::int64_t term = begin + (Transposed ? outer() : along);
        source_ = static_cast<const Element*>(operand.data) +
                  batch / operand.shared_by * operand.batch +
                  (Transposed ? term * operand.stride + row : row * operand.stride + term) +
                  (second ? operand.cosines : 0);
        terms_left_ = static_cast<int>(end - term);
        rows_left_ = static_cast<int>(min(rows - row, std::int64_t{Tile::kExtent}));
    }

    // Issues the next step's copies, as part of the group that is committed next.
    __device__ __forceinline__ void issue(unsigned char* smem) {
#pragma unroll
        for (int i = 0; i < Tile::kCopies; ++i) {
            unsigned char* to = Tile::chunk(smem, Transposed, outer() + i * kApart, inner());
            const Element* from = source_ + i * kApart * operand_.stride;
            const int rows = rows_left_ - (Transposed ? 0 : i * kApart);
            const int terms = terms_left_ - (Transposed ? i * kApart : 0);
            if (operand_.vectors)
                copy_async_16_or_zero(to, from, rows > 0 && terms > 0);
            else
                gather(to, from, rows, terms);
        }
        const int terms = operand_.cosines && !Transposed ? Tile::kDepth / 2 : Tile::kDepth;
        source_ += terms * (Transposed ? operand_.stride : 1);
        terms_left_ -= terms;
    }

  private:
    static constexpr int kChunks = Transposed ? Tile::kExtent / Tile::kElements : 4;
    static constexpr int kApart = Tile::kThreads / kChunks;

    __device__ __forceinline__ int outer() const { return threadIdx.x / kChunks; }
    __device__ __forceinline__ int inner() const { return threadIdx.x % kChunks; }

    __device__ __forceinline__ void gather(unsigned char* to, const Element* from, int rows,
                                           int terms) const {
        const int count = rows <= 0 || terms <= 0 ? 0 : Transposed ? rows : terms;
        union {
            uint4 whole;
            Element elements[Tile::kElements];
        } vector;
#pragma unroll
        for (int e = 0; e < Tile::kElements; ++e)
            vector.elements[e] = e < count ? from[e] : static_cast<Element>(0);
        *reinterpret_cast<uint4*>(to) = vector.whole;
    }

    const Operand& operand_;
    const Element* source_;
    int rows_left_, terms_left_;
};

}  // namespace digan_fast::cuda
