#pragma once

// Sixteen floats in registers, and sums in one order on every instruction set: element i in lane
// i mod 16, the lanes added up as a tree.

#include <stdint.h>
#include <string.h>

namespace digan_fast::DIGAN_FAST_ISA {

constexpr int kLanes = 16;

#if defined(__GNUC__) && defined(__AVX512F__)
constexpr int kWidth = 16;
#elif defined(__GNUC__) && defined(__AVX__)
constexpr int kWidth = 8;
#elif defined(__GNUC__)
constexpr int kWidth = 4;
#else
constexpr int kWidth = 1;
#endif

#if defined(__GNUC__)
typedef float Vector __attribute__((vector_size(4 * kWidth)));
#else
typedef float Vector;
#endif

struct Lanes {
    Vector part[kLanes / kWidth];
};

static inline Lanes lanes_of(const float* x) {
    Lanes lanes;
    for (int i = 0; i < kLanes / kWidth; ++i) {
        memcpy(&lanes.part[i], x + i * kWidth, sizeof(Vector));
    }
    return lanes;
}

// The first n < 16 of x, then zeros.
static inline Lanes lanes_of(const float* x, int64_t n) {
    float padded[kLanes] = {};
    for (int64_t i = 0; i < n; ++i) padded[i] = x[i];
    return lanes_of(padded);
}

static inline Lanes no_lanes() {
    Lanes lanes;
    for (Vector& part : lanes.part) part = Vector{};
    return lanes;
}

static inline void add(Lanes& sum, const Lanes& x) {
    for (int i = 0; i < kLanes / kWidth; ++i) sum.part[i] += x.part[i];
}

static inline void add_product(Lanes& sum, const Lanes& x, const Lanes& y) {
    for (int i = 0; i < kLanes / kWidth; ++i) sum.part[i] += x.part[i] * y.part[i];
}

static inline void add_scaled(Lanes& sum, const Lanes& x, float k) {
    for (int i = 0; i < kLanes / kWidth; ++i) sum.part[i] += x.part[i] * k;
}

static inline void store(float* out, const Lanes& lanes) {
    for (int i = 0; i < kLanes / kWidth; ++i) {
        memcpy(out + i * kWidth, &lanes.part[i], sizeof(Vector));
    }
}

static inline float total(const Lanes& lanes) {
    float x[kLanes], eight[8], four[4];
    store(x, lanes);
    for (int i = 0; i < 8; ++i) eight[i] = x[i] + x[i + 8];
    for (int i = 0; i < 4; ++i) four[i] = eight[i] + eight[i + 4];
    return (four[0] + four[2]) + (four[1] + four[3]);
}

}  // namespace digan_fast::DIGAN_FAST_ISA
