#include "ops/coord_mlp_products_kernel.h"

#include "gemm/row_product-inl.h"
#include "gemm/terms_product-inl.h"
#include "gemm/terms_squares-inl.h"
#include "ops/mlp_activations-inl.h"

namespace digan_fast::DIGAN_FAST_ISA {
namespace {

// sums[column…] += x, if wanted: not null.
DIGAN_FAST_INLINE void add_columns(float* sums, int64_t column, int64_t columns, Vec x) {
    if (!sums) return;
    const int64_t count = columns - column;
    store_some(sums + column, count, add(load_some(sums + column, count), x));
}

// Prefetches a tile's row of a matrix that its epilogue reads or writes; null: nothing. Strips of
// deep networks lie in the last-level cache: without this, forward and backward of five layers of
// 512 take 5 % longer.
DIGAN_FAST_INLINE void prefetch_row(const float* x, int64_t at) {
    constexpr int64_t kLine = 16;
    for (int64_t i = 0; x && i < kNR; i += kLine) prefetch(x + at + i);
}

template <int R, int V>
DIGAN_FAST_INLINE void start_tile(const MlpActivation& p, Tile<R, V>& tile, int64_t n) {
    Vec bias[V];
    for (int v = 0; v < V; ++v) {
        const int64_t column = n + v * Vec::width;
        bias[v] = load_some(p.bias + column, p.factors.columns - column);
    }
    for_each_vector(tile, [&](Vec& z, int, int v) DIGAN_FAST_INLINE_LAMBDA { z = bias[v]; });
}

template <int R, int V>
DIGAN_FAST_INLINE void finish_tile(const MlpActivation& p, const Tile<R, V>& tile, int64_t row,
                                   int64_t n) {
    constexpr int64_t kWidth = V * Vec::width;
    alignas(64) float z[R][kWidth];
    float unused[kWidth];
    store_tile(tile, z[0], kWidth);
    for (int r = 0; r < R; ++r) {
        const int64_t at = (row + r) * p.stride + n;
        activate_n(p.activation, z[r], p.y ? p.y + at : unused, p.slope ? p.slope + at : unused,
                   kWidth);
    }
}

template <int R, int V>
DIGAN_FAST_INLINE void finish_tile(const MlpActivationGradient& p, Tile<R, V>& tile, int64_t row,
                                   int64_t n) {
    if (p.slope) {
        const float* const slope = p.slope + row * p.slope_stride + n;
        for_each_vector(tile, [&](Vec& z, int r, int v) DIGAN_FAST_INLINE_LAMBDA {
            z = mul(z, load(slope + r * p.slope_stride + v * Vec::width));
        });
    }
    void* const dz = element_at(p.dz, p.dz_number, row * p.dz_stride + n);
    if (p.dz_number == Number::bfloat16) {
        store_tile(tile, static_cast<Bfloat16*>(dz), p.dz_stride);
    } else {
        store_tile(tile, static_cast<float*>(dz), p.dz_stride);
    }
    for (int v = 0; v < V; ++v) {
        Vec sum = tile.v[0][v];
#pragma GCC unroll 12
        for (int r = 1; r < R; ++r) sum = add(sum, tile.v[r][v]);
        add_columns(p.dbias, n + v * Vec::width, p.factors.columns, sum);
        add_columns(p.dshift, n + v * Vec::width, p.factors.columns, sum);
    }
}

template <class Stored>
void activation(const MlpActivation& p) {
    const auto start = [&](auto& tile, int64_t, int64_t n)
                           DIGAN_FAST_INLINE_LAMBDA { start_tile(p, tile, n); };
    const auto finish = [&](const auto& tile, int64_t row, int64_t n)
                            DIGAN_FAST_INLINE_LAMBDA { finish_tile(p, tile, row, n); };
    const auto ahead = [&](int64_t r, int64_t row, int64_t column) DIGAN_FAST_INLINE_LAMBDA {
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
        prefetch_row(p.slope, (row + r) * p.slope_stride + column);
    };
    multiply_rows<Stored>(p.factors, ahead, start, finish);
}

#if DIGAN_FAST_AMX

// A slice of two rows: a pair of points of a weight's gradient.
constexpr int kPairRows = 2;
struct Pair {
    Vec v[kPairRows][2];
};

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
        Pair y{};
        for (int r = 0; r < kPairRows && row + r < rows; ++r) {
            alignas(64) float z[kTermsSide], values[kTermsSide], unused[kTermsSide];
            for (int v = 0; v < 2; ++v) {
                const int64_t n = column + v * Vec::width;
                store(z + v * Vec::width, add(load(sums + r * kNR + v * Vec::width),
                                              load_some(p.bias + n, columns - n)));
            }
            const int64_t at = (row + r) * p.stride + column;
            activate_n(p.activation, z, values, p.slope ? p.slope + at : unused, kTermsSide);
            if (p.y) memcpy(p.y + at, values, sizeof values);
            for (int v = 0; v < 2; ++v) y.v[r][v] = load(values + v * Vec::width);
        }
        if (p.y_rows) store_as_rows(p.y_rows, columns, row, column, y);
        if (p.y_columns) store_as_columns(p.y_columns, rows, row, column, y);
    });
}

void terms_activation_gradient(const MlpActivationGradient& p) {
    const int64_t rows = p.factors.rows, columns = p.factors.columns;
    multiply_terms(p.factors, [&](const float* sums, int64_t row, int64_t column) {
        Pair dz{};
        for (int r = 0; r < kPairRows && row + r < rows; ++r)
            for (int v = 0; v < 2; ++v) {
                const int64_t n = column + v * Vec::width;
                const Vec dy = load(sums + r * kNR + v * Vec::width);
                dz.v[r][v] = p.slope ? mul(dy, load(p.slope + (row + r) * p.slope_stride + n)) : dy;
                void* const to = element_at(p.dz, p.dz_number, (row + r) * p.dz_stride + n);
                if (p.dz_number == Number::bfloat16) {
                    store(static_cast<Bfloat16*>(to), dz.v[r][v]);
                } else {
                    store(static_cast<float*>(to), dz.v[r][v]);
                }
            }
        for (int v = 0; v < 2; ++v) {
            const int64_t n = column + v * Vec::width;
            const Vec sum = add(dz.v[0][v], dz.v[1][v]);
            add_columns(p.dbias, n, columns, sum);
            add_columns(p.dshift, n, columns, sum);
        }
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
