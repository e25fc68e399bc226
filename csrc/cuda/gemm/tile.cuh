#pragma once

// How a block of the GEMM divides its work, and where operands lie in shared memory.

#include "dtype.cuh"

namespace digan_fast::cuda {

template <class Dtype_>
struct GemmTile {
    using Dtype = Dtype_;
    using Element = typename Dtype::Element;
    static constexpr bool kHalf = kHalfPrecision<Dtype>;
    static constexpr int kElements = kVectorElements<Dtype>;  // of 16 bytes
    static constexpr int kExtent = 128;                       // rows, and columns
    static constexpr int kDepth = 4 * kElements;              // terms of a step
    static constexpr int kWarps = 8, kThreads = 32 * kWarps;
    static constexpr int kWarpRows = 32, kRowTiles = kWarpRows / 16, kColumnTiles = 8;
    static constexpr int kBytes = kExtent * kDepth * static_cast<int>(sizeof(Element));
    static constexpr int kSlots = 3;
    static constexpr int kCopies = kBytes / 16 / kThreads;  // of an operand's step, by each thread

    // Sums [kRowTiles][kColumnTiles] of 16 by 8. A warp's columns lie at the same places in both
    // halves of the tile, so that a thread has the sums by a sinusoid's sine and by its cosine.
    static __device__ __forceinline__ int column(int warp, int tile) {
        return tile / 4 * (kExtent / 2) + warp % 2 * 32 + tile % 4 * 8;
    }
    static __device__ __forceinline__ int row(int warp) { return warp / 2 * kWarpRows; }

    // An operand in chunks of 16 bytes: [row][4] or, transposed, [term][kExtent / kElements]. They
    // are XOR-swizzled so that the same chunk of eight rows, or of eight terms, covers all 32
    // banks, as do four terms of float32 in two neighbouring chunks (README.md).
    static __device__ __forceinline__ int swizzled(bool transposed, int outer, int chunk) {
        return chunk ^ (!transposed ? outer >> 1 & 3 : kHalf ? outer & 7 : (outer & 3) << 1);
    }
    static __device__ __forceinline__ unsigned char* chunk(unsigned char* smem, bool transposed,
                                                           int outer, int chunk) {
        const int chunks = transposed ? kExtent / kElements : 4;
        return smem + (outer * chunks + swizzled(transposed, outer, chunk)) * 16;
    }
};

}  // namespace digan_fast::cuda
