#pragma once

// The product of a matrix whose rows are pixels and of columns in panels, for kernels that differ
// in what a tile of sums begins with and becomes.

#include "gemm/pack_rows-inl.h"

namespace digan_fast::DIGAN_FAST_ISA {

// Stores a tile to rows of `columns` elements, from column n on; rows without an address are left
// out. With `streaming`, whole vectors are not written to the caches.
template <class Out, int R, int V>
static DIGAN_FAST_INLINE void store_rows(const Tile<R, V>& tile, void* const* rows, int64_t n,
                                         int64_t columns, bool streaming) {
    const auto each = [&](const auto& put) DIGAN_FAST_INLINE_LAMBDA {
        unrolled<R>([&](auto r) DIGAN_FAST_INLINE_LAMBDA {
            if (rows[r.value]) put(static_cast<Out*>(rows[r.value]) + n, tile.v[r.value]);
        });
    };
    const int64_t left = columns - n;
    if (left < V * Vec::width) {
        each([&](Out* to, const Vec(&z)[V]) DIGAN_FAST_INLINE_LAMBDA {
            unrolled<V>([&](auto v) DIGAN_FAST_INLINE_LAMBDA {
                const int64_t at = v.value * Vec::width;
                store_some(to + at, left - at, z[v.value]);
            });
        });
    } else if (streaming) {
        each([](Out* to, const Vec(&z)[V]) DIGAN_FAST_INLINE_LAMBDA {
            if constexpr (V == 2) {
                store_two_streaming(to, z[0], z[1]);
            } else {
                store_streaming(to, z[0]);
            }
        });
    } else {
        each([](Out* to, const Vec(&z)[V]) DIGAN_FAST_INLINE_LAMBDA {
            if constexpr (V == 2) {
                store_two(to, z[0], z[1]);
            } else {
                store(to, z[0]);
            }
        });
    }
}

// Σ_k x[r][k] · panels[k] for p.rows rows of elements `Stored`, packed into p.packed first. A tile
// begins as start(tile, row, column) sets it and ends in finish(tile, row, column);
// ahead(r, row, column) is called for each of its rows r during the product, on AMX before it.
template <class Stored, class Product, class Ahead, class Start, class Finish>
static DIGAN_FAST_INLINE void multiply_rows(const Product& p, const Ahead& ahead,
                                            const Start& start, const Finish& finish) {
    using T = Packed<Stored>;
    const int64_t depth = packed_depth<T>(p.depth);
    T* const packed = panel_at<T>(p.packed, 0, depth);
    pack_rows(static_cast<const Stored*>(p.x), p.x_stride, p.rows, p.depth, packed);
    const auto on_amx = [&](auto mr, int64_t row, int64_t n, int64_t width,
                            auto& due) DIGAN_FAST_INLINE_LAMBDA {
        for (int64_t r = 0; r < decltype(mr)::value; ++r) ahead(r, row, n);
        amx_product<decltype(mr)::value, Streamed::panel>(
            due.sums(), depth, packed + row * depth, panel_at<T>(p.panels, n, depth), width, due);
    };
    const auto finish_slice = [&](const float* sums, int64_t row, int64_t n)
                                  DIGAN_FAST_INLINE_LAMBDA {
                                      Tile<kSliceRows> tile;
                                      start(tile, row, n);
                                      add_rows(tile, sums);
                                      finish(tile, row, n);
                                  };
    for_each_tile_of_rows<T, 1>(
        p.rows, p.columns, [](int64_t, int64_t) {}, on_amx, finish_slice,
        [&](auto mr, auto vectors, int64_t row, int64_t n, int64_t width) {
            constexpr int R = decltype(mr)::value, V = decltype(vectors)::value;
            Tile<R, V> tile;
            start(tile, row, n);
            microkernel(tile, depth, packed + row * depth, R, panel_at<T>(p.panels, n, depth),
                        width, [&](int64_t r) DIGAN_FAST_INLINE_LAMBDA { ahead(r, row, n); });
            finish(tile, row, n);
        });
}

}  // namespace digan_fast::DIGAN_FAST_ISA
