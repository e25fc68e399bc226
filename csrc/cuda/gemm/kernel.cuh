#pragma once

// A batch of matrix products: a block makes 128 × 128 outputs of one of them, from steps of its
// operands that are copied, or made, two steps ahead of what is multiplied.

#include "gemm/epilogue.cuh"

namespace digan_fast::cuda {

template <class Tile>
constexpr int kProductBytes = Tile::SLOTS * 2 * Tile::BYTES;

// Of a multiprocessor: two, at 128 registers a thread, where neither sines nor fma need more.
template <class Number, bool WAVES>
constexpr int kProductBlocks = WAVES || std::is_same_v<Number, Float32> ? 1 : 2;

// `issue` fills a slot with the next step.
template <class Tile, bool LEFT_ACROSS, bool RIGHT_ACROSS, class Issue>
__device__ __forceinline__ void sum_steps(ProductSums<Tile>& sums, const ProductPlace& place,
                                          unsigned char* room, int steps, Issue&& issue) {
    constexpr int SLOT = 2 * Tile::BYTES, AHEAD = Tile::SLOTS - 1;
    unsigned char* const past = room + Tile::SLOTS * SLOT;
    const Multiply<Tile, LEFT_ACROSS, RIGHT_ACROSS> multiply(place.warp, place.lane);
    unsigned char *filled = room, *slot = room;
#pragma unroll 1
    for (int step = -AHEAD; step < steps; ++step) {
        if (step >= 0) {
            copy_async_wait<AHEAD - 1>();
            __syncthreads();
        }
        if (step + AHEAD < steps) {
            issue(filled);
            filled = filled + SLOT == past ? room : filled + SLOT;
        }
        copy_async_commit();
        if (step < 0) continue;
        multiply(sums, slot, slot + Tile::BYTES);
        slot = slot + SLOT == past ? room : slot + SLOT;
    }
    copy_async_wait<0>();
}

// Of operands that lie so. Waves are the left one where neither lies across, the right one where
// both do, and none where the sums are what theta is made of.
template <class Tile, bool WAVES, bool LEFT_ACROSS, bool RIGHT_ACROSS>
__device__ __forceinline__ void sum_product(ProductSums<Tile>& sums, const ProductParams& p,
                                            const ProductPlace& place, unsigned char* room) {
    constexpr bool FROM_WAVES = WAVES && !RIGHT_ACROSS, BY_WAVES = WAVES && LEFT_ACROSS;
    const int terms = FROM_WAVES ? Tile::DEPTH / 2 : Tile::DEPTH;
    const int steps = static_cast<int>(place.end - place.begin + terms - 1) / terms;
    OperandStream<Tile, LEFT_ACROSS> left(p.left, place.batch, place.row, p.rows, place.begin,
                                          place.end);
    OperandStream<Tile, RIGHT_ACROSS> right(p.right, place.batch, place.column, p.columns,
                                            place.begin, place.end);
    WaveStream<Tile> waves =
        FROM_WAVES ? WaveStream<Tile>(p.waves, true, place.batch, place.row, p.rows, 0)
                   : WaveStream<Tile>(p.waves, false, place.batch * p.waves.frames, place.begin,
                                      place.end, place.column);
    sum_steps<Tile, LEFT_ACROSS, RIGHT_ACROSS>(sums, place, room, steps, [&](unsigned char* slot) {
        if constexpr (FROM_WAVES)
            waves.issue(slot);
        else
            left.issue(slot);
        if constexpr (BY_WAVES)
            waves.issue(slot + Tile::BYTES);
        else
            right.issue(slot + Tile::BYTES);
    });
}

template <class Number, bool WAVES>
__global__ void __launch_bounds__(ProductTile<Number>::THREADS, (kProductBlocks<Number, WAVES>))
    product_kernel(const __grid_constant__ ProductParams p) {
    using Tile = ProductTile<Number>;
    DIGAN_FAST_DYNAMIC_SHARED(room);
    const bool paired = WAVES && p.result != Result::activated;  // columns with cosines
    const ProductPlace place(p, Tile::EXTENT, paired ? Tile::EXTENT / 2 : Tile::EXTENT);
    ProductSums<Tile> sums = {};
    if (p.left.across)
        sum_product<Tile, WAVES, true, true>(sums, p, place, room);
    else if (p.right.across)
        sum_product<Tile, WAVES, false, true>(sums, p, place, room);
    else
        sum_product<Tile, WAVES, false, false>(sums, p, place, room);
    store_sums<Tile, WAVES>(sums, reinterpret_cast<float*>(room), p, place);
}

}  // namespace digan_fast::cuda
