#include "ops/coord_mlp_terms_kernel.h"

#include "gemm/terms_product-inl.h"
#include "gemm/terms_squares-inl.h"
#include "ops/mlp_activations-inl.h"

namespace digan_fast::DIGAN_FAST_ISA {

#if DIGAN_FAST_AMX

namespace {

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

DIGAN_FAST_INLINE void add_some(float* sums, int64_t count, Vec x) {
    store_some(sums, count, add(load_some(sums, count), x));
}

// finish(sums, row, column) for each pair of rows of x · panels.
template <class Params, class Finish>
void multiply(const Params& p, const Finish& finish) {
    const AmxScope amx;
    pack_rows(p);
    terms_products<Outer::columns, Panels::in_memory, kPairRows>(
        {.rows = p.rows, .columns = p.columns, .depth = p.depth},
        [&](int64_t r) { return panel(p.packed, r, p.depth); },
        [&](int64_t n) { return panel(p.panels, n, p.depth); }, finish);
}

}  // namespace

void terms_activation(const TermsActivation& p) {
    multiply(p, [&](const float* sums, int64_t row, int64_t column) {
        Pair y{};
        for (int r = 0; r < kPairRows && row + r < p.rows; ++r) {
            alignas(64) float z[kTermsSide], values[kTermsSide], unused[kTermsSide];
            for (int v = 0; v < 2; ++v) {
                const int64_t n = column + v * Vec::width;
                store(z + v * Vec::width, add(load(sums + r * kNR + v * Vec::width),
                                              load_some(p.bias + n, p.columns - n)));
            }
            const int64_t at = (row + r) * p.stride + column;
            activate_n(p.activation, z, values, p.slope ? p.slope + at : unused, kTermsSide);
            if (p.y) memcpy(p.y + at, values, sizeof values);
            for (int v = 0; v < 2; ++v) y.v[r][v] = load(values + v * Vec::width);
        }
        if (p.y_rows) store_as_rows(p.y_rows, p.columns, row, column, y);
        if (p.y_columns) store_as_columns(p.y_columns, p.rows, row, column, y);
    });
}

void terms_activation_gradient(const TermsActivationGradient& p) {
    multiply(p, [&](const float* sums, int64_t row, int64_t column) {
        Pair dz{};
        for (int r = 0; r < kPairRows && row + r < p.rows; ++r)
            for (int v = 0; v < 2; ++v) {
                const int64_t n = column + v * Vec::width, some = p.columns - n;
                const Vec dy = load(sums + r * kNR + v * Vec::width);
                dz.v[r][v] = p.slope ? mul(dy, load(p.slope + (row + r) * p.slope_stride + n)) : dy;
                store(p.dz + (row + r) * p.dz_stride + n, dz.v[r][v]);
                if (p.dbias) add_some(p.dbias + n, some, dz.v[r][v]);
                if (p.dshift) add_some(p.dshift + n, some, dz.v[r][v]);
            }
        store_as_rows(p.dz_rows, p.columns, row, column, dz);
    });
}

#else

void terms_activation(const TermsActivation&) {}
void terms_activation_gradient(const TermsActivationGradient&) {}

#endif

}  // namespace digan_fast::DIGAN_FAST_ISA
