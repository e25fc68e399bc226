#pragma once

// Packing and loads for matrices whose rows are pixels; the last panel of columns is narrower.

#include "gemm/loops-inl.h"
#include "gemm/pixel_rows_kernel.h"

namespace digan_fast::DIGAN_FAST_ISA {

// Rows [count, depth] into panels [depth][rows] of panel_rows() rows, so that a tile reads the
// elements it broadcasts from one place, not from twelve: this reaches 106 of 113 GFLOP/s.
static inline void pack_rows(const float* x, int64_t stride, int64_t count, int64_t depth,
                             float* packed) {
    for_each_panel(count, [&](auto mr, int64_t row) {
        constexpr int rows = decltype(mr)::value;
        const float* const from = x + row * stride;
        float* const to = packed + row * depth;
        int r = 0;
        for (; r + 4 <= rows; r += 4) {
            int64_t k = 0;
            for (; k + 4 <= depth; k += 4)
                transpose_4x4(from + r * stride + k, stride, to + k * rows + r, rows);
            for (; k < depth; ++k)
                for (int i = r; i < r + 4; ++i) to[k * rows + i] = from[i * stride + k];
        }
        for (int64_t k = 0; k < depth; ++k)
            for (int i = r; i < rows; ++i) to[k * rows + i] = from[i * stride + k];
    });
}

static DIGAN_FAST_INLINE Vec load_some(const float* p, int64_t count) {
    if (count >= Vec::width) return load(p);
    float lanes[Vec::width] = {};
    for (int64_t i = 0; i < count; ++i) lanes[i] = p[i];
    return load(lanes);
}

static DIGAN_FAST_INLINE void store_some(float* p, int64_t count, Vec a) {
    if (count >= Vec::width) return store(p, a);
    float lanes[Vec::width];
    store(lanes, a);
    for (int64_t i = 0; i < count; ++i) p[i] = lanes[i];
}

}  // namespace digan_fast::DIGAN_FAST_ISA
