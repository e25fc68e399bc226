#pragma once

// The numbers that products multiply. Sums are float32 in each.

#include "ptx.cuh"

namespace digan_fast::cuda {

// Sixteen bytes of elements, how they are moved.
union alignas(16) Vector {
    uint32_t words[4];
    uint4 whole;
};

__device__ __forceinline__ float bits_to_float(uint32_t bits) { return __uint_as_float(bits); }

struct Bfloat16 {
    using Element = uint16_t;
    static constexpr bool ON_TENSOR_CORES = true;
    static __device__ __forceinline__ uint32_t pack(float low, float high) {
        return to_bfloat16(low, high);
    }
    static __device__ __forceinline__ float first(uint32_t word) {
        return bits_to_float(word << 16);
    }
    static __device__ __forceinline__ float second(uint32_t word) {
        return bits_to_float(word & 0xFFFF0000u);
    }
    static __device__ __forceinline__ void multiply(float (&sum)[4], const uint32_t (&left)[4],
                                                    uint32_t right0, uint32_t right1) {
        multiply_bfloat16(sum, left, right0, right1);
    }
};

struct Float16 {
    using Element = uint16_t;
    static constexpr bool ON_TENSOR_CORES = true;
    static __device__ __forceinline__ uint32_t pack(float low, float high) {
        return to_float16(low, high);
    }
    static __device__ __forceinline__ float first(uint32_t word) {
        return from_float16(static_cast<uint16_t>(word & 0xFFFFu));
    }
    static __device__ __forceinline__ float second(uint32_t word) {
        return from_float16(static_cast<uint16_t>(word >> 16));
    }
    static __device__ __forceinline__ void multiply(float (&sum)[4], const uint32_t (&left)[4],
                                                    uint32_t right0, uint32_t right1) {
        multiply_float16(sum, left, right0, right1);
    }
};

// float32 that a product reads to 10 bits after the leading one.
struct Tf32 {
    using Element = float;
    static constexpr bool ON_TENSOR_CORES = true;
    static __device__ __forceinline__ uint32_t word(float value) { return to_tf32(value); }
    static __device__ __forceinline__ void multiply(float (&sum)[4], const uint32_t (&left)[4],
                                                    uint32_t right0, uint32_t right1) {
        multiply_tf32(sum, left, right0, right1);
    }
};

// float32 as it is, in products of fused multiply-adds.
struct Float32 {
    using Element = float;
    static constexpr bool ON_TENSOR_CORES = false;
    static __device__ __forceinline__ uint32_t word(float value) { return __float_as_uint(value); }
};

template <class Number>
constexpr int kVectorElements = 16 / static_cast<int>(sizeof(typename Number::Element));

// Rounds 16 bytes of elements and takes them apart again.
template <class Number>
__device__ __forceinline__ Vector packed(const float* values) {
    Vector vector;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        if constexpr (sizeof(typename Number::Element) == 2)
            vector.words[i] = Number::pack(values[2 * i], values[2 * i + 1]);
        else
            vector.words[i] = Number::word(values[i]);
    }
    return vector;
}

template <class Number>
__device__ __forceinline__ void unpack(const Vector& vector, float* values) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        if constexpr (sizeof(typename Number::Element) == 2) {
            values[2 * i] = Number::first(vector.words[i]);
            values[2 * i + 1] = Number::second(vector.words[i]);
        } else {
            values[i] = bits_to_float(vector.words[i]);
        }
    }
}

// A number as it is once rounded.
template <class Number>
__device__ __forceinline__ float rounded(float value) {
    if constexpr (sizeof(typename Number::Element) == 2)
        return Number::first(Number::pack(value, 0.0f));
    else
        return bits_to_float(Number::word(value));
}

}  // namespace digan_fast::cuda
