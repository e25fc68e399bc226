#pragma once

// What is applied to a tile before it leaves the registers.

#include "digan_fast/bias_act.h"
#include "gemm/microkernel-inl.h"
#include "simd/activations-inl.h"
#include "simd/sine-inl.h"

namespace digan_fast::DIGAN_FAST_ISA {

// The epilogue: act(z)·gain, clamped to ±clamp; for lrelu, relu and linear the gain is already in
// the weights.
struct Epilogue {
    Activation activation;
    float gain;
    float clamp;   // infinity: none
    Number round;  // of operands of the next product; bfloat16 that is stored as such, there
};

// Whether the epilogue is the activation and nothing else.
static inline bool is_plain(const Epilogue& how) {
    const bool gained = how.activation == Activation::sine && how.gain != 1;
    return !gained && !(how.clamp < INFINITY) && !rounds_in_float32(how.round);
}

// tile = sine(reduce(tile)), if all are within reach.
template <int R, int V, class Check, class Reduce, class Sine>
static DIGAN_FAST_INLINE bool sines_within(Check check, Tile<R, V>& tile, const Reduce& reduce,
                                           const Sine& sine) {
    Reduced reduced[R][V];
    for_each_vector(tile, [&](Vec& z, int r, int v) DIGAN_FAST_INLINE_LAMBDA {
        reduced[r][v] = reduce(z);
        check.see(reduced[r][v].shifted);
    });
    if (!check.passed()) return false;
    for_each_vector(
        tile, [&](Vec& z, int r, int v) DIGAN_FAST_INLINE_LAMBDA { z = sine(reduced[r][v]); });
    return true;
}

template <int R, int V>
static DIGAN_FAST_INLINE bool sines(Tile<R, V>& tile) {
    return sines_within(
        ReachCheck(kReach), tile, [](Vec z) DIGAN_FAST_INLINE_LAMBDA { return reduced(z); },
        [](const Reduced& z) DIGAN_FAST_INLINE_LAMBDA { return sine_of(z); });
}
template <int R, int V>
static DIGAN_FAST_INLINE bool short_sines(Tile<R, V>& tile) {
    return sines_within(
        ShortReachCheck(), tile, [](Vec z) DIGAN_FAST_INLINE_LAMBDA { return quickly_reduced(z); },
        [](const Reduced& z) DIGAN_FAST_INLINE_LAMBDA { return short_sine_of(z); });
}

// z[i] = sin z[i] of rows with numbers out of reach. It is long and rarely called.
[[gnu::noinline, gnu::cold, maybe_unused]] static void far_sines(float* z, int64_t n,
                                                                 bool is_short) {
    for (int64_t i = 0; i < n; i += Vec::width)
        store(z + i, is_short ? short_sine_anywhere(load(z + i)) : sine_anywhere(load(z + i)));
}

// Rows whose sines are computed at once. Of twelve, what is reduced does not fit in the registers:
// a tile of depth 2 takes 1.1 times as long, or in bfloat16 1.25 times. With AVX2, six at once are
// faster than two or three.
constexpr int kSineRows = kMR == 12 ? 4 : kMR;

template <int R, int V>
static DIGAN_FAST_INLINE void apply_sine(Tile<R, V>& tile, bool is_short) {
    unrolled<(R + kSineRows - 1) / kSineRows>([&](auto part) DIGAN_FAST_INLINE_LAMBDA {
        constexpr int first = part.value * kSineRows, left = R - first;
        Tile<(left < kSineRows ? left : kSineRows), V> rows;
        for_each_vector(
            rows, [&](Vec& z, int r, int v) DIGAN_FAST_INLINE_LAMBDA { z = tile.v[first + r][v]; });
        if (!(is_short ? short_sines(rows) : sines(rows))) {
            constexpr int64_t count = sizeof rows / sizeof(float);
            float lanes[count];
            store_tile(rows, lanes, V * Vec::width);
            far_sines(lanes, count, is_short);
            for_each_vector(rows, [&](Vec& z, int r, int v) DIGAN_FAST_INLINE_LAMBDA {
                z = load(lanes + (r * V + v) * Vec::width);
            });
        }
        for_each_vector(rows, [&](const Vec& z, int r, int v)
                                  DIGAN_FAST_INLINE_LAMBDA { tile.v[first + r][v] = z; });
    });
}

template <int R, int V>
static DIGAN_FAST_INLINE void apply_lrelu(Tile<R, V>& tile) {
    const Vec slope = broadcast(kSlope);
    for_each_vector(tile,
                    [&](Vec& z, int, int) DIGAN_FAST_INLINE_LAMBDA { z = max(z, mul(slope, z)); });
}

template <int R, int V>
static DIGAN_FAST_INLINE void apply_epilogue(Tile<R, V>& tile, const Epilogue& how) {
    if (how.activation == Activation::lrelu) {
        apply_lrelu(tile);
    } else if (how.activation == Activation::relu) {
        for_each_vector(
            tile, [](Vec& z, int, int) DIGAN_FAST_INLINE_LAMBDA { z = max(broadcast(0.0f), z); });
    } else if (how.activation == Activation::sine) {
        apply_sine(tile, how.round == Number::bfloat16);
        if (how.gain != 1) {
            const Vec gain = broadcast(how.gain);
            for_each_vector(tile,
                            [&](Vec& z, int, int) DIGAN_FAST_INLINE_LAMBDA { z = mul(gain, z); });
        }
    }
    if (how.clamp < INFINITY) {
        // The constant comes first, so that a NaN in the other operand is kept.
        const Vec most = broadcast(how.clamp), least = broadcast(-how.clamp);
        for_each_vector(
            tile, [&](Vec& z, int, int) DIGAN_FAST_INLINE_LAMBDA { z = min(most, max(least, z)); });
    }
    if (rounds_in_float32(how.round)) {
        for_each_vector(tile, [&](Vec& z, int, int) DIGAN_FAST_INLINE_LAMBDA {
            float lanes[Vec::width];
            store(lanes, z);
            round_n(how.round, lanes, lanes, Vec::width);
            z = load(lanes);
        });
    }
}

}  // namespace digan_fast::DIGAN_FAST_ISA
