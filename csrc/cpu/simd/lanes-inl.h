#pragma once

// The 32 pixels of a block as the lanes of vectors: 8 columns by 4 rows in Morton order.

#include "simd/vec-inl.h"

namespace digan_fast::DIGAN_FAST_ISA {

// Pixels of a block.
constexpr int64_t kBlockPixels = 32;

static inline int lane_column(int lane) { return (lane & 1) | (lane >> 1 & 2) | (lane >> 2 & 4); }
static inline int lane_row(int lane) { return (lane >> 1 & 1) | (lane >> 2 & 2); }

// The values for the columns of vector v's lanes, from eight values at p.
static DIGAN_FAST_INLINE Vec spread_columns(const float* p, int v) {
#if defined(__AVX512F__)
    const __m512i left = _mm512_set_epi32(3, 2, 3, 2, 1, 0, 1, 0, 3, 2, 3, 2, 1, 0, 1, 0);
    const __m512i columns = v ? _mm512_add_epi32(left, _mm512_set1_epi32(4)) : left;
    return {_mm512_permutexvar_ps(columns, _mm512_castps256_ps512(_mm256_loadu_ps(p)))};
#else
    float lanes[Vec::width];
    for (int i = 0; i < Vec::width; ++i) lanes[i] = p[lane_column(v * Vec::width + i)];
    return load(lanes);
#endif
}

// The values for the rows of vector v's lanes, from four values at p.
static DIGAN_FAST_INLINE Vec spread_rows(const float* p, int v) {
#if defined(__AVX512F__)
    (void)v;  // each vector has all four rows
    const __m512i rows = _mm512_set_epi32(3, 3, 2, 2, 3, 3, 2, 2, 1, 1, 0, 0, 1, 1, 0, 0);
    return {_mm512_permutexvar_ps(rows, _mm512_castps128_ps512(_mm_loadu_ps(p)))};
#else
    float lanes[Vec::width];
    for (int i = 0; i < Vec::width; ++i) lanes[i] = p[lane_row(v * Vec::width + i)];
    return load(lanes);
#endif
}

// Gathers one element per lane, each from a table with rows of `width` elements, at the lane's own
// place in a row.
template <int width>
class LaneGather {
  public:
    // A lane's element of row 0 is at begin + offsets[lane]; tables begin at multiples of `width`.
    LaneGather(const float* begin, const int64_t* offsets) {
        for (int lane = 0; lane < kBlockPixels; ++lane) {
#if defined(__AVX512F__)
            place_[lane] = static_cast<int32_t>(offsets[lane] % width);
            const float* const table = begin + offsets[lane] - place_[lane];
            int i = 0;
            while (i < tables_ && from_[i] != table) ++i;
            if (i == tables_) {
                from_[tables_] = table;
                lanes_[tables_++] = 0;
            }
            lanes_[i] |= uint32_t{1} << lane;
#else
            from_[lane] = begin + offsets[lane];
#endif
        }
    }

    // The elements for vector v, `shift` places further on.
    DIGAN_FAST_INLINE Vec operator()(int64_t row, int v, int shift = 0) const {
#if defined(__AVX512F__)
        const __m512i place =
            _mm512_add_epi32(_mm512_loadu_si512(place_ + v * 16), _mm512_set1_epi32(shift));
        __m512 gathered = _mm512_setzero_ps();
        for (int i = 0; i < tables_; ++i) {
            const auto lanes = static_cast<__mmask16>(lanes_[i] >> v * 16);
            if (!lanes) continue;
            const float* const at = from_[i] + row * width;
            __m512 of_table;
            if constexpr (width == 8) {
                of_table =
                    _mm512_permutexvar_ps(place, _mm512_castps256_ps512(_mm256_loadu_ps(at)));
            } else if constexpr (width == 16) {
                of_table = _mm512_permutexvar_ps(place, _mm512_loadu_ps(at));
            } else {
                of_table =
                    _mm512_permutex2var_ps(_mm512_loadu_ps(at), place, _mm512_loadu_ps(at + 16));
            }
            gathered = _mm512_mask_mov_ps(gathered, lanes, of_table);
        }
        return {gathered};
#else
        float gathered[Vec::width];
        for (int i = 0; i < Vec::width; ++i)
            gathered[i] = from_[v * Vec::width + i][row * width + shift];
        return load(gathered);
#endif
    }

  private:
    static_assert(width == 8 || width == 16 || width == 32, "a row is one or two vectors");
    const float* from_[kBlockPixels];
#if defined(__AVX512F__)
    int tables_ = 0;
    uint32_t lanes_[kBlockPixels];
    int32_t place_[kBlockPixels];
#endif
};

}  // namespace digan_fast::DIGAN_FAST_ISA
