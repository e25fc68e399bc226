#include "gemm/terms_rows_kernel.h"

#include "gemm/terms_product-inl.h"
#include "gemm/terms_squares-inl.h"

namespace digan_fast::DIGAN_FAST_ISA {

#if DIGAN_FAST_AMX

void pack_terms_panels(const TermsPanelPacking& p) {
    const bool transposed = p.depth_stride == 1;
    for (int64_t n = 0; n < p.columns; n += kTermsSide) {
        Bf16x2* to = panel(p.panels, n, p.depth);
        for (int64_t k = 0; k < p.depth; k += kTermsSide, to += kStepElements) {
            Square square;
            const float* const from = p.weight + k * p.depth_stride + n * p.column_stride;
            if (transposed) {
                square.load(from, p.column_stride, p.columns - n, p.depth - k);
                square.transpose();
            } else {
                square.load(from, p.depth_stride, p.depth - k, p.columns - n);
            }
            square.scale(p.scale);
            square.store_columns(to);
        }
    }
}

void terms_row_gemm(const TermsRowGemm& p) {
    const AmxScope amx;
    pack_rows_of_terms(p.x, p.x_stride, p.rows, p.depth, p.packed);
    const auto finish = [&](const float* sums, int64_t row, int64_t n) {
        for (int r = 0; r < kSliceRows && row + r < p.rows; ++r)
            for (int v = 0; v < 2; ++v) {
                const int64_t column = n + v * Vec::width;
                const Vec sum = load(sums + r * kNR + v * Vec::width);
                store(p.out + (row + r) * p.out_stride + column,
                      p.bias ? add(sum, load_some(p.bias + column, p.columns - column)) : sum);
            }
    };
    terms_products<Outer::columns, Panels::in_memory, kSliceRows>(
        {.rows = p.rows, .columns = p.columns, .depth = p.depth},
        [&](int64_t r) { return panel(p.packed, r, p.depth); },
        [&](int64_t n) { return panel(p.panels, n, p.depth); }, finish);
}

void terms_weight_gradient(const TermsWeightGradient& p) {
    const AmxScope amx;
    for (int64_t n = 0; n < p.outputs; n += kTermsSide) {
        Bf16x2* to = panel(p.packed_dz, n, p.rows);
        for (int64_t r = 0; r < p.rows; r += kTermsSide, to += kStepElements) {
            Square square;
            square.load(p.dz + r * p.dz_stride + n, p.dz_stride, p.rows - r, p.outputs - n);
            square.transpose();
            square.store_rows(to);
        }
    }
    Bf16x2* const tail = panel(p.tail, 0, p.rows);
    const auto columns = [&](int64_t i) -> const Bf16x2* {
        if (!p.x) return panel(p.packed_x, i, p.rows);
        Bf16x2* to = tail;
        for (int64_t r = 0; r < p.rows; r += kTermsSide, to += kStepElements)
            store_columns(p.x + r * p.x_stride + i, p.x_stride, p.rows - r, p.inputs - i, to);
        return tail;
    };
    const auto finish = [&](const float* sums, int64_t n, int64_t i) {
        if (p.in_squares) {
            float* const to = p.into + terms_element(n, i, p.outputs);
            for (int v = 0; v < 2 * kSliceRows; ++v) {
                const int64_t at = v * Vec::width;
                prefetch(to + at + 2 * kProductSums);
                store(to + at, add(load(to + at), load(sums + at)));
            }
            return;
        }
        for (int r = 0; r < kSliceRows && n + r < p.outputs; ++r)
            for (int v = 0; v < 2; ++v) {
                const int64_t column = i + v * Vec::width, some = p.inputs - column;
                float* const to = p.into + (n + r) * p.inputs + column;
                store_some(to, some,
                           add(load_some(to, some), load(sums + r * kNR + v * Vec::width)));
            }
    };
    terms_products<Outer::columns, Panels::cached, kSliceRows>(
        {.rows = p.outputs, .columns = p.inputs, .depth = p.rows},
        [&](int64_t n) { return panel(p.packed_dz, n, p.rows); }, columns, finish);
}

#else

void pack_terms_panels(const TermsPanelPacking&) {}
void terms_row_gemm(const TermsRowGemm&) {}
void terms_weight_gradient(const TermsWeightGradient&) {}

#endif

}  // namespace digan_fast::DIGAN_FAST_ISA
