#pragma once

// How a block of the fused kernel divides its work: every warp owns output columns, for all pixels
// of the tile.

#include "dtype.cuh"

namespace digan_fast::cuda {

constexpr bool can_halve(int width, int element_bytes) {
    return width >= 512 || (width >= 64 && element_bytes == 4);
}

template <class Dtype_, int Width>
struct StageTile {
    using Dtype = Dtype_;
    static constexpr int kWidth = Width;
    static constexpr int kElements = kVectorElements<Dtype>;  // of 16 bytes
    static constexpr int kChunks = kWidth / kElements;  // of 16 bytes in a pixel's activations
    static constexpr int kStep = 2 * kElements;         // inputs; tensor cores' one instruction
    static constexpr bool kHalf = kHalfPrecision<Dtype>;
    // Sixteen warps at 512, or two blocks of eight at 256, hide the latency of mma.sync: with eight
    // tensor cores of an H200 were busy for 28 and 18 % of the time, with sixteen for 34 and 28 %.
    static constexpr int kWarpColumns = kWidth >= 512 && !kHalf ? 64 : 32;
    static constexpr int kBlocks = kWidth == 256 && kHalf ? 2 : 1;  // on a multiprocessor
    static constexpr int kWarps = kWidth / kWarpColumns;
    static constexpr int kThreads = 32 * kWarps;
    static constexpr int kColumnTiles = kWarpColumns / 8;
    static constexpr int kVectors = kColumnTiles / 2;  // of weights that a thread reads for a step
    static constexpr int kStepBytes = kThreads * kVectors * 16;
    // A tile is 8 pixels wide; its activations take 64 KiB at most.
    static constexpr int kPixels = kHalf ? (kWidth >= 256 ? 64 : 128) : (kWidth >= 512 ? 32 : 64);
    static constexpr int kRows = kPixels / 8;
    static constexpr int kRowTiles = kPixels / 16;
    static constexpr int kActivationBytes = kPixels * kChunks * 16;
    // Rows of colours begin 8 banks apart.
    static constexpr int kColourPitch = kPixels + 8;
    static constexpr int kColourBytes = 4 * kColourPitch * 4;

    // Tiles of 8 columns are laid out so that the two that a thread holds of each of
    // kElements / 2 neighbours are kElements columns in a row. The first of them, of `group`:
    static __device__ __forceinline__ int column(int warp, int group, int lane,
                                                 int warp_columns = kWarpColumns) {
        return warp * warp_columns + group * 4 * kElements + lane % 4 * kElements;
    }
    static constexpr int kGroups = kWarpColumns / (4 * kElements);
    static constexpr int kGroupTiles = kElements / 2;

    // The output that is column n of a warp's tile.
    static __device__ __forceinline__ int output(int warp, int tile, int n,
                                                 int warp_columns = kWarpColumns) {
        return warp * warp_columns + tile / kGroupTiles * 4 * kElements + n / 2 * kElements +
               tile % kGroupTiles * 2 + n % 2;
    }

    // Whether products of kWidth / 2 outputs are compiled: each warp has half of its columns, or,
    // where those are too few, the product is split along K: half of the warps take the even steps
    // of all outputs and the other half the odd ones.
    static constexpr bool kHalves = can_halve(kWidth, sizeof(typename Dtype::Element));
    static constexpr bool kSplits = kHalves && kGroups == 1;
    static constexpr int kHalvedColumns = kSplits ? kWarpColumns : kWarpColumns / 2;
};

// Activations [kPixels][kWidth] in shared memory. Chunks of a row are XOR-swizzled with the
// bit-reversed row, so that the same chunk of eight neighbouring rows, and four neighbouring chunks
// of two neighbouring rows, cover all 32 banks (README.md).
template <class Tile>
class Activations {
  public:
    explicit __device__ __forceinline__ Activations(unsigned char* smem) : smem_(smem) {}

    __device__ __forceinline__ unsigned char* chunk(int pixel, int chunk) const {
        const int swizzle = (pixel & 1) << 2 | (pixel & 2) | (pixel & 4) >> 2;
        return smem_ + (pixel * Tile::kChunks + (chunk ^ swizzle)) * 16;
    }

    // In one access of 16 bytes.
    __device__ __forceinline__ Vector read(int pixel, int chunk) const {
        Vector vector;
        vector.whole = *reinterpret_cast<const uint4*>(this->chunk(pixel, chunk));
        return vector;
    }
    __device__ __forceinline__ void write(int pixel, int chunk, const Vector& vector) const {
        *reinterpret_cast<uint4*>(this->chunk(pixel, chunk)) = vector.whole;
    }

  private:
    unsigned char* smem_;
};

}  // namespace digan_fast::cuda
