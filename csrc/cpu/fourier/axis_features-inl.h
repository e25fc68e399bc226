#pragma once

#include "fourier/axis.h"
#include "simd/sincos-inl.h"

namespace digan_fast::DIGAN_FAST_ISA {

// Pixels along an axis, and what their features need: θ = F·x + φ with x = (start + step·i)/side.
struct AxisPositions {
    const float* frequency;  // [K, 2], in radians
    const float* phase;      // [K], or null
    int64_t sinusoids;
    Axis axis;
    int64_t start, step, side;
};

// put(k, i, sin, cos) for every sinusoid k and the pixels first … first + count − 1, at most 8.
//
// θ is computed in double and reduced by whole turns, so that sines are within 3e-7 of the exact
// values at any frequency.
template <class Put>
static inline void axis_features(const AxisPositions& a, int64_t first, int64_t count,
                                 const Put& put) {
    constexpr double kTurn = 6.283185307179586;
    constexpr double kShift = 6755399441055744.0;  // 1.5 · 2⁵²: adding it rounds to an integer
    constexpr double kReach = 1e9;                 // beyond it the remainder loses digits
    constexpr int64_t kStrip = 32;                 // sinusoids
    double x[8], theta[kStrip * 8];
    float reduced[kStrip * 8], sine[kStrip * 8], cosine[kStrip * 8];
    for (int64_t i = 0; i < count; ++i)
        x[i] = static_cast<double>(a.start + a.step * (first + i)) / static_cast<double>(a.side);
    for (int64_t begin = 0; begin < a.sinusoids; begin += kStrip) {
        const int64_t end = begin + kStrip < a.sinusoids ? begin + kStrip : a.sinusoids;
        const int64_t n = (end - begin) * count;
        for (int64_t k = begin; k < end; ++k) {
            const double frequency = a.frequency[2 * k + static_cast<int>(a.axis)];
            const double phase = a.phase ? a.phase[k] : 0.0;
            for (int64_t i = 0; i < count; ++i)
                theta[(k - begin) * count + i] = frequency * x[i] + phase;
        }
        for (int64_t i = 0; i < n; ++i) {
            const double turns = (theta[i] * (1 / kTurn) + kShift) - kShift;
            reduced[i] = static_cast<float>(theta[i] - turns * kTurn);
        }
        sincos_n(reduced, sine, cosine, n);
        for (int64_t i = 0; i < n; ++i) {
            if (fabs(theta[i]) <= kReach) continue;
            sine[i] = static_cast<float>(sin(theta[i]));
            cosine[i] = static_cast<float>(cos(theta[i]));
        }
        for (int64_t i = 0; i < n; ++i) put(begin + i / count, i % count, sine[i], cosine[i]);
    }
}

}  // namespace digan_fast::DIGAN_FAST_ISA
