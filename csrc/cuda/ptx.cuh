#pragma once

// Instructions that CUDA C++ does not reach: all inline PTX is here, and all of it is in sm_80's
// baseline. Compiled by a C++ compiler, with DIGAN_FAST_SIMULATED defined, the same names
// are functions of tests/cuda/simulator.

#include <cstdint>

#if defined(DIGAN_FAST_SIMULATED)
#    include "simulator.h"
#else

#    define DIGAN_FAST_DYNAMIC_SHARED(name) extern __shared__ __align__(128) unsigned char name[]

namespace digan_fast::cuda {

__device__ __forceinline__ uint32_t shared_address(const void* pointer) {
    return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

// Copies 16 bytes from global to shared memory asynchronously, bypassing L1.
__device__ __forceinline__ void copy_async_16(void* to, const void* from) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared_address(to)), "l"(from)
                 : "memory");
}

// The same, or writes zero without reading where nothing exists.
__device__ __forceinline__ void copy_async_16_or_zero(void* to, const void* from, bool exists) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)),
                 "l"(from), "r"(exists ? 16 : 0)
                 : "memory");
}

// Makes one group of the copies that this thread has issued since its last commit.
__device__ __forceinline__ void copy_async_commit() {
    asm volatile("cp.async.commit_group;" ::: "memory");
}

// Waits until all but the last `Pending` groups of this thread have arrived.
template <int Pending>
__device__ __forceinline__ void copy_async_wait() {
    asm volatile("cp.async.wait_group %0;" ::"n"(Pending) : "memory");
}

// Four 8×8 matrices of 16-bit elements; lane l gives the address of row l % 8 of matrix l / 8 and
// gets elements (l / 4, 2·(l % 4)) and the next of each, or of each transposed.
#    define DIGAN_FAST_LOAD_MATRICES(name, variant)                                          \
        __device__ __forceinline__ void name(uint32_t (&matrices)[4], const void* row) {     \
            asm volatile(                                                                    \
                "ldmatrix.sync.aligned.m8n8.x4" variant ".shared.b16 {%0,%1,%2,%3}, [%4];"   \
                : "=r"(matrices[0]), "=r"(matrices[1]), "=r"(matrices[2]), "=r"(matrices[3]) \
                : "r"(shared_address(row))                                                   \
                : "memory");                                                                 \
        }

DIGAN_FAST_LOAD_MATRICES(load_matrices, "")
DIGAN_FAST_LOAD_MATRICES(load_matrices_transposed, ".trans")
#    undef DIGAN_FAST_LOAD_MATRICES

#    define DIGAN_FAST_MULTIPLY(name, shape, types)                                             \
        __device__ __forceinline__ void name(float (&sum)[4], const uint32_t (&left)[4],        \
                                             uint32_t right0, uint32_t right1) {                \
            asm volatile("mma.sync.aligned." shape ".row.col." types                            \
                         " {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"               \
                         : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])               \
                         : "r"(left[0]), "r"(left[1]), "r"(left[2]), "r"(left[3]), "r"(right0), \
                           "r"(right1));                                                        \
        }

// sum[16, 8] += left[16, k] · right[k, 8]: k = 16 of half precision, 8 of tf32.
DIGAN_FAST_MULTIPLY(multiply_bfloat16, "m16n8k16", "f32.bf16.bf16.f32")
DIGAN_FAST_MULTIPLY(multiply_float16, "m16n8k16", "f32.f16.f16.f32")
DIGAN_FAST_MULTIPLY(multiply_tf32, "m16n8k8", "f32.tf32.tf32.f32")
#    undef DIGAN_FAST_MULTIPLY

// Stores of 8 and 16 bytes that stay whole: the compiler would hoist what both sides of a branch
// have in common, and leave stores of single words.
__device__ __forceinline__ void store_shared(float2* to, float2 value) {
    asm volatile("st.shared.v2.f32 [%0], {%1, %2};" ::"r"(shared_address(to)), "f"(value.x),
                 "f"(value.y)
                 : "memory");
}

__device__ __forceinline__ void store_global(uint2* to, uint2 value) {
    asm volatile("st.global.v2.u32 [%0], {%1, %2};" ::"l"(__cvta_generic_to_global(to)),
                 "r"(value.x), "r"(value.y)
                 : "memory");
}

__device__ __forceinline__ void store_global(uint4* to, uint4 value) {
    asm volatile("st.global.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(__cvta_generic_to_global(to)),
                 "r"(value.x), "r"(value.y), "r"(value.z), "r"(value.w)
                 : "memory");
}

__device__ __forceinline__ void store_global(float4* to, float4 value) {
    asm volatile("st.global.v4.f32 [%0], {%1, %2, %3, %4};" ::"l"(__cvta_generic_to_global(to)),
                 "f"(value.x), "f"(value.y), "f"(value.z), "f"(value.w)
                 : "memory");
}

// Two numbers, rounded to nearest, the first one in the low bits.
__device__ __forceinline__ uint32_t to_bfloat16(float low, float high) {
    uint32_t both;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
    return both;
}

__device__ __forceinline__ uint32_t to_float16(float low, float high) {
    uint32_t both;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
    return both;
}

__device__ __forceinline__ float from_float16(uint16_t bits) {
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return value;
}

// Rounded to 10 bits after the leading one, ties away from zero.
__device__ __forceinline__ uint32_t to_tf32(float value) {
    uint32_t bits;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(value));
    return bits;
}

}  // namespace digan_fast::cuda

#endif
