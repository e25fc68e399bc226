#pragma once

// Element types: how each is kept in memory, rounded, and multiplied by tensor cores. All
// arithmetic, and every sum, is float32.

#include "digan_fast/bias_act.h"
#include "ptx.cuh"

namespace digan_fast::cuda {

// Sixteen bytes of elements, moved at once.
union alignas(16) Vector {
    uint32_t words[4];
    uint4 whole;
};

__device__ __forceinline__ float bits_to_float(uint32_t bits) { return __uint_as_float(bits); }

struct Bfloat16 {
    using Element = uint16_t;
    static constexpr bool kOnTensorCores = true;
    static __device__ __forceinline__ float widened(Element element) {
        return bits_to_float(static_cast<uint32_t>(element) << 16);
    }
    static __device__ __forceinline__ Element narrowed(float value) {
        return static_cast<Element>(pack(value, 0.0f) & 0xFFFFu);
    }
    static __device__ __forceinline__ uint32_t pack(float low, float high) {
        return to_bfloat16(low, high);
    }
    static __device__ __forceinline__ float first(uint32_t word) {
        return bits_to_float(word << 16);
    }
    static __device__ __forceinline__ float second(uint32_t word) {
        return bits_to_float(word & 0xFFFF0000u);
    }
    static __device__ __forceinline__ void mma(float (&sum)[4], const uint32_t (&left)[4],
                                               uint32_t right0, uint32_t right1) {
        multiply_bfloat16(sum, left, right0, right1);
    }
};

struct Float16 {
    using Element = uint16_t;
    static constexpr bool kOnTensorCores = true;
    static __device__ __forceinline__ float widened(Element element) {
        return from_float16(element);
    }
    static __device__ __forceinline__ Element narrowed(float value) {
        return static_cast<Element>(pack(value, 0.0f) & 0xFFFFu);
    }
    static __device__ __forceinline__ uint32_t pack(float low, float high) {
        return to_float16(low, high);
    }
    static __device__ __forceinline__ float first(uint32_t word) {
        return from_float16(static_cast<uint16_t>(word & 0xFFFFu));
    }
    static __device__ __forceinline__ float second(uint32_t word) {
        return from_float16(static_cast<uint16_t>(word >> 16));
    }
    static __device__ __forceinline__ void mma(float (&sum)[4], const uint32_t (&left)[4],
                                               uint32_t right0, uint32_t right1) {
        multiply_float16(sum, left, right0, right1);
    }
};

// float32, multiplied by fma.
struct Float32 {
    using Element = float;
    static constexpr bool kOnTensorCores = false;
    static __device__ __forceinline__ float widened(Element element) { return element; }
    static __device__ __forceinline__ Element narrowed(float value) { return value; }
    static __device__ __forceinline__ uint32_t word(float value) { return __float_as_uint(value); }
};

// float32 in memory; tensor cores read it to 10 bits after the leading one.
struct Tf32 {
    using Element = float;
    static constexpr bool kOnTensorCores = true;
    static __device__ __forceinline__ uint32_t word(float value) { return to_tf32(value); }
    static __device__ __forceinline__ void mma(float (&sum)[4], const uint32_t (&left)[4],
                                               uint32_t right0, uint32_t right1) {
        multiply_tf32(sum, left, right0, right1);
    }
};

template <class Dtype>
constexpr bool kHalfPrecision = sizeof(typename Dtype::Element) == 2;

template <class Dtype>
constexpr int kVectorElements = 16 / static_cast<int>(sizeof(typename Dtype::Element));

// Rounds 16 bytes of elements and takes them apart again.
template <class Dtype>
__device__ __forceinline__ Vector packed(const float* values) {
    Vector vector;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        if constexpr (kHalfPrecision<Dtype>)
            vector.words[i] = Dtype::pack(values[2 * i], values[2 * i + 1]);
        else
            vector.words[i] = Dtype::word(values[i]);
    }
    return vector;
}

template <class Dtype>
__device__ __forceinline__ void unpack(const Vector& vector, float* values) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        if constexpr (kHalfPrecision<Dtype>) {
            values[2 * i] = Dtype::first(vector.words[i]);
            values[2 * i + 1] = Dtype::second(vector.words[i]);
        } else {
            values[i] = bits_to_float(vector.words[i]);
        }
    }
}

// A value rounded to the type.
template <class Dtype>
__device__ __forceinline__ float rounded(float value) {
    if constexpr (kHalfPrecision<Dtype>)
        return Dtype::first(Dtype::pack(value, 0.0f));
    else
        return bits_to_float(Dtype::word(value));
}

template <class Dtype>
__device__ __forceinline__ float load(const void* from, std::int64_t at) {
    return Dtype::widened(static_cast<const typename Dtype::Element*>(from)[at]);
}

template <class Dtype>
__device__ __forceinline__ void store(void* to, std::int64_t at, float value) {
    static_cast<typename Dtype::Element*>(to)[at] = Dtype::narrowed(value);
}

// Neighbours from `at`: one, or as many as 16 aligned bytes hold.
template <class Dtype, int Count>
__device__ __forceinline__ void load(const void* from, std::int64_t at, float (&values)[Count]) {
    using Element = typename Dtype::Element;
    if constexpr (Count == 1) {
        values[0] = load<Dtype>(from, at);
    } else {
        union {
            uint4 whole;
            Element elements[kVectorElements<Dtype>];
        } vector;
        vector.whole = *reinterpret_cast<const uint4*>(static_cast<const Element*>(from) + at);
#pragma unroll
        for (int i = 0; i < Count; ++i) values[i] = Dtype::widened(vector.elements[i]);
    }
}

template <class Dtype, int Count>
__device__ __forceinline__ void store(void* to, std::int64_t at, const float (&values)[Count]) {
    using Element = typename Dtype::Element;
    if constexpr (Count == 1) {
        store<Dtype>(to, at, values[0]);
    } else {
        union {
            uint4 whole;
            Element elements[kVectorElements<Dtype>];
        } vector;
#pragma unroll
        for (int i = 0; i < Count; ++i) vector.elements[i] = Dtype::narrowed(values[i]);
        store_global(reinterpret_cast<uint4*>(static_cast<Element*>(to) + at), vector.whole);
    }
}

inline bool is_aligned(const void* pointer) {
    return reinterpret_cast<std::uintptr_t>(pointer) % 16 == 0;
}

// Calls `visit` with the trait of a tensor's elements.
template <class Visit>
void with_dtype(Number number, Visit&& visit) {
    switch (number) {
        case Number::float32:
            return visit(Float32{});
        case Number::bfloat16:
            return visit(Bfloat16{});
        case Number::float16:
            return visit(Float16{});
    }
}

}  // namespace digan_fast::cuda
