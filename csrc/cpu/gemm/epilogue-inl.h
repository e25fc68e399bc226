#pragma once

// What becomes of a tile before it leaves the registers.

#include "digan_fast/bias_act.h"
#include "gemm/microkernel-inl.h"
#include "simd/sincos-inl.h"

namespace digan_fast::DIGAN_FAST_ISA {

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
    bool round;   // to bfloat16, kept in float32: where kRoundsBfloat16
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
    if (kRoundsBfloat16 && how.round) {
        float z[V * Vec::width];
        for (int r = 0; r < R; ++r) {
            for (int v = 0; v < V; ++v) store(z + v * Vec::width, tile.v[r][v]);
            for (float& a : z) a = to_bfloat16(a);
            for (int v = 0; v < V; ++v) tile.v[r][v] = load(z + v * Vec::width);
        }
    }
}

}  // namespace digan_fast::DIGAN_FAST_ISA
