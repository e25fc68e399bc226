#pragma once

// A batch of matrix products: a block makes 128 × 128 outputs of one of them, from steps of its
// operands that are copied, or made, two steps ahead of what is multiplied.

#include "product_result.cuh"

namespace digan_fast::cuda {

template <class Tile>
constexpr int kProductBytes = Tile::SLOTS * 2 * Tile::BYTES;

// Of a multiprocessor: two, at 128 registers a thread, where neither sines nor fma need more.
template <class Number, bool WAVES>
constexpr int kProductBlocks = WAVES || std::is_same_v<Number, Float32> ? 1 : 2;

// `issue` fills a slot with the next step.
template <class Tile, class Issue>
__device__ __forceinline__ void sum_steps(ProductSums<Tile>& sums, const ProductParams& p,
                                          const ProductPlace& place, unsigned char* room, int steps,
                                          Issue&& issue) {
    constexpr int SLOT = 2 * Tile::BYTES, AHEAD = Tile::SLOTS - 1;
    unsigned char* const past = room + Tile::SLOTS * SLOT;
    int issued = 0;
    unsigned char* filled = room;
    const auto fill = [&] {
        if (issued < steps) issue(filled);
        copy_async_commit();
        ++issued;
        filled += SLOT;
        if (filled == past) filled = room;
    };
#pragma unroll
    for (int i = 0; i < AHEAD; ++i) fill();
    unsigned char* slot = room;
    for (int step = 0; step < steps; ++step) {
        copy_async_wait<AHEAD - 1>();
        __syncthreads();
        fill();
        multiply_step<Tile>(sums, slot, p.left.across, slot + Tile::BYTES, p.right.across,
                            place.warp, place.lane);
        slot += SLOT;
        if (slot == past) slot = room;
    }
    copy_async_wait<0>();
}

template <class Number, bool WAVES>
__global__ void __launch_bounds__(ProductTile<Number>::THREADS, (kProductBlocks<Number, WAVES>))
    product_kernel(const __grid_constant__ ProductParams p) {
    using Tile = ProductTile<Number>;
    DIGAN_FAST_DYNAMIC_SHARED(room);
    const bool from_waves = WAVES && p.result == Result::activated;
    const bool paired = WAVES && !from_waves;  // columns with cosines
    const ProductPlace place(p, Tile::EXTENT, paired ? Tile::EXTENT / 2 : Tile::EXTENT);
    const int terms = from_waves ? Tile::DEPTH / 2 : Tile::DEPTH;
    const int steps = static_cast<int>(place.end - place.begin + terms - 1) / terms;
    ProductSums<Tile> sums = {};
    OperandStream<Tile> left(p.left, place.batch, place.row, p.rows, place.begin, place.end);
    OperandStream<Tile> right(p.right, place.batch, place.column, p.columns, place.begin,
                              place.end);
    if constexpr (WAVES) {
        WaveStream<Tile> waves(p.waves, from_waves,
                               from_waves ? place.batch : place.batch * p.waves.frames,
                               from_waves ? place.row : place.begin,
                               from_waves ? p.rows : place.end, from_waves ? 0 : place.column);
        sum_steps<Tile>(sums, p, place, room, steps, [&](unsigned char* slot) {
            if (p.left.data) left.issue(slot);
            if (p.right.data) right.issue(slot + Tile::BYTES);
            if (p.result != Result::theta) waves.issue(from_waves ? slot : slot + Tile::BYTES);
        });
    } else {
        sum_steps<Tile>(sums, p, place, room, steps, [&](unsigned char* slot) {
            left.issue(slot);
            right.issue(slot + Tile::BYTES);
        });
    }
    store_sums<Tile, WAVES>(sums, reinterpret_cast<float*>(room), p, place);
}

}  // namespace digan_fast::cuda
