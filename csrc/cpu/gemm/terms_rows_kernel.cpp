#include "gemm/terms_rows_kernel.h"

#include "gemm/terms_product-inl.h"
#include "gemm/terms_squares-inl.h"

namespace digan_fast::DIGAN_FAST_ISA {

#if DIGAN_FAST_AMX

namespace {

// A block along K: its columns, 24 KB, stay in the level-one cache while up to `kRowPanels` panels
// of rows pass by.
constexpr int64_t kBlockSteps = 4, kRowPanels = 8;
// Columns that come from memory are prefetched this many blocks before their use.
constexpr int64_t kBlocksAhead = 2;

enum class Columns { cached, in_memory };

// product(row, column) for each square of the result, panels of rows within panels of columns, and
// finish(sums, row, column) for its slices during the next one's.
template <Columns kColumns, class Start, class OfRow, class OfColumn, class Finish>
void for_each_square(int64_t rows, int64_t columns, int64_t depth, const Start& start,
                     const OfRow& of_row, const OfColumn& of_column, const Finish& finish) {
    DueEpilogue<float, 1, Finish> due(finish);
    alignas(64) float partial[kRowPanels][kProductSums];
    const int64_t steps = whole_squares(depth) / kTermsSide;
    const auto block = [&](int64_t first, int64_t last, int64_t n, int64_t k) {
        constexpr int64_t kLine = 64 / sizeof(Bf16x2);
        constexpr int64_t kLines = kBlockSteps * kStepElements / kLine;
        const int64_t some = steps - k < kBlockSteps ? steps - k : kBlockSteps;
        const bool whole = k + some == steps;
        const Bf16x2* const from = of_column(n) + k * kStepElements;
        const Bf16x2* const ahead = from + kBlocksAhead * kBlockSteps * kStepElements;
        for (int64_t r = first; r < last; r += kTermsSide) {
            const int64_t index = (r - first) / kTermsSide;
            const int64_t count = (last - first + kTermsSide - 1) / kTermsSide;
            float* const sums = partial[index];
            terms_product(whole ? due.sums() : sums, k ? sums : nullptr, some,
                          of_row(r) + k * kStepElements, from, [&](const Pace& pace) {
                              due.slices(pace);
                              if (kColumns == Columns::cached) return;
                              const auto [call, calls] = pace.among(index, count);
                              for (int64_t line = kLines * call / calls;
                                   line < kLines * (call + 1) / calls; ++line)
                                  _mm_prefetch(ahead + line * kLine, _MM_HINT_T1);
                          });
            if (whole) due.follow(kTermsSide, r, n);
        }
    };
    for (int64_t n = 0; n < columns; n += kTermsSide) {
        start(n);
        for (int64_t first = 0; first < rows; first += kRowPanels * kTermsSide) {
            const int64_t end = first + kRowPanels * kTermsSide;
            for (int64_t k = 0; k < steps; k += kBlockSteps)
                block(first, end < rows ? end : rows, n, k);
        }
    }
    due.finish();
}

// The panel of 32 rows or columns that begins at `first`.
const Bf16x2* panel(const float* panels, int64_t first, int64_t depth) {
    return reinterpret_cast<const Bf16x2*>(panels) + terms_size(first, depth);
}
Bf16x2* panel(float* panels, int64_t first, int64_t depth) {
    return reinterpret_cast<Bf16x2*>(panels) + terms_size(first, depth);
}

}  // namespace

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
    for (int64_t r = 0; r < p.rows; r += kTermsSide) {
        Bf16x2* to = panel(p.packed, r, p.depth);
        for (int64_t k = 0; k < p.depth; k += kTermsSide, to += kStepElements)
            store_rows(p.x + r * p.x_stride + k, p.x_stride, p.rows - r, p.depth - k, to);
    }
    const auto finish = [&](const float* sums, int64_t row, int64_t n) {
        for (int r = 0; r < kSliceRows && row + r < p.rows; ++r)
            for (int v = 0; v < 2; ++v) {
                const int64_t column = n + v * Vec::width;
                const Vec sum = load(sums + r * kNR + v * Vec::width);
                store(p.out + (row + r) * p.out_stride + column,
                      p.bias ? add(sum, load_some(p.bias + column, p.columns - column)) : sum);
            }
    };
    for_each_square<Columns::in_memory>(
        p.rows, p.columns, p.depth, [](int64_t) {},
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
    const auto pack_tail = [&](int64_t i) {
        Bf16x2* to = tail;
        for (int64_t r = 0; r < p.rows; r += kTermsSide, to += kStepElements)
            store_columns(p.x + r * p.x_stride + i, p.x_stride, p.rows - r, p.inputs - i, to);
    };
    const auto finish = [&](const float* sums, int64_t n, int64_t i) {
        if (p.in_squares) {
            float* const to = p.into + terms_element(n, i, p.outputs);
            for (int v = 0; v < 2 * kSliceRows; ++v) {
                const int64_t at = v * Vec::width;
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
    for_each_square<Columns::cached>(
        p.outputs, p.inputs, p.rows, pack_tail,
        [&](int64_t n) { return panel(p.packed_dz, n, p.rows); }, [&](int64_t) { return tail; },
        finish);
}

#else

void pack_terms_panels(const TermsPanelPacking&) {}
void terms_row_gemm(const TermsRowGemm&) {}
void terms_weight_gradient(const TermsWeightGradient&) {}

#endif

}  // namespace digan_fast::DIGAN_FAST_ISA
