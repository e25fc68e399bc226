#pragma once

// Products of float32 matrices as terms, on AMX. Six products of bfloat16 take 6/16 of the time of
// FMA's, at 1024 operations a cycle instead of 64.

#include "gemm/amx_product-inl.h"
#include "gemm/terms_rows_kernel.h"
#include "simd/terms-inl.h"

#if DIGAN_FAST_AMX

namespace digan_fast::DIGAN_FAST_ISA {

// Products of terms, i + j ≤ 2.
constexpr int kProductsOfTerms = 6;

// sums[r] = Σ_k rows[k][r] · columns[k], [32][32]. For each step of 32 elements along K, `rows` has
// two tiles [16][16 pairs] of each term, and `columns` [16 pairs][32] of each. Calls due.slices()
// and ahead(), which prefetches, after each four dots.
template <class Epilogues, class Ahead>
static DIGAN_FAST_INLINE void terms_product(const ProductSums<float>& sums, int64_t steps,
                                            const Bf16x2* rows, const Bf16x2* columns,
                                            Epilogues& due, const Ahead& ahead) {
    SumsInTiles<float>& tiles = sums.tiles;
    const auto load_rows = [&](int term) DIGAN_FAST_INLINE_LAMBDA {
        const Bf16x2* const two = rows + 2 * term * kTmmElements;
        load_tmm<4>(two, 4 * kTmmSide);
        load_tmm<5>(two + kTmmElements, 4 * kTmmSide);
    };
    const auto load_columns = [&](int term) DIGAN_FAST_INLINE_LAMBDA {
        const Bf16x2* const two = columns + 2 * term * kTmmElements;
        load_tmm<6>(two, 4 * kNR);
        load_tmm<7>(two + kTmmSide, 4 * kNR);
    };
    due.expect(kProductsOfTerms * steps);
    const auto multiply = [&](bool first) DIGAN_FAST_INLINE_LAMBDA {
        if (first) tiles.leave<0>();
        dot_tmm<0, 4, 6>(Bf16x2{});
        if (first) tiles.leave<1>();
        dot_tmm<1, 4, 7>(Bf16x2{});
        if (first) tiles.leave<2>();
        dot_tmm<2, 5, 6>(Bf16x2{});
        if (first) tiles.leave<3>();
        dot_tmm<3, 5, 7>(Bf16x2{});
        if (first) {
            due.first_slices();
        } else {
            due.slices();
        }
        ahead();
    };
    // Between two products one operand stays: 14 loads of tiles, not 24.
    for (int64_t k = 0; k < steps; ++k, rows += kStepElements, columns += kStepElements) {
        load_rows(2);
        load_columns(0);
        multiply(k == 0);
        load_rows(0);
        multiply(false);
        load_columns(2);
        multiply(false);
        load_columns(1);
        multiply(false);
        load_rows(1);
        multiply(false);
        load_columns(0);
        multiply(false);
    }
    tiles.stay(sums.to);
}

// The operand each of whose panels meets all panels of the other one before its next.
enum class Outer { rows, columns };
// Where the outer operand is. Panels from memory follow one another there; each is prefetched
// during the products of the one before.
enum class Panels { cached, in_memory };

struct TermsSize {
    int64_t rows, columns, depth;
};

// Σ_k rows[k] · columns[k] for each square of 32 by 32 sums, whose slices of kRows rows go through
// finish(sums, row, column) during the next one's product. of_row(row) and of_column(column)
// are the panels that begin there; the outer operand's are asked for in order, once each.
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
    SumBuffers<float, 1> buffers;
    DueEpilogue<float, 1, Finish, kRows> due(buffers, finish);
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
            terms_product(due.sums(), steps, rows, columns, due, [&] DIGAN_FAST_INLINE_LAMBDA {
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
