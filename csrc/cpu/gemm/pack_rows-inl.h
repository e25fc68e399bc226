#pragma once

// Packing of matrices whose rows are pixels, stored as float32 or bfloat16, into elements T: float,
// or as many bfloat16 along K as T holds.

#include "gemm/loops-inl.h"
#include "gemm/pixel_rows_kernel.h"

namespace digan_fast::DIGAN_FAST_ISA {

// Packed element k of a row.
template <class T, class Stored>
static DIGAN_FAST_INLINE T packed_element(const Stored* row, int64_t k, int64_t depth) {
    if constexpr (kPack<T> == 2) {
        const uint32_t odd = 2 * k + 1 < depth ? row[2 * k + 1] : 0;
        return {odd << 16 | row[2 * k]};
    } else {
        return widened(row[k]);
    }
}

// Packed elements k to k + 3 of a row; all of them are whole.
template <class T, class Stored>
static DIGAN_FAST_INLINE Quad packed_quad(const Stored* row, int64_t k) {
    if constexpr (kPack<T> == 1 && sizeof(Stored) == sizeof(Bfloat16)) {
        float quad[4];
        for (int i = 0; i < 4; ++i) quad[i] = widened(row[k + i]);
        return load_quad(quad);
    } else {
        return load_quad(row + k * kPack<T>);
    }
}

// to[k · to_stride + r] = packed element k of row r, zeros from `rows` to the stride.
template <class T, class Stored>
static DIGAN_FAST_INLINE void pack_transposed(const Stored* x, int64_t stride, int64_t rows,
                                              int64_t depth, T* to, int64_t to_stride) {
    const int64_t packed = packed_depth<T>(depth), whole = depth / kPack<T>;
    const int64_t fours = rows / 4 * 4;
    for (int64_t k = 0; rows < to_stride && k < packed; ++k)
        memset(to + k * to_stride + rows, 0, (to_stride - rows) * sizeof(T));
    for (int64_t r = 0; r < fours; r += 4) {
        const Stored* const from = x + r * stride;
        int64_t k = 0;
        for (; k + 4 <= whole; k += 4) {
            Quad quads[4];
            for (int i = 0; i < 4; ++i) quads[i] = packed_quad<T>(from + i * stride, k);
            store_transposed(quads, reinterpret_cast<float*>(to + k * to_stride + r), to_stride);
        }
        for (; k < packed; ++k)
            for (int i = 0; i < 4; ++i)
                to[k * to_stride + r + i] = packed_element<T>(from + i * stride, k, depth);
    }
    for (int64_t k = 0; k < packed; ++k)
        for (int64_t i = fours; i < rows; ++i)
            to[k * to_stride + i] = packed_element<T>(x + i * stride, k, depth);
}

#if DIGAN_FAST_AMX
// R rows into a panel of AMX.
template <int R, class T, class Stored>
static DIGAN_FAST_INLINE void pack_amx_rows(const Stored* x, int64_t stride, int64_t depth,
                                            T* panel) {
    const int64_t packed = packed_depth<T>(depth);
    for (int64_t r = 0; r < R; ++r) {
        const Stored* const row = x + r * stride;
        int64_t k = 0;
        for (; (k + kTmmSide) * kPack<T> <= depth; k += kTmmSide)
            memcpy(panel + panel_index<R>(packed, k, r), row + k * kPack<T>, kTmmSide * sizeof(T));
        for (; k < packed; ++k)
            panel[panel_index<R>(packed, k, r)] = packed_element<T>(row, k, depth);
    }
}
#endif

// Rows [count, depth] into panels [depth][rows] of panel_rows() rows, so that a tile reads the
// elements it broadcasts from one place, not from twelve: this reaches 106 of 113 GFLOP/s.
template <class T, class Stored>
static inline void pack_rows(const Stored* x, int64_t stride, int64_t count, int64_t depth,
                             T* packed) {
    for_each_panel<T>(count, [&](auto mr, int64_t row) {
        constexpr int rows = decltype(mr)::value;
        T* const panel = panel_at<T>(packed, row, packed_depth<T>(depth));
        if constexpr (kOnAmx<rows>) {
            pack_amx_rows<rows>(x + row * stride, stride, depth, panel);
        } else {
            pack_transposed(x + row * stride, stride, rows, depth, panel, rows);
        }
    });
}

// A vector of packed elements k along the rows of x, which are K: `lanes` of them, then zeros.
template <class Stored>
static DIGAN_FAST_INLINE void pack_lanes(const Stored* x, int64_t stride, int64_t k,
                                         int64_t /*rows*/, int64_t lanes, float* to) {
    store(to, load_some(x + k * stride, lanes));
}

// to[k · to_stride + n] = packed element k of lane n, along the rows of x; zeros from `lanes` to
// `width`, whole vectors. The next lanes, a row apart in memory, are prefetched: without that,
// forward and backward of coord_mlp's five layers of 512 take 3 % longer on a Zen 5 EPYC.
template <class T, class Stored>
static DIGAN_FAST_INLINE void pack_along_rows(const Stored* x, int64_t stride, int64_t rows,
                                              int64_t lanes, int64_t width, T* to,
                                              int64_t to_stride) {
    for (int64_t k = 0; k < packed_depth<T>(rows); ++k) {
        for (int64_t row = k * kPack<T>; row < (k + 1) * kPack<T>; ++row)
            prefetch(x + row * stride + width);
        for (int64_t n = 0; n < width; n += Vec::width)
            pack_lanes(x + n, stride, k, rows, lanes - n, to + k * to_stride + n);
    }
}

#if DIGAN_FAST_AMX
// R lanes of x, whose rows are K, into a panel of AMX.
template <int R, class T, class Stored>
static DIGAN_FAST_INLINE void pack_amx_lanes(const Stored* x, int64_t stride, int64_t rows,
                                             T* panel) {
    constexpr int64_t side = kTmmSide;
    const int64_t depth = packed_depth<T>(rows), whole = depth / side * side;
    for (int64_t k = 0; k < whole; k += side)
        for (int64_t n = 0; n < R; n += side) {
            T lanes[side][side];
            for (int64_t i = 0; i < side; ++i)
                pack_lanes(x + n, stride, k + i, rows, side, lanes[i]);
            float* const to = reinterpret_cast<float*>(panel + panel_index<R>(depth, k, n));
            for (int64_t i = 0; i < side; i += 4)
                for (int64_t j = 0; j < side; j += 4) {
                    Quad quads[4];
                    for (int64_t q = 0; q < 4; ++q) quads[q] = load_quad(lanes[i + q] + j);
                    store_transposed(quads, to + j * side + i, side);
                }
        }
    for (int64_t k = whole; k < depth; ++k)
        for (int64_t n = 0; n < R; n += side)
            pack_lanes(x + n, stride, k, rows, side, panel + panel_index<R>(depth, k, n));
}
#endif

}  // namespace digan_fast::DIGAN_FAST_ISA
