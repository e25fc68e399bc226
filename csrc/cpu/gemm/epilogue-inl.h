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
    float clamp;  // infinity: none
    bool round;   // to bfloat16; here only if kRoundsBfloat16, else where it is stored
};

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
        Vec reach = broadcast(0.0f);  // a NaN in z does not get into it
        for (int r = 0; r < R; ++r)
            for (const Vec& z : tile.v[r]) reach = max_absolute(z, reach);
        if (any_beyond(reach, kSincosReach)) {
            for (int r = 0; r < R; ++r)
                for (Vec& z : tile.v[r]) z = sine_anywhere(z);
        } else if (how.round) {
            for (int r = 0; r < R; ++r)
                for (Vec& z : tile.v[r]) z = short_sine_of(reduced(z));
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
        // The constant comes first, so that a NaN in the other operand is kept.
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
