#pragma once

// How a block of the fused kernel divides its work: every warp owns columns, that is outputs, and
// has all pixels of the tile.

#include "numbers.cuh"

namespace digan_fast::cuda {

constexpr bool can_halve(int width, int element_bytes) {
    return width >= 512 || (width >= 64 && element_bytes == 4);
}

template <class Number_, int WIDTH_>
struct StageTile {
    using Number = Number_;
    static constexpr int WIDTH = WIDTH_;
    static constexpr int ELEMENTS = kVectorElements<Number>;  // of 16 bytes
    static constexpr int CHUNKS = WIDTH / ELEMENTS;  // of 16 bytes in a pixel's activations
    static constexpr int STEP = 2 * ELEMENTS;        // inputs; tensor cores' one instruction
    static constexpr bool HALF_PRECISION = sizeof(typename Number::Element) == 2;
    // Sixteen warps at 512, or two blocks of eight at 256, hide the latency of mma.sync: with eight
    // tensor cores of an H200 were busy for 28 and 18 % of the time, with sixteen for 34 and 28 %.
    static constexpr int WARP_COLUMNS = WIDTH >= 512 && !HALF_PRECISION ? 64 : 32;
    static constexpr int BLOCKS = WIDTH == 256 && HALF_PRECISION ? 2 : 1;  // on a multiprocessor
    static constexpr int WARPS = WIDTH / WARP_COLUMNS;
    static constexpr int THREADS = 32 * WARPS;
    static constexpr int COLUMN_TILES = WARP_COLUMNS / 8;
    static constexpr int VECTORS = COLUMN_TILES / 2;  // of weights that a thread reads for a step
    static constexpr int STEP_BYTES = THREADS * VECTORS * 16;
    // A tile's pixels lie in 8 columns; activations of 64 KiB at most.
    static constexpr int PIXELS =
        HALF_PRECISION ? (WIDTH >= 256 ? 64 : 128) : (WIDTH >= 512 ? 32 : 64);
    static constexpr int ROWS = PIXELS / 8;
    static constexpr int ROW_TILES = PIXELS / 16;
    static constexpr int ACTIVATION_BYTES = PIXELS * CHUNKS * 16;
    // Rows of colours begin 8 banks apart.
    static constexpr int COLOUR_PITCH = PIXELS + 8;
    static constexpr int COLOUR_BYTES = 4 * COLOUR_PITCH * 4;

    // Tiles of 8 columns are laid out so that the two that a thread holds of each of
    // ELEMENTS / 2 neighbours are ELEMENTS columns in a row. The first of them, of `group`:
    static __device__ __forceinline__ int column(int warp, int group, int lane,
                                                 int warp_columns = WARP_COLUMNS) {
        return warp * warp_columns + group * 4 * ELEMENTS + lane % 4 * ELEMENTS;
    }
    static constexpr int GROUPS = WARP_COLUMNS / (4 * ELEMENTS);
    static constexpr int GROUP_TILES = ELEMENTS / 2;

    // The output that is column n of a warp's tile.
    static __device__ __forceinline__ int output(int warp, int tile, int n,
                                                 int warp_columns = WARP_COLUMNS) {
        return warp * warp_columns + tile / GROUP_TILES * 4 * ELEMENTS + n / 2 * ELEMENTS +
               tile % GROUP_TILES * 2 + n % 2;
    }

    // Whether there is a product of WIDTH / 2 outputs: each warp has half its columns, or, where
    // those are too few, half of the warps have all outputs' even steps and the others the odd
    // ones.
    static constexpr bool HALVES = can_halve(WIDTH, sizeof(typename Number::Element));
    static constexpr bool SPLITS = HALVES && GROUPS == 1;
    static constexpr int HALVED_COLUMNS = SPLITS ? WARP_COLUMNS : WARP_COLUMNS / 2;
};

// Activations [PIXELS][WIDTH] in shared memory. Chunks of a row are exchanged by a number of the
// row, so that eight neighbouring rows' same chunk, and four neighbouring chunks of two
// neighbouring rows, lie in all 32 banks.
template <class Tile>
class Activations {
  public:
    explicit __device__ __forceinline__ Activations(unsigned char* room) : room_(room) {}

    __device__ __forceinline__ unsigned char* chunk(int pixel, int chunk) const {
        const int exchange = (pixel & 1) << 2 | (pixel & 2) | (pixel & 4) >> 2;
        return room_ + (pixel * Tile::CHUNKS + (chunk ^ exchange)) * 16;
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
    unsigned char* room_;
};

}  // namespace digan_fast::cuda
