#pragma once

// Tensors of float32, bfloat16 or float16, computed with in float32.

#include "digan_fast/bias_act.h"
#include "ptx.cuh"

namespace digan_fast::cuda {

template <Number NUMBER>
struct Storage {
    static constexpr bool WIDE = NUMBER == Number::float32;
    using Element = std::conditional_t<WIDE, float, uint16_t>;
    static constexpr int VECTOR = 16 / static_cast<int>(sizeof(Element));

    static __device__ __forceinline__ float widened(Element element) {
        if constexpr (WIDE)
            return element;
        else if constexpr (NUMBER == Number::bfloat16)
            return __uint_as_float(static_cast<uint32_t>(element) << 16);
        else
            return from_float16(element);
    }
    static __device__ __forceinline__ Element narrowed(float value) {
        if constexpr (WIDE)
            return value;
        else if constexpr (NUMBER == Number::bfloat16)
            return static_cast<Element>(to_bfloat16(value, 0.0f) & 0xFFFFu);
        else
            return static_cast<Element>(to_float16(value, 0.0f) & 0xFFFFu);
    }

    static __device__ __forceinline__ float load(const void* from, std::int64_t at) {
        return widened(static_cast<const Element*>(from)[at]);
    }
    static __device__ __forceinline__ void store(void* to, std::int64_t at, float value) {
        static_cast<Element*>(to)[at] = narrowed(value);
    }

    // Neighbours from `at`: COUNT is 1 or VECTOR, of 16 aligned bytes.
    template <int COUNT>
    static __device__ __forceinline__ void load(const void* from, std::int64_t at,
                                                float (&values)[COUNT]) {
        if constexpr (COUNT == 1) {
            values[0] = load(from, at);
        } else {
            union {
                uint4 whole;
                Element elements[VECTOR];
            } vector;
            vector.whole = *reinterpret_cast<const uint4*>(static_cast<const Element*>(from) + at);
#pragma unroll
            for (int i = 0; i < COUNT; ++i) values[i] = widened(vector.elements[i]);
        }
    }
    template <int COUNT>
    static __device__ __forceinline__ void store(void* to, std::int64_t at,
                                                 const float (&values)[COUNT]) {
        if constexpr (COUNT == 1) {
            store(to, at, values[0]);
        } else {
            union {
                uint4 whole;
                Element elements[VECTOR];
            } vector;
#pragma unroll
            for (int i = 0; i < COUNT; ++i) vector.elements[i] = narrowed(values[i]);
            store_global(reinterpret_cast<uint4*>(static_cast<Element*>(to) + at), vector.whole);
        }
    }
};

inline bool is_aligned(const void* pointer) {
    return reinterpret_cast<std::uintptr_t>(pointer) % 16 == 0;
}

}  // namespace digan_fast::cuda
