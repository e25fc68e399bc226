#pragma once

// Sixteen floats in registers, and sums whose order is the same on every instruction set: element i
// goes to lane i mod 16, and the lanes are added as a tree.
//
// The compiler's vectors, not Vec, which the generic set keeps in arrays: with sixteen lanes of
// Vecs fmm_weights, forward and backward, takes 2.2 to 2.6 times as long there, and as long as with
// these on the other sets.

#include <stdint.h>
#include <string.h>

namespace digan_fast::DIGAN_FAST_ISA {

constexpr int kVec16 = 16;

#if defined(__GNUC__) && defined(__AVX512F__)
constexpr int kRegister = 16;
#elif defined(__GNUC__) && defined(__AVX__)
constexpr int kRegister = 8;
#elif defined(__GNUC__)
constexpr int kRegister = 4;
#else
constexpr int kRegister = 1;
#endif

#if defined(__GNUC__)
typedef float Register __attribute__((vector_size(4 * kRegister)));
#else
typedef float Register;
#endif

struct Vec16 {
    Register part[kVec16 / kRegister];
};

static inline Vec16 load16(const float* x) {
    Vec16 lanes;
    for (int i = 0; i < kVec16 / kRegister; ++i) {
        memcpy(&lanes.part[i], x + i * kRegister, sizeof(Register));
    }
    return lanes;
}

// The first n < 16 of x, then zeros.
static inline Vec16 load16(const float* x, int64_t n) {
    float padded[kVec16] = {};
    for (int64_t i = 0; i < n; ++i) padded[i] = x[i];
    return load16(padded);
}

static inline Vec16 zero16() {
    Vec16 lanes;
    for (Register& part : lanes.part) part = Register{};
    return lanes;
}

static inline void add(Vec16& sum, const Vec16& x) {
    for (int i = 0; i < kVec16 / kRegister; ++i) sum.part[i] += x.part[i];
}

static inline void add_product(Vec16& sum, const Vec16& x, const Vec16& y) {
    for (int i = 0; i < kVec16 / kRegister; ++i) sum.part[i] += x.part[i] * y.part[i];
}

static inline void add_scaled(Vec16& sum, const Vec16& x, float k) {
    for (int i = 0; i < kVec16 / kRegister; ++i) sum.part[i] += x.part[i] * k;
}

static inline void store(float* out, const Vec16& lanes) {
    for (int i = 0; i < kVec16 / kRegister; ++i) {
        memcpy(out + i * kRegister, &lanes.part[i], sizeof(Register));
    }
}

static inline float total(const Vec16& lanes) {
    float x[kVec16], eight[8], four[4];
    store(x, lanes);
    for (int i = 0; i < 8; ++i) eight[i] = x[i] + x[i + 8];
    for (int i = 0; i < 4; ++i) four[i] = eight[i] + eight[i + 4];
    return (four[0] + four[2]) + (four[1] + four[3]);
}

}  // namespace digan_fast::DIGAN_FAST_ISA
