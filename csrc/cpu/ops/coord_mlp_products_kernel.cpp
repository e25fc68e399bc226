#include "ops/coord_mlp_products_kernel.h"

#include "gemm/row_product-inl.h"
#include "gemm/terms_product-inl.h"
#include "gemm/terms_squares-inl.h"
#include "ops/mlp_activations-inl.h"

namespace digan_fast::DIGAN_FAST_ISA {
namespace {

// Prefetches a tile's row of a matrix that its epilogue reads or writes; null: nothing. Strips of
// deep networks lie in the last-level cache: without this, forward and backward of five layers of
// 512 take 5 % longer.
DIGAN_FAST_INLINE void prefetch_row(const float* x, int64_t at) {
    constexpr int64_t kLine = 16;
    for (int64_t i = 0; x && i < kNR; i += kLine) prefetch(x + at + i);
}

// What a tile that begins at column n has of [columns]; zero behind the last one.
template <int V>
struct ColumnValues {
    Vec v[V];
    DIGAN_FAST_INLINE ColumnValues(const float* from, int64_t n, int64_t columns) {
        for (int i = 0; i < V; ++i) {
            const int64_t column = n + i * Vec::width;
            v[i] = load_some(from + column, columns - column);
        }
    }
};

template <int R, int V>
DIGAN_FAST_INLINE void start_tile(const MlpActivation& p, Tile<R, V>& tile, int64_t n) {
    const ColumnValues<V> bias(p.bias, n, p.factors.columns);
    for_each_vector(tile, [&](Vec& z, int, int v) DIGAN_FAST_INLINE_LAMBDA { z = bias.v[v]; });
}

// v = scale∘z + shift
template <int R, int V>
DIGAN_FAST_INLINE void modulate(const MlpActivation& p, Tile<R, V>& tile, int64_t n) {
    if (!p.scale) return;
    const ColumnValues<V> scale(p.scale, n, p.factors.columns);
    for_each_vector(tile,
                    [&](Vec& z, int, int v) DIGAN_FAST_INLINE_LAMBDA { z = mul(z, scale.v[v]); });
    if (!p.shift) return;
    const ColumnValues<V> shift(p.shift, n, p.factors.columns);
    for_each_vector(tile,
                    [&](Vec& z, int, int v) DIGAN_FAST_INLINE_LAMBDA { z = add(z, shift.v[v]); });
}

// Stores z, slope and y of a tile of z, which becomes y.
template <int R, int V>
DIGAN_FAST_INLINE void finish_tile(const MlpActivation& p, Tile<R, V>& tile, int64_t row,
                                   int64_t n) {
    constexpr int64_t kWidth = V * Vec::width;
    const int64_t first = row * p.stride + n;
    if (p.z) store_tile(tile, p.z + first, p.stride);
    modulate(p, tile, n);
    alignas(64) float values[R][kWidth], y[R][kWidth], unused[kWidth];
    store_tile(tile, values[0], kWidth);
    for (int r = 0; r < R; ++r) {
        const int64_t at = first + r * p.stride;
        activate_n(p.activation, values[r], p.y ? p.y + at : y[r], p.slope ? p.slope + at : unused,
                   kWidth);
    }
    for_each_vector(tile, [&](Vec& z, int r, int v) DIGAN_FAST_INLINE_LAMBDA {
        z = load((p.y ? p.y + first + r * p.stride : y[r]) + v * Vec::width);
    });
}

// sums[n…] += Σ_r tile[r], if wanted: not null.
template <int R, int V>
DIGAN_FAST_INLINE void add_rows_of_tile(float* sums, int64_t n, int64_t columns,
                                        const Tile<R, V>& tile) {
    if (!sums) return;
    for (int v = 0; v < V; ++v) {
        Vec sum = tile.v[0][v];
#pragma GCC unroll 12
        for (int r = 1; r < R; ++r) sum = add(sum, tile.v[r][v]);
        const int64_t column = n + v * Vec::width, count = columns - column;
        store_some(sums + column, count, add(load_some(sums + column, count), sum));
    }
}

// dv, the sums over its rows, and dz of a tile of x · panels.
template <int R, int V>
DIGAN_FAST_INLINE void apply_gradient(const MlpActivationGradient& p, Tile<R, V>& tile, int64_t row,
                                      int64_t n) {
    const int64_t columns = p.factors.columns;
    const auto combine = [&](Tile<R, V>& to, const float* with,
                             const auto& how) DIGAN_FAST_INLINE_LAMBDA {
        const float* const from = with + row * p.stride + n;
        for_each_vector(to, [&](Vec& x, int r, int v) DIGAN_FAST_INLINE_LAMBDA {
            x = how(x, load(from + r * p.stride + v * Vec::width));
        });
    };
    const auto times = [](Vec x, Vec by) DIGAN_FAST_INLINE_LAMBDA { return mul(x, by); };
    if (p.selects) {
        const Vec zero = broadcast(0.0f);
        combine(tile, p.slope, [&](Vec x, Vec slope) DIGAN_FAST_INLINE_LAMBDA {
            return where_at_most(slope, zero, zero, x);
        });
    } else if (p.slope) {
        combine(tile, p.slope, times);
    }
    if (p.dscale) {
        Tile<R, V> products = tile;
        combine(products, p.z, times);
        add_rows_of_tile(p.dscale, n, columns, products);
    }
    add_rows_of_tile(p.dshift, n, columns, tile);
    if (p.scale) {
        const ColumnValues<V> scale(p.scale, n, columns);
        for_each_vector(
            tile, [&](Vec& x, int, int v) DIGAN_FAST_INLINE_LAMBDA { x = mul(x, scale.v[v]); });
    }
    add_rows_of_tile(p.dbias, n, columns, tile);
}

template <int R, int V>
DIGAN_FAST_INLINE void finish_tile(const MlpActivationGradient& p, Tile<R, V>& tile, int64_t row,
                                   int64_t n) {
    apply_gradient(p, tile, row, n);
    void* const dz = element_at(p.dz, p.dz_number, row * p.dz_stride + n);
    if (p.dz_number == Number::bfloat16) {
        store_tile(tile, static_cast<Bfloat16*>(dz), p.dz_stride);
    } else {
        store_tile(tile, static_cast<float*>(dz), p.dz_stride);
    }
}

template <class Stored>
void activation(const MlpActivation& p) {
    const auto start = [&](auto& tile, int64_t, int64_t n)
                           DIGAN_FAST_INLINE_LAMBDA { start_tile(p, tile, n); };
    const auto finish = [&](auto& tile, int64_t row, int64_t n)
                            DIGAN_FAST_INLINE_LAMBDA { finish_tile(p, tile, row, n); };
    const auto ahead = [&](int64_t r, int64_t row, int64_t column) DIGAN_FAST_INLINE_LAMBDA {
        prefetch_row(p.z, (row + r) * p.stride + column);
        prefetch_row(p.y, (row + r) * p.stride + column);
        prefetch_row(p.slope, (row + r) * p.stride + column);
    };
    multiply_rows<Stored>(p.factors, ahead, start, finish);
}

template <class Stored>
void activation_gradient(const MlpActivationGradient& p) {
    const auto start = [&](auto& tile, int64_t, int64_t) DIGAN_FAST_INLINE_LAMBDA { tile = {}; };
    const auto finish = [&](auto& tile, int64_t row, int64_t n)
                            DIGAN_FAST_INLINE_LAMBDA { finish_tile(p, tile, row, n); };
    const auto ahead = [&](int64_t r, int64_t row, int64_t column) DIGAN_FAST_INLINE_LAMBDA {
        prefetch_row(p.slope, (row + r) * p.stride + column);
        prefetch_row(p.dscale ? p.z : nullptr, (row + r) * p.stride + column);
    };
    multiply_rows<Stored>(p.factors, ahead, start, finish);
}

#if DIGAN_FAST_AMX

// A slice of two rows: a pair of points of a weight's gradient.
constexpr int kPairRows = 2;
using Pair = Tile<kPairRows>;

// call(tile) with those of a pair's rows that are among the last `left`; the other ones become 0.
template <class Call>
DIGAN_FAST_INLINE void for_rows_left(Pair& x, int64_t left, const Call& call) {
    if (left >= kPairRows) return call(x);
    Tile<1> first{{{x.v[0][0], x.v[0][1]}}};
    x = {};
    if (left < 1) return;
    call(first);
    for (int v = 0; v < 2; ++v) x.v[0][v] = first.v[0][v];
}

// Stores a pair's row, or both rows, as terms of a matrix [rows, columns].
void store_as_rows(float* panels, int64_t columns, int64_t row, int64_t column, const Pair& x) {
    Bf16x2* const to = panel(panels, row / kTermsSide * kTermsSide, columns) +
                       column / kTermsSide * kStepElements + row % kTermsSide * kTmmSide;
    for (int r = 0; r < kPairRows; ++r)
        store_row_terms(to + r * kTmmSide, 2 * kTmmElements, x.v[r][0], x.v[r][1]);
}
void store_as_columns(float* panels, int64_t rows, int64_t row, int64_t column, const Pair& x) {
    Bf16x2* const to = panel(panels, column, rows) + row / kTermsSide * kStepElements +
                       row % kTermsSide / 2 * kTermsSide;
    for (int v = 0; v < 2; ++v)
        store_terms(to + v * Vec::width, 2 * kTmmElements, x.v[0][v], x.v[1][v]);
}

// finish(sums, row, column) for each pair of rows of x · panels.
template <class Finish>
void multiply_terms(const RowFactors& p, const Finish& finish) {
    pack_rows_of_terms(static_cast<const float*>(p.x), p.x_stride, p.rows, p.depth, p.packed);
    terms_products<Outer::columns, Panels::in_memory, kPairRows>(
        {.rows = p.rows, .columns = p.columns, .depth = p.depth},
        [&](int64_t r) { return panel(p.packed, r, p.depth); },
        [&](int64_t n) { return panel(p.panels, n, p.depth); }, finish);
}

void terms_activation(const MlpActivation& p) {
    const int64_t rows = p.factors.rows, columns = p.factors.columns;
    multiply_terms(p.factors, [&](const float* sums, int64_t row, int64_t column) {
        Pair y;
        start_tile(p, y, column);
        add_rows(y, sums);
        for_rows_left(y, rows - row, [&](auto& tile) { finish_tile(p, tile, row, column); });
        if (p.y_rows) store_as_rows(p.y_rows, columns, row, column, y);
        if (p.y_columns) store_as_columns(p.y_columns, rows, row, column, y);
    });
}

void terms_activation_gradient(const MlpActivationGradient& p) {
    const int64_t rows = p.factors.rows, columns = p.factors.columns;
    multiply_terms(p.factors, [&](const float* sums, int64_t row, int64_t column) {
        Pair dz = tile_of<kPairRows>(sums);
        for_rows_left(dz, rows - row, [&](auto& tile) { finish_tile(p, tile, row, column); });
        if (p.dz_rows) store_as_rows(p.dz_rows, columns, row, column, dz);
    });
}

#else

void terms_activation(const MlpActivation&) {}
void terms_activation_gradient(const MlpActivationGradient&) {}

#endif

}  // namespace

void mlp_activation(const MlpActivation& p) {
    const AmxScope amx;
    if (p.factors.terms) return terms_activation(p);
    with_stored(p.factors.number, [&](auto x) { activation<typename decltype(x)::Type>(p); });
}

void mlp_activation_gradient(const MlpActivationGradient& p) {
    const AmxScope amx;
    if (p.factors.terms) return terms_activation_gradient(p);
    with_stored(p.factors.number,
                [&](auto x) { activation_gradient<typename decltype(x)::Type>(p); });
}

}  // namespace digan_fast::DIGAN_FAST_ISA
