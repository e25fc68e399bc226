#pragma once

// Squares of 32 by 32 numbers as the terms of a step of a product: as rows, two tiles
// [16][16 pairs] of each term, or as columns, [16 pairs][32] of each.

#include "gemm/terms_rows_kernel.h"
#include "simd/terms-inl.h"
#include "simd/vec_bfloat16-inl.h"

#if DIGAN_FAST_AMX

namespace digan_fast::DIGAN_FAST_ISA {

static_assert(kTermsSide == 2 * kTmmSide && kTermsSide == 2 * Vec::width);

// The panel of 32 rows or columns that begins at `first`.
static inline const Bf16x2* panel(const float* panels, int64_t first, int64_t depth) {
    return reinterpret_cast<const Bf16x2*>(panels) + terms_size(first, depth);
}
static inline Bf16x2* panel(float* panels, int64_t first, int64_t depth) {
    return reinterpret_cast<Bf16x2*>(panels) + terms_size(first, depth);
}

// x[i][j] ↔ x[j][i]
static DIGAN_FAST_INLINE void transpose_vectors(__m512 (&x)[16]) {
    const __m512i lane = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    constexpr __mmask16 kMasks[4] = {0xaaaa, 0xcccc, 0xf0f0, 0xff00};
#    pragma GCC unroll 4
    for (int stage = 0; stage < 4; ++stage) {
        const int step = 1 << stage;
        const __mmask16 mask = kMasks[stage], other = static_cast<__mmask16>(~mask);
        const __m512i partner = _mm512_xor_si512(lane, _mm512_set1_epi32(step));
#    pragma GCC unroll 16
        for (int i = 0; i < 16; ++i) {
            if (i & step) continue;
            const __m512 a = x[i], b = x[i | step];
            x[i] = _mm512_mask_permutexvar_ps(a, mask, partner, b);
            x[i | step] = _mm512_mask_permutexvar_ps(b, other, partner, a);
        }
    }
}

// A square in memory, with zeros where it reaches out of its matrix.
class Square {
  public:
    DIGAN_FAST_INLINE void load(const float* x, int64_t stride, int64_t rows, int64_t columns) {
        for (int64_t r = 0; r < kTermsSide; ++r)
            for (int v = 0; v < 2; ++v) {
                const int64_t column = v * Vec::width, some = r < rows ? columns - column : 0;
                store(x_[r] + column,
                      some > 0 ? load_some(x + r * stride + column, some) : broadcast(0.0f));
            }
    }
    DIGAN_FAST_INLINE void scale(float scale) {
        for (auto& row : x_)
            for (float& x : row) x *= scale;
    }
    void transpose() {
        for (int64_t r = 0; r < kTermsSide; r += kTmmSide)
            for (int64_t n = 0; n <= r; n += kTmmSide) {
                __m512 a[16], b[16];
                for (int i = 0; i < 16; ++i) a[i] = _mm512_load_ps(x_[r + i] + n);
                transpose_vectors(a);
                if (n < r) {
                    for (int i = 0; i < 16; ++i) b[i] = _mm512_load_ps(x_[n + i] + r);
                    transpose_vectors(b);
                    for (int i = 0; i < 16; ++i) _mm512_store_ps(x_[r + i] + n, b[i]);
                }
                for (int i = 0; i < 16; ++i) _mm512_store_ps(x_[n + i] + r, a[i]);
            }
    }
    DIGAN_FAST_INLINE void store_rows(Bf16x2* to) const {
        for (int64_t r = 0; r < kTermsSide; ++r)
            store_row_terms(to + r * kTmmSide, 2 * kTmmElements, x_[r]);
    }
    DIGAN_FAST_INLINE void store_columns(Bf16x2* to) const {
        for (int64_t r = 0; r < kTermsSide; r += 2)
            for (int v = 0; v < 2; ++v)
                store_terms(to + r / 2 * kTermsSide + v * Vec::width, 2 * kTmmElements,
                            digan_fast::DIGAN_FAST_ISA::load(x_[r] + v * Vec::width),
                            digan_fast::DIGAN_FAST_ISA::load(x_[r + 1] + v * Vec::width));
    }

  private:
    alignas(64) float x_[kTermsSide][kTermsSide];
};

// The square at x, of a matrix that has `rows` and `columns` left, as rows of a product.
static DIGAN_FAST_INLINE void store_rows(const float* x, int64_t stride, int64_t rows,
                                         int64_t columns, Bf16x2* to) {
    if (rows >= kTermsSide && columns >= kTermsSide) {
        for (int64_t r = 0; r < kTermsSide; ++r)
            store_row_terms(to + r * kTmmSide, 2 * kTmmElements, x + r * stride);
        return;
    }
    Square square;
    square.load(x, stride, rows, columns);
    square.store_rows(to);
}

// Packs the rows of a product; nothing if x is null: they are packed already.
static inline void pack_rows_of_terms(const float* x, int64_t stride, int64_t rows, int64_t depth,
                                      float* packed) {
    for (int64_t r = 0; x && r < rows; r += kTermsSide) {
        Bf16x2* to = panel(packed, r, depth);
        for (int64_t k = 0; k < depth; k += kTermsSide, to += kStepElements)
            store_rows(x + r * stride + k, stride, rows - r, depth - k, to);
    }
}

// The same as columns.
static DIGAN_FAST_INLINE void store_columns(const float* x, int64_t stride, int64_t rows,
                                            int64_t columns, Bf16x2* to) {
    if (rows >= kTermsSide && columns >= kTermsSide) {
        for (int64_t r = 0; r < kTermsSide; r += 2, x += 2 * stride)
            for (int v = 0; v < 2; ++v)
                store_terms(to + r / 2 * kTermsSide + v * Vec::width, 2 * kTmmElements,
                            load(x + v * Vec::width), load(x + stride + v * Vec::width));
        return;
    }
    Square square;
    square.load(x, stride, rows, columns);
    square.store_columns(to);
}

}  // namespace digan_fast::DIGAN_FAST_ISA

#endif
