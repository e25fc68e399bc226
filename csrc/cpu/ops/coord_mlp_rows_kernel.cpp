#include "ops/coord_mlp_rows_kernel.h"

#include <string.h>

#include "simd/rounding-inl.h"
#include "simd/vec_bfloat16-inl.h"

namespace digan_fast::DIGAN_FAST_ISA {
namespace {

// Columns of a row that are computed at once, on the stack.
constexpr int64_t kChunk = 128;
// The most columns whose sums over rows are computed several rows at once.
constexpr int64_t kNarrow = 8;

// call(row, first column, count) for each chunk.
template <class Call>
DIGAN_FAST_INLINE void for_each_chunk(int64_t rows, int64_t columns, const Call& call) {
    for (int64_t r = 0; r < rows; ++r)
        for (int64_t n = 0; n < columns; n += kChunk)
            call(r, n, columns - n < kChunk ? columns - n : kChunk);
}

DIGAN_FAST_INLINE void store_row(void* to, Number number, int64_t at, const float* from,
                                 int64_t count) {
    if (number == Number::bfloat16) return narrow(static_cast<uint16_t*>(to) + at, from, count);
    float* const row = static_cast<float*>(to) + at;
    if (number == Number::float16) return round_n(number, row, from, count);
    if (row != from) memcpy(row, from, count * sizeof(float));
}

// out = x∘scale + shift; either may be null.
DIGAN_FAST_INLINE void modulate(float* out, const float* x, const float* scale, const float* shift,
                                int64_t count) {
    if (scale) {
#pragma omp simd
        for (int64_t i = 0; i < count; ++i) out[i] = x[i] * scale[i];
    } else {
        memcpy(out, x, count * sizeof(float));
    }
    if (!shift) return;
#pragma omp simd
    for (int64_t i = 0; i < count; ++i) out[i] += shift[i];
}

// out = x where slope, which is 0 or 1, is 1, else 0.
DIGAN_FAST_INLINE void select(float* out, const float* x, const float* slope, int64_t count) {
#pragma omp simd
    for (int64_t i = 0; i < count; ++i) out[i] = slope[i] == 0.0f ? 0.0f : x[i];
}

DIGAN_FAST_INLINE void add(float* sums, const float* x, int64_t count) {
    if (!sums) return;
#pragma omp simd
    for (int64_t i = 0; i < count; ++i) sums[i] += x[i];
}

DIGAN_FAST_INLINE void add_products(float* sums, const float* x, const float* y, int64_t count) {
#pragma omp simd
    for (int64_t i = 0; i < count; ++i) sums[i] += x[i] * y[i];
}

// A part of a row of channels, or null.
template <class T>
DIGAN_FAST_INLINE T* from(T* channels, int64_t n) {
    return channels ? channels + n : nullptr;
}

// sums[n] += Σ_r x[r][n], of few columns, which fill their rows: kTogether rows at once.
void add_narrow_rows(float* sums, const float* x, int64_t rows, int64_t columns) {
    constexpr int64_t kTogether = 16;
    float parts[kTogether * kNarrow] = {};
    const int64_t period = kTogether * columns, count = rows * columns;
    for (int64_t at = 0; at < count; at += period)
        add(parts, x + at, count - at < period ? count - at : period);
    for (int64_t i = 0; i < period; ++i) sums[i % columns] += parts[i];
}

void add_rows(float* sums, const float* x, int64_t rows, int64_t columns, int64_t stride) {
    if (!sums) return;
    if (columns == stride && columns <= kNarrow) return add_narrow_rows(sums, x, rows, columns);
    for (int64_t r = 0; r < rows; ++r) add(sums, x + r * stride, columns);
}

}  // namespace

void mlp_row_operand(const MlpRowOperand& p) {
    for_each_chunk(p.rows, p.columns, [&](int64_t r, int64_t n, int64_t count) {
        float u[kChunk];
        modulate(u, p.x + r * p.x_stride + n, from(p.scale, n), from(p.shift, n), count);
        store_row(p.u, p.number, r * p.u_stride + n, u, count);
    });
}

void mlp_row_operand_gradient(const MlpRowOperandGradient& p) {
    const bool same = p.du == p.dx && !p.scale;
    if (same && !p.dscale && !p.dshift) return;
    for_each_chunk(p.rows, p.columns, [&](int64_t r, int64_t n, int64_t count) {
        const float* const du = p.du + r * p.du_stride + n;
        add(from(p.dshift, n), du, count);
        if (p.dscale) add_products(p.dscale + n, du, p.x + r * p.x_stride + n, count);
        if (!p.dx || same) return;
        float dx[kChunk];
        float* const to = p.dx + r * p.dx_stride + n;
        modulate(dx, du, from(p.scale, n), nullptr, count);
        if (p.adds) {
            add(to, dx, count);
        } else {
            memcpy(to, dx, count * sizeof(float));
        }
    });
}

void mlp_row_activation_gradient(const MlpRowActivationGradient& p) {
    if (!p.dz) {
        add_rows(p.dshift, p.dy, p.rows, p.columns, p.dy_stride);
        return add_rows(p.dbias, p.dy, p.rows, p.columns, p.dy_stride);
    }
    for_each_chunk(p.rows, p.columns, [&](int64_t r, int64_t n, int64_t count) {
        float dv[kChunk], products[kChunk];
        const float* const dy = p.dy + r * p.dy_stride + n;
        const float* const slope = p.slope ? p.slope + r * p.stride + n : nullptr;
        const bool in_place = p.number != Number::bfloat16;
        float* const dz = in_place ? static_cast<float*>(p.dz) + r * p.dz_stride + n : products;
        float* const to = p.scale ? dv : dz;
        if (p.selects) {
            select(to, dy, slope, count);
        } else {
            modulate(to, dy, slope, nullptr, count);
        }
        if (p.scale) {
            if (p.dscale) add_products(p.dscale + n, dv, p.z + r * p.stride + n, count);
            add(from(p.dshift, n), dv, count);
            modulate(dz, dv, p.scale + n, nullptr, count);
        } else {
            add(from(p.dshift, n), dz, count);
        }
        add(from(p.dbias, n), dz, count);
        store_row(p.dz, p.number, r * p.dz_stride + n, dz, count);
    });
}

void mlp_rounding(const MlpRounding& p) {
    for (int64_t at = 0; at < p.count; at += kChunk) {
        const int64_t count = p.count - at < kChunk ? p.count - at : kChunk;
        float scaled[kChunk];
#pragma omp simd
        for (int64_t i = 0; i < count; ++i) scaled[i] = p.from[at + i] * p.scale;
        store_row(p.to, p.number, at, scaled, count);
    }
}

}  // namespace digan_fast::DIGAN_FAST_ISA
