#pragma once

// A batch of matrix products: a block makes 128 × 128 outputs of one of them, from steps of its
// operands that are copied, or made, two steps ahead of what is multiplied.

#include "product_result.cuh"

namespace digan_fast::cuda {

template <class Tile>
constexpr int kProductBytes = Tile::SLOTS * 2 * Tile::BYTES;

// `issue` fills a slot with the next step.
template <class Tile, class Issue>
__device__ __forceinline__ void sum_steps(ProductSums<Tile>& sums, const ProductParams& p,
                                          const ProductPlace& place, unsigned char* room,
                                          std::int64_t steps, Issue&& issue) {
    constexpr int SLOT = 2 * Tile::BYTES, AHEAD = Tile::SLOTS - 1;
    unsigned char* const past = room + Tile::SLOTS * SLOT;
    std::int64_t issued = 0;
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
    for (std::int64_t step = 0; step < steps; ++step) {
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
__global__ void __launch_bounds__(ProductTile<Number>::THREADS)
    product_kernel(const __grid_constant__ ProductParams p) {
    using Tile = ProductTile<Number>;
    DIGAN_FAST_DYNAMIC_SHARED(room);
    const bool paired = WAVES && p.result != Result::activated;  // columns with cosines
    const ProductPlace place(p, Tile::EXTENT, paired ? Tile::EXTENT / 2 : Tile::EXTENT);
    const int terms = WAVES && !paired ? Tile::DEPTH / 2 : Tile::DEPTH;
    const std::int64_t steps = (place.end - place.begin + terms - 1) / terms;
    ProductSums<Tile> sums = {};
    const auto left = [&] {
        return OperandStream<Tile>(p.left, place.batch, place.row, p.rows, place.begin, place.end);
    };
    const auto right = [&] {
        return OperandStream<Tile>(p.right, place.batch, place.column, p.columns, place.begin,
                                   place.end);
    };
    if constexpr (WAVES) {
        if (p.result == Result::activated) {
            PixelWaves<Tile> waves(p.waves, place.batch, place.row);
            auto weights = right();
            sum_steps<Tile>(sums, p, place, room, steps, [&](unsigned char* slot) {
                waves.issue(slot);
                weights.issue(slot + Tile::BYTES);
            });
        } else if (p.result == Result::theta) {
            auto gradients = left(), weights = right();
            sum_steps<Tile>(sums, p, place, room, steps, [&](unsigned char* slot) {
                gradients.issue(slot);
                weights.issue(slot + Tile::BYTES);
            });
            __syncthreads();
            store_theta<Tile>(sums, p, place, reinterpret_cast<float*>(room));
            return;
        } else {
            auto gradients = left();
            SinusoidWaves<Tile> waves(p.waves, place.batch, place.column, place.begin, place.end);
            sum_steps<Tile>(sums, p, place, room, steps, [&](unsigned char* slot) {
                gradients.issue(slot);
                waves.issue(slot + Tile::BYTES);
            });
        }
    } else {
        auto rows = left(), columns = right();
        sum_steps<Tile>(sums, p, place, room, steps, [&](unsigned char* slot) {
            rows.issue(slot);
            columns.issue(slot + Tile::BYTES);
        });
    }
    store_sums<Tile, WAVES>(sums, p, place);
}

}  // namespace digan_fast::cuda
