#pragma once

// What an instruction set multiplies with: tile, panels, packed elements. Together with the
// vectors of simd/ and the microkernels it is all that tells one set from another.

#include "simd/bf16x2-inl.h"
#include "simd/int8x4-inl.h"
#include "simd/vec-inl.h"

namespace digan_fast::DIGAN_FAST_ISA {

// MR, the rows of the tallest panel: 2·12 accumulators of 32 registers, or 2·6 of 16.
#if defined(__AVX512F__)
constexpr int kRows = 12;
#else
constexpr int kRows = 6;
#endif

// NR, the lanes of a register tile.
constexpr int kTile = 2 * Vec::width;

// Rows of the larger matrix whose products with kSkinnyTogether others are in registers together.
constexpr int kSkinnyRowsTogether = kRows == 12 ? 4 : 2;

// What bfloat16 numbers are multiplied as: pairs where there is an instruction for them, else
// float32 numbers that have been rounded.
#if defined(__AVX512BF16__)
using Bfloat16Element = Bf16x2;
constexpr bool kRoundsBfloat16 = false;
#else
using Bfloat16Element = float;
constexpr bool kRoundsBfloat16 = true;
#endif

// The packing factor along K: elements of a column in one T (2 × bfloat16, 4 × int8 as VNNI has
// them).
template <class T>
inline constexpr int kPack = 1;
template <>
inline constexpr int kPack<Bf16x2> = 2;
template <>
inline constexpr int kPack<Int8x4> = 4;

// Element k of numbers number(0), number(1), … as bfloat16.
template <class T = Bfloat16Element, class Number>
static DIGAN_FAST_INLINE T bfloat16_element(int64_t k, const Number& number) {
    if constexpr (kPack<T> == 2) {
        return pack_bf16x2(number(2 * k), number(2 * k + 1));
    } else {
        return to_bfloat16(number(k));
    }
}

// The panel that begins at `row`: of elements T, of which drivers know that they have 32 bits.
template <class T>
static DIGAN_FAST_INLINE T* panel_at(void* panels, int64_t row, int64_t depth) {
    static_assert(sizeof(T) == sizeof(uint32_t));
    return static_cast<T*>(panels) + row * depth;
}
template <class T>
static DIGAN_FAST_INLINE const T* panel_at(const void* panels, int64_t row, int64_t depth) {
    static_assert(sizeof(T) == sizeof(uint32_t));
    return static_cast<const T*>(panels) + row * depth;
}

// The rows of the next panel where `left` are left: full ones, then 8, 4, and the last three at
// once.
static inline int panel_rows(int64_t left) {
    if (left >= kRows) return kRows;
    if (left >= 8 && kRows > 8) return 8;
    return left >= 4 ? 4 : static_cast<int>(left);
}

template <int R>
struct Count {
    static constexpr int count = R;
};

// call(Count<rows>) for the rows that panel_rows() gives.
template <class Call>
static DIGAN_FAST_INLINE void with_rows(int rows, const Call& call) {
    if (rows == kRows) return call(Count<kRows>{});
    switch (rows) {
        case 8:
            return call(Count<(kRows < 8 ? 1 : 8)>{});
        case 4:
            return call(Count<4>{});
        case 3:
            return call(Count<3>{});
        case 2:
            return call(Count<2>{});
        default:
            return call(Count<1>{});
    }
}

// Lanes of the panel that begins at lane n: a tile, or a vector for the last few.
static inline int64_t panel_width(int64_t lanes, int64_t n) {
    return lanes - n > Vec::width ? kTile : Vec::width;
}

// call(V) with the vectors of the panel.
template <class Call>
static DIGAN_FAST_INLINE void with_vectors(int64_t width, const Call& call) {
    if (width == kTile) {
        call(Count<2>{});
    } else {
        call(Count<1>{});
    }
}

}  // namespace digan_fast::DIGAN_FAST_ISA
