#pragma once

// Matrix products in register tiles: rows × two vectors of lanes. An operand of rows is packed in
// panels [depth][rows], broadcast element by element; an operand of lanes is [depth][step].

#include "digan_fast/bias_act.h"
#include "simd/int8x4-inl.h"
#include "simd/sincos-inl.h"
#include "simd/vec-inl.h"

namespace digan_fast::DIGAN_FAST_ISA {

// Pixels of a block; the lanes of its rows lie together.
constexpr int64_t kLanes = 32;

// Lanes of a register tile.
constexpr int kTile = 2 * Vec::width;

// Rows of the tallest panel: 2·12 accumulators of 32 registers, or 2·6 of 16.
#if defined(__AVX512F__)
constexpr int kRows = 12;
#else
constexpr int kRows = 6;
#endif

// The rows of the next panel where `left` are left: full ones, then 8, 4, and the last three at
// once.
static inline int panel_rows(int64_t left) {
    if (left >= kRows) return kRows;
    if (left >= 8 && kRows > 8) return 8;
    return left >= 4 ? 4 : static_cast<int>(left);
}

template <int R>
struct Rows {
    static constexpr int count = R;
};

// call(Rows<rows>) for the rows that panel_rows() gives.
template <class Call>
static DIGAN_FAST_INLINE void with_rows(int rows, const Call& call) {
    if (rows == kRows) return call(Rows<kRows>{});
    switch (rows) {
        case 8:
            return call(Rows < kRows<8 ? 1 : 8>{});
        case 4:
            return call(Rows<4>{});
        case 3:
            return call(Rows<3>{});
        case 2:
            return call(Rows<2>{});
        default:
            return call(Rows<1>{});
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
        call(Rows<2>{});
    } else {
        call(Rows<1>{});
    }
}

// The packing factor along K: elements of a column in one T (2 × bfloat16, 4 × int8 as VNNI has
// them).
template <class T>
inline constexpr int kPack = 1;
template <>
inline constexpr int kPack<Int8x4> = 4;

// The panel that begins at `row`, of elements T of 32 bits.
template <class T, class Number>
static DIGAN_FAST_INLINE T* panel_at(Number* panels, int64_t row, int64_t depth) {
    static_assert(sizeof(T) == sizeof(Number), "a panel's elements have 32 bits");
    return reinterpret_cast<T*>(panels) + row * depth;
}

template <int R, int V = 2>
struct Tile {
    Vec v[R][V];
};

// tile[r] += Σ_k rows[k][r] · lanes[k]
template <int R, int V>
static DIGAN_FAST_INLINE void microkernel(Tile<R, V>& tile, int64_t depth, const float* rows,
                                          int64_t row_step, const float* lanes, int64_t lane_step) {
    for (int64_t k = 0; k < depth; ++k, rows += row_step, lanes += lane_step) {
        Vec a[V];
        for (int v = 0; v < V; ++v) a[v] = load(lanes + v * Vec::width);
        for (int r = 0; r < R; ++r) {
            const Vec s = broadcast(rows[r]);
            for (int v = 0; v < V; ++v) tile.v[r][v] = fma(s, a[v], tile.v[r][v]);
        }
    }
}

#if defined(__AVX512BF16__)
// Two bfloat16 numbers of neighbouring channels, the even one in the low half.
struct Bf16x2 {
    uint32_t bits;
};

template <>
inline constexpr int kPack<Bf16x2> = 2;

static DIGAN_FAST_INLINE Bf16x2 pack_bf16x2(float even, float odd) {
    return {bfloat16_bits(odd) << 16 | bfloat16_bits(even)};
}

static DIGAN_FAST_INLINE __m512bh load_bf16x2(const Bf16x2* p) {
    return (__m512bh)_mm512_loadu_si512(p);
}

static DIGAN_FAST_INLINE __m512bh broadcast_bf16x2(Bf16x2 p) {
    __m512i pairs = _mm512_set1_epi32(static_cast<int>(p.bits));
#    if defined(__clang__) && __clang_major__ == 16
    asm("" : "+v"(pairs));  // which crashes where it sees one number become bfloat16
#    endif
    return (__m512bh)pairs;
}

template <int R>
static DIGAN_FAST_INLINE void microkernel(Tile<R>& tile, int64_t depth, const Bf16x2* rows,
                                          int64_t row_step, const Bf16x2* lanes,
                                          int64_t lane_step) {
    for (int64_t k = 0; k < depth; ++k, rows += row_step, lanes += lane_step) {
        const __m512bh a = load_bf16x2(lanes), b = load_bf16x2(lanes + Vec::width);
        for (int r = 0; r < R; ++r) {
            const __m512bh s = broadcast_bf16x2(rows[r]);
            tile.v[r][0].v = _mm512_dpbf16_ps(tile.v[r][0].v, s, a);
            tile.v[r][1].v = _mm512_dpbf16_ps(tile.v[r][1].v, s, b);
        }
    }
}

// float32 rows [2·depth][row_step] with lanes of pairs.
template <int R>
static DIGAN_FAST_INLINE void microkernel(Tile<R>& tile, int64_t depth, const float* rows,
                                          int64_t row_step, const Bf16x2* lanes,
                                          int64_t lane_step) {
    const __m512i high = _mm512_set1_epi32(static_cast<int>(0xffff0000u));
    for (int64_t k = 0; k < depth; ++k, rows += 2 * row_step, lanes += lane_step) {
        for (int v = 0; v < 2; ++v) {
            const __m512i pairs = _mm512_loadu_si512(lanes + v * Vec::width);
            const Vec even{_mm512_castsi512_ps(_mm512_slli_epi32(pairs, 16))};
            const Vec odd{_mm512_castsi512_ps(_mm512_and_si512(pairs, high))};
            for (int r = 0; r < R; ++r) {
                tile.v[r][v] = fma(broadcast(rows[r]), even, tile.v[r][v]);
                tile.v[r][v] = fma(broadcast(rows[row_step + r]), odd, tile.v[r][v]);
            }
        }
    }
}

using Bfloat16Element = Bf16x2;
#else
using Bfloat16Element = float;  // bfloat16 numbers in float32
#endif

// sin r = r + r³·(…) for |r| ≤ π/2, fitted: 5e-9 off.
constexpr float kSine[4] = {-1.6666656733e-1f, 8.3330152556e-3f, -1.9806477940e-4f,
                            2.5997510420e-6f};

// sin z for |z| up to kSincosReach, within 1.4e-7 of the exact one.
//
// z = n·π + r, |r| ≤ π/2: π is cut after 8 and 19 bits, so that the products with n < 2¹² are exact
// whether or not they are fused.
static DIGAN_FAST_INLINE Vec sine_within_reach(Vec z) {
    const Vec shift = broadcast(12582912.0f);  // 1.5 · 2²³: the low bits hold n
    const Vec shifted = fma(z, broadcast(0.318309886f), shift);
    const Vec n = add(shifted, broadcast(-12582912.0f));
    Vec r = fma(n, broadcast(-3.140625f), z);
    r = fma(n, broadcast(-9.67502593994140625e-4f), r);
    r = fma(n, broadcast(-1.50995799097837643e-7f), r);
    const Vec r2 = mul(r, r);
    Vec p = fma(broadcast(kSine[3]), r2, broadcast(kSine[2]));
    p = fma(p, r2, broadcast(kSine[1]));
    p = fma(p, r2, broadcast(kSine[0]));
    return flip_sign(fma(mul(r, r2), p, r), shifted);
}

// The same, and beyond it by the C library.
static inline Vec sine_anywhere(Vec z) {
    const Vec near = sine_within_reach(z);
    float angles[Vec::width], sines[Vec::width], cosine;
    store(angles, z);
    store(sines, near);
    for (int i = 0; i < Vec::width; ++i)
        if (fabsf(angles[i]) > kSincosReach) sincos_far(angles[i], &sines[i], &cosine);
    return load(sines);
}

// The epilogue: act(z)·gain within ±clamp; the gain of lrelu, relu and linear is in the weights
// already.
struct Epilogue {
    Activation activation;
    float gain;
    float clamp;  // infinity: none
    bool round;   // to bfloat16, kept in float32: where there is no instruction for pairs
};

constexpr float kSlope = 0.2f;

template <int R, int V>
static DIGAN_FAST_INLINE void apply_epilogue(Tile<R, V>& tile, const Epilogue& how) {
    if (how.activation == Activation::lrelu) {
        const Vec slope = broadcast(kSlope);
        for (int r = 0; r < R; ++r)
            for (Vec& z : tile.v[r]) z = max(z, mul(slope, z));
    } else if (how.activation == Activation::relu) {
        for (int r = 0; r < R; ++r)
            for (Vec& z : tile.v[r]) z = max(broadcast(0.0f), z);
    } else if (how.activation == Activation::sine) {
        Vec reach = broadcast(0.0f);  // stays a number where z is none
        for (int r = 0; r < R; ++r)
            for (const Vec& z : tile.v[r]) reach = max(absolute(z), reach);
        if (any_beyond(reach, kSincosReach)) {
            for (int r = 0; r < R; ++r)
                for (Vec& z : tile.v[r]) z = sine_anywhere(z);
        } else {
            for (int r = 0; r < R; ++r)
                for (Vec& z : tile.v[r]) z = sine_within_reach(z);
        }
        if (how.gain != 1) {
            for (int r = 0; r < R; ++r)
                for (Vec& z : tile.v[r]) z = mul(broadcast(how.gain), z);
        }
    }
    if (how.clamp < INFINITY) {
        // The constant comes first: a NaN in the other operand stays.
        for (int r = 0; r < R; ++r)
            for (Vec& z : tile.v[r]) z = min(broadcast(how.clamp), max(broadcast(-how.clamp), z));
    }
#if !defined(__AVX512BF16__)
    if (how.round) {
        float z[V * Vec::width];
        for (int r = 0; r < R; ++r) {
            for (int v = 0; v < V; ++v) store(z + v * Vec::width, tile.v[r][v]);
            for (float& a : z) a = to_bfloat16(a);
            for (int v = 0; v < V; ++v) tile.v[r][v] = load(z + v * Vec::width);
        }
    }
#endif
}

// tile[r] to row r of out, [rows][step] with the tile's lanes at its start.
template <int R, int V>
static DIGAN_FAST_INLINE void store_tile(const Tile<R, V>& tile, float* out, int64_t step) {
    for (int r = 0; r < R; ++r)
        for (int v = 0; v < V; ++v) store(out + r * step + v * Vec::width, tile.v[r][v]);
}

#if defined(__AVX512BF16__)
// The same into pairs of rows; the partner of an odd last row is zero.
template <int R>
static DIGAN_FAST_INLINE void store_tile(const Tile<R>& tile, Bf16x2* out, int64_t step) {
    for (int r = 0; r < R; r += 2) {
        for (int v = 0; v < 2; ++v) {
            const __m512i even = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(tile.v[r][v].v));
            __m512i pair = even;
            if (r + 1 < R) {
                const __m512i odd =
                    _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(tile.v[r + 1][v].v));
                pair = _mm512_or_si512(even, _mm512_slli_epi32(odd, 16));
            }
            _mm512_storeu_si512(out + r / 2 * step + v * Vec::width, pair);
        }
    }
}
#endif

}  // namespace digan_fast::DIGAN_FAST_ISA
