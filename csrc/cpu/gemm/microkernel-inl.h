#pragma once

// Matrix products in register tiles: MR rows × NR columns, two vectors. The rows are packed in
// panels [depth][rows] and broadcast element by element; the columns are [depth][stride].

#include "gemm/isa_traits-inl.h"

namespace digan_fast::DIGAN_FAST_ISA {

template <int R, int V = 2>
struct Tile {
    Vec v[R][V];
};

// Loops compile sooner: where vectors are narrow in a quarter of the time, and with sanitizers
// render/block_kernel.cpp in 19 s instead of 175.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kUnrollsTiles = false;
#else
constexpr bool kUnrollsTiles = Vec::width >= 8;
#endif

// call(vector, r, v) for each vector of a tile or of a const one. GCC unrolls loops after it has
// decided what is in registers, so that with loops epilogues kept their tiles in memory.
template <class T, class Call>
static DIGAN_FAST_INLINE void for_each_vector(T& tile, const Call& call) {
    constexpr int R = sizeof tile.v / sizeof tile.v[0], V = sizeof tile.v[0] / sizeof(Vec);
    if constexpr (kUnrollsTiles) {
        unrolled<R * V>([&](auto i) DIGAN_FAST_INLINE_LAMBDA {
            call(tile.v[i.value / V][i.value % V], i.value / V, i.value % V);
        });
    } else {
        for (int r = 0; r < R; ++r)
            for (int v = 0; v < V; ++v) call(tile.v[r][v], r, v);
    }
}

// tile[r] += Σ_k rows[k][r] · columns[k]
template <int R, int V>
static DIGAN_FAST_INLINE void microkernel(Tile<R, V>& tile, int64_t depth, const float* rows,
                                          int64_t row_stride, const float* columns,
                                          int64_t column_stride) {
    for (int64_t k = 0; k < depth; ++k, rows += row_stride, columns += column_stride) {
        Vec a[V];
        for (int v = 0; v < V; ++v) a[v] = load(columns + v * Vec::width);
        for (int r = 0; r < R; ++r) {
            const Vec s = broadcast(rows[r]);
            for (int v = 0; v < V; ++v) tile.v[r][v] = fma(s, a[v], tile.v[r][v]);
        }
    }
}

#if defined(__AVX512BF16__)
template <int R, int V>
static DIGAN_FAST_INLINE void microkernel(Tile<R, V>& tile, int64_t depth, const Bf16x2* rows,
                                          int64_t row_stride, const Bf16x2* columns,
                                          int64_t column_stride) {
    for (int64_t k = 0; k < depth; ++k, rows += row_stride, columns += column_stride) {
        __m512bh a[V];
        for (int v = 0; v < V; ++v) a[v] = load_bf16x2(columns + v * Vec::width);
        for (int r = 0; r < R; ++r) {
            const __m512bh s = broadcast_bf16x2(rows[r]);
            for (int v = 0; v < V; ++v) tile.v[r][v].v = _mm512_dpbf16_ps(tile.v[r][v].v, s, a[v]);
        }
    }
}

// float32 rows [2·depth][row_stride] times columns in pairs.
template <int R>
static DIGAN_FAST_INLINE void microkernel(Tile<R>& tile, int64_t depth, const float* rows,
                                          int64_t row_stride, const Bf16x2* columns,
                                          int64_t column_stride) {
    for (int64_t k = 0; k < depth; ++k, rows += 2 * row_stride, columns += column_stride) {
        for (int v = 0; v < 2; ++v) {
            const __m512i pairs = _mm512_loadu_si512(columns + v * Vec::width);
            const Vec even = even_channels(pairs), odd = odd_channels(pairs);
            for (int r = 0; r < R; ++r) {
                tile.v[r][v] = fma(broadcast(rows[r]), even, tile.v[r][v]);
                tile.v[r][v] = fma(broadcast(rows[row_stride + r]), odd, tile.v[r][v]);
            }
        }
    }
}
#endif

// The same in parts along K, with call(r) for four of the rows before each: it spreads prefetches
// over the product, whose own loads many at once would hold up. In a part for each row, forward
// and backward of coord_mlp's layers of 256 take 1 to 2 % longer on a Zen 5 EPYC.
template <int R, int V, class T, class Call>
static DIGAN_FAST_INLINE void microkernel(Tile<R, V>& tile, int64_t depth, const T* rows,
                                          int64_t row_stride, const T* columns,
                                          int64_t column_stride, const Call& call) {
    constexpr int64_t kParts = (R + 3) / 4;
    for (int64_t part = 0, k = 0; part < kParts; ++part) {
        const int64_t end = depth * (part + 1) / kParts;
        for (int64_t r = 4 * part; r < 4 * part + 4 && r < R; ++r) call(r);
        microkernel(tile, end - k, rows + k * row_stride, row_stride, columns + k * column_stride,
                    column_stride);
        k = end;
    }
}

// Rows of kNR lanes in memory.
template <int R>
static DIGAN_FAST_INLINE Tile<R> tile_of(const float* from) {
    Tile<R> tile;
    for_each_vector(tile, [&](Vec& z, int r, int v) DIGAN_FAST_INLINE_LAMBDA {
        z = load(from + r * kNR + v * Vec::width);
    });
    return tile;
}

// tile += rows of kNR lanes in memory
template <int R>
static DIGAN_FAST_INLINE void add_rows(Tile<R>& tile, const float* from) {
    for_each_vector(tile, [&](Vec& z, int r, int v) DIGAN_FAST_INLINE_LAMBDA {
        z = add(z, load(from + r * kNR + v * Vec::width));
    });
}

template <int R>
struct IntTile {
    IntVec v[R][2];
};

// sums[r] + Σ_k rows[k][r] · columns[k]
template <int R>
static DIGAN_FAST_INLINE IntTile<R> microkernel(const IntTile<R>& start, int64_t depth,
                                                const Int8x4* rows, int64_t row_stride,
                                                const Int8x4* columns, int64_t column_stride) {
    IntTile<R> sums = start;
    for (int64_t k = 0; k < depth; ++k, rows += row_stride, columns += column_stride) {
        const Activations a = activations(load(columns));
        const Activations b = activations(load(columns + Vec::width));
#pragma GCC unroll 12
        for (int r = 0; r < R; ++r) {
            const Weights w = weights(rows[r]);
            sums.v[r][0] = dot(sums.v[r][0], a, w);
            sums.v[r][1] = dot(sums.v[r][1], b, w);
        }
    }
    return sums;
}

// Stores tile[r] to row r of out [rows][stride]; out starts at the tile's first column.
template <int R, int V, class Stored>
static DIGAN_FAST_INLINE void store_tile(const Tile<R, V>& tile, Stored* out, int64_t stride) {
    for_each_vector(tile, [&](const Vec& z, int r, int v) DIGAN_FAST_INLINE_LAMBDA {
        store(out + r * stride + v * Vec::width, z);
    });
}

#if defined(__AVX512BF16__)
// The same for pairs of rows; the partner of an odd last row is zero.
template <int R>
static DIGAN_FAST_INLINE void store_tile(const Tile<R>& tile, Bf16x2* out, int64_t stride) {
    for_each_vector(tile, [&](const Vec& even, int r, int v) DIGAN_FAST_INLINE_LAMBDA {
        if (r % 2) return;
        const Vec odd = r + 1 < R ? tile.v[r + 1][v] : broadcast(0.0f);
        store_pairs(out + r / 2 * stride + v * Vec::width, even, odd);
    });
}
#endif

}  // namespace digan_fast::DIGAN_FAST_ISA
