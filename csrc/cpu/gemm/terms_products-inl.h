#pragma once

// Products of whole matrices of float32 as terms, on AMX.

#include "gemm/terms_product-inl.h"
#include "gemm/terms_rows_kernel.h"

#if DIGAN_FAST_AMX

namespace digan_fast::DIGAN_FAST_ISA {

// The operand each of whose panels meets all panels of the other one before its next.
enum class Outer { rows, columns };
// Where the outer operand is. Panels from memory follow one another there; each is prefetched
// during the products of the one before.
enum class Panels { cached, in_memory };

struct TermsSize {
    int64_t rows, columns, depth;
};

// Σ_k rows[k] · columns[k] for each square of 32 by 32 sums, whose slices of kRows rows go through
// finish(sums, row, column) during the next one's product. of_row(row) and of_column(column) are
// the panels that begin there; the outer operand's are asked for in order, once each.
//
// A product sums over all of K at once. In blocks along K, so that a part of the outer panel stays
// in the level-one cache, it takes a tenth longer: the slices of a square then overlap with one
// block.
template <Outer kOuter, Panels kOuterPanels, int kRows, class OfRow, class OfColumn, class Finish>
static inline void terms_products(const TermsSize& size, const OfRow& of_row,
                                  const OfColumn& of_column, const Finish& finish) {
    constexpr bool kOuterRows = kOuter == Outer::rows;
    constexpr int64_t kLine = 64 / sizeof(Bf16x2);
    const int64_t outer_end = kOuterRows ? size.rows : size.columns;
    const int64_t inner_end = kOuterRows ? size.columns : size.rows;
    const int64_t steps = whole_squares(size.depth) / kTermsSide;
    const int64_t panel_elements = steps * kStepElements;
    const int64_t calls = whole_squares(inner_end) / kTermsSide * steps * kProductsOfTerms;
    // The same for every call: with uneven shares a product takes 3 to 4 % longer.
    const int64_t lines = (panel_elements / kLine + calls - 1) / calls;
    DueEpilogue<float, 1, Finish, kRows> due(finish);
    for (int64_t outer = 0; outer < outer_end; outer += kTermsSide) {
        const Bf16x2* panel;
        if constexpr (kOuterRows) {
            panel = of_row(outer);
        } else {
            panel = of_column(outer);
        }
        const Bf16x2* ahead = panel + panel_elements;
        for (int64_t inner = 0; inner < inner_end; inner += kTermsSide) {
            const int64_t row = kOuterRows ? outer : inner, column = kOuterRows ? inner : outer;
            const Bf16x2 *rows, *columns;
            if constexpr (kOuterRows) {
                rows = panel;
                columns = of_column(inner);
            } else {
                rows = of_row(inner);
                columns = panel;
            }
            terms_product(due.sums(), steps, rows, columns, [&](const Pace& pace) {
                due.slices(pace);
                if constexpr (kOuterPanels == Panels::in_memory)
                    for (int64_t line = 0; line < lines; ++line, ahead += kLine)
                        _mm_prefetch(ahead, _MM_HINT_T1);
            });
            due.follow(kTermsSide, row, column);
        }
    }
    due.finish();
}

}  // namespace digan_fast::DIGAN_FAST_ISA

#endif
