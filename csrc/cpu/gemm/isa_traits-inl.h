#pragma once

// The tile, panels and packed elements of an instruction set. Besides these, only the vectors of
// simd/ and the microkernels differ between sets.

#include <utility>

#include "digan_fast/bias_act.h"
#include "simd/amx-inl.h"
#include "simd/bf16x2-inl.h"
#include "simd/int8x4-inl.h"
#include "simd/rounding-inl.h"
#include "simd/vec-inl.h"
#include "simd/vec_bfloat16-inl.h"

namespace digan_fast::DIGAN_FAST_ISA {

// MR, the rows of a register tile, and of the tallest panel but for AMX: 2·12 accumulators in 32
// registers, or 2·6 in 16.
#if defined(__AVX512F__)
constexpr int kMR = 12;
#else
constexpr int kMR = 6;
#endif

// NR, the columns of a register tile.
constexpr int kNR = 2 * Vec::width;

// Rows of the larger matrix whose products with kSkinnyNR others are in registers at once.
constexpr int kSkinnyMR = kMR == 12 ? 4 : 2;

// How bfloat16 values are multiplied: as pairs if there is an instruction for them, else as rounded
// float32, as float16 always is.
#if defined(__AVX512BF16__)
using Bfloat16Element = Bf16x2;
constexpr bool kRoundsBfloat16 = false;
#else
using Bfloat16Element = float;
constexpr bool kRoundsBfloat16 = true;
#endif

// Whether operands of products are rounded to a number and stay float32.
static DIGAN_FAST_INLINE bool rounds_in_float32(Number number) {
    return number == Number::float16 || (kRoundsBfloat16 && number == Number::bfloat16);
}

// The packing factor along K: elements of a column in one T (2 × bfloat16, 4 × int8, as in VNNI).
template <class T>
inline constexpr int kPack = 1;
template <>
inline constexpr int kPack<Bf16x2> = 2;
template <>
inline constexpr int kPack<Int8x4> = 4;

// Packed elements in a column of `depth`; the last is filled up with zeros.
template <class T>
static DIGAN_FAST_INLINE int64_t packed_depth(int64_t depth) {
    return (depth + kPack<T> - 1) / kPack<T>;
}

// The row of packed elements that a channel is in. Of signed numbers, the division would take four
// instructions.
template <class T>
static DIGAN_FAST_INLINE int64_t packed_row(int64_t channel) {
    return static_cast<int64_t>(static_cast<uint64_t>(channel) / kPack<T>);
}

// Channel r of those in a vector of elements T.
template <class T>
static DIGAN_FAST_INLINE Vec channel_of(Vec elements, [[maybe_unused]] int r) {
#if defined(__AVX512BF16__)
    if constexpr (kPack<T> == 2) {
        const __m512i pairs = _mm512_castps_si512(elements.v);
        return r % 2 ? odd_channels(pairs) : even_channels(pairs);
    }
#endif
    return elements;
}

// The packed element of operands that are stored as float or Bfloat16.
template <class Stored>
struct PackedAs {
    using Element = float;
};
template <>
struct PackedAs<Bfloat16> {
    using Element = Bfloat16Element;
};
template <class Stored>
using Packed = typename PackedAs<Stored>::Element;

template <class T>
struct StoredAs {
    using Type = T;
};

// call(StoredAs<float>{}) or call(StoredAs<Bfloat16>{}). With AMX, only bfloat16 comes here:
// dispatch.cpp gives float32 to avx512bf16.
template <class Call>
static DIGAN_FAST_INLINE void with_stored([[maybe_unused]] Number number, const Call& call) {
#if !DIGAN_FAST_AMX
    if (number == Number::float32) return call(StoredAs<float>{});
#endif
    call(StoredAs<Bfloat16>{});
}

// Packed element k of the values value(0), value(1), … in bfloat16.
template <class T = Bfloat16Element, class Value>
static DIGAN_FAST_INLINE T bfloat16_element(int64_t k, const Value& value) {
    if constexpr (kPack<T> == 2) {
        return pack_bf16x2(value(2 * k), value(2 * k + 1));
    } else {
        return to_bfloat16(value(k));
    }
}

// The rows of the tallest panel of elements T. Panels of 32 and 16 rows are multiplied by AMX
// tiles, four or two of sums at once.
#if DIGAN_FAST_AMX
template <class T>
inline constexpr int kMostRows = kPack<T> == 1 ? kMR : 2 * kTmmSide;
#else
template <class T>
inline constexpr int kMostRows = kMR;
#endif

// Whether panels of R rows are multiplied by AMX; otherwise their product is in vector registers.
template <int R>
inline constexpr bool kOnAmx = R > kMR;

// The place of element k of row r in a panel of R rows. Elements of a column are neighbours, but
// for AMX, where 16 of a row are, and then the next row's.
template <int R>
static DIGAN_FAST_INLINE int64_t panel_index([[maybe_unused]] int64_t depth, int64_t k, int64_t r) {
#if DIGAN_FAST_AMX
    if constexpr (kOnAmx<R>) {
        constexpr int64_t side = kTmmSide;
        if (k < depth / side * side)
            return k / side * side * R + r / side * side * side + r % side * side + k % side;
    }
#endif
    return k * R + r;
}

// The same in float32 for weights that are rotated on their way to such a panel.
template <int R>
static DIGAN_FAST_INLINE int64_t unrotated_index(int64_t depth, int64_t k, int64_t r) {
    return kOnAmx<R> ? r * depth + k : k * R + r;
}

// The panel that begins at `row`; drivers know of its elements T only that they have 32 bits.
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

// The rows of the next panel of elements T if `left` remain: full panels, then 16 on AMX, then as
// in registers: 8, 4, and the last three or fewer at once.
template <class T>
static inline int panel_rows(int64_t left) {
    if (left >= kMostRows<T>) return kMostRows<T>;
    if (left >= 16 && kMostRows<T> > 16) return 16;
    if (left >= kMR) return kMR;
    if (left >= 8 && kMR > 8) return 8;
    return left >= 4 ? 4 : static_cast<int>(left);
}

template <int R>
struct Constant {
    static constexpr int value = R;
};

// call(Constant<0>), …, call(Constant<N − 1>).
template <int... i, class Call>
static DIGAN_FAST_INLINE void unrolled(std::integer_sequence<int, i...>, const Call& call) {
    (call(Constant<i>{}), ...);
}
template <int N, class Call>
static DIGAN_FAST_INLINE void unrolled(const Call& call) {
    unrolled(std::make_integer_sequence<int, N>{}, call);
}

// call(Constant<rows>) for a result of panel_rows<T>().
template <class T, class Call>
static DIGAN_FAST_INLINE void with_rows(int rows, const Call& call) {
    if constexpr (kMostRows<T> > kMR) {
        if (rows == kMostRows<T>) return call(Constant<kMostRows<T>>{});
        if (rows == 16) return call(Constant<16>{});
    }
    if (rows == kMR) return call(Constant<kMR>{});
    switch (rows) {
        case 8:
            return call(Constant<(kMR < 8 ? 1 : 8)>{});
        case 4:
            return call(Constant<4>{});
        case 3:
            return call(Constant<3>{});
        case 2:
            return call(Constant<2>{});
        default:
            return call(Constant<1>{});
    }
}

// Columns of the panel of elements T that begins at column n: a tile's, or one vector for the last
// few, but for AMX.
template <class T = float>
static inline int64_t panel_width(int64_t columns, int64_t n) {
    return kMostRows<T> > kMR || columns - n > Vec::width ? kNR : Vec::width;
}

// call(V) with the vectors of the panel.
template <class T = float, class Call>
static DIGAN_FAST_INLINE void with_vectors(int64_t width, const Call& call) {
    if constexpr (kMostRows<T> > kMR) return call(Constant<2>{});
    if (width == kNR) return call(Constant<2>{});
    call(Constant<1>{});
}

}  // namespace digan_fast::DIGAN_FAST_ISA
