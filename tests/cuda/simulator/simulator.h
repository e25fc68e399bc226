#pragma once

// The subset of CUDA used by csrc/cuda, for a C++ compiler: every thread of a block is a fiber, and
// blocks run one after another. Barriers, collectives and copies are functions of this header.
// ThreadSanitizer instruments the kernels only; the simulator's sources are compiled without it.

#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "digan_fast/cuda_info.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __grid_constant__
#define DIGAN_FAST_DYNAMIC_SHARED(name) unsigned char* const name = simulator::shared_memory()

// For functions that move lanes' data: not instrumented by ThreadSanitizer.
#define SIMULATOR_UNSEEN __attribute__((no_sanitize("thread"), noinline))

struct alignas(8) uint2 {
    std::uint32_t x, y;
};
struct alignas(8) float2 {
    float x, y;
};
struct alignas(16) uint4 {
    std::uint32_t x, y, z, w;
};
struct alignas(16) float4 {
    float x, y, z, w;
};

namespace simulator {

struct Index {
    unsigned x;
};

Index thread_index();
Index block_index();
Index block_extent();
unsigned char* shared_memory();

void synchronise_block();
void synchronise_warp();

// A collective operation of a warp. `in` and `out` are the lane's own; `act` runs once, when all 32
// lanes have arrived. A lane in another collective, or a missing one, aborts the program.
using Lanes = void (*)(const void* const* in, void* const* out);
void collective(const char* name, const void* in, void* out, Lanes act);

// `move` is compiled with the caller, so that sanitizers check its accesses.
using Move = void (*)(void* to, const void* from);
void copy_async(void* to, const void* from, Move move);
void copy_async_commit();
void copy_async_wait(int pending);

// When copies are executed: when issued, when waited for, or either at random.
enum class Copies { eager, late, random };

struct Settings {
    bool record = false;  // record launches instead of running them
    Copies copies = Copies::late;
    unsigned seed = 0;  // of the order in which threads run; 0: in thread order
    int shared_memory_limit = 99 * 1024;
};
Settings& settings();

struct Launch {
    std::string kernel;  // its symbol
    std::int64_t blocks;
    int threads, shared_bytes;
    std::string params;  // the bytes of its only parameter
};
std::vector<Launch>& launches();

void run(const char* op, const void* kernel, std::int64_t blocks, int threads, int shared_bytes,
         const void* params, std::size_t size, const std::function<void()>& body);

template <class Params>
void launch(const char* op, void (*kernel)(Params), std::int64_t blocks, int threads,
            int shared_bytes, digan_fast::CudaStream, const Params& params) {
    run(op, reinterpret_cast<const void*>(kernel), blocks, threads, shared_bytes, &params,
        sizeof(Params), [&] { kernel(params); });
}

inline int shared_memory_limit(const char*) { return settings().shared_memory_limit; }

float bfloat16_to_float(std::uint16_t bits);
std::uint16_t float_to_bfloat16(float value);
float float16_to_float(std::uint16_t bits);
std::uint16_t float_to_float16(float value);
std::uint32_t float_to_tf32(float value);

// A lane's fragments, in the hardware's layout.
struct Operands {
    std::uint32_t left[4], right[2];
};
void multiply_lanes_bfloat16(const void* const* in, void* const* out);
void multiply_lanes_float16(const void* const* in, void* const* out);
void multiply_lanes_tf32(const void* const* in, void* const* out);
void exchange_matrices(const void* const* in, void* const* out);
void exchange_matrices_transposed(const void* const* in, void* const* out);

template <int Mask>
SIMULATOR_UNSEEN void exchange_xor(const void* const* in, void* const* out) {
    for (int lane = 0; lane < 32; ++lane)
        *static_cast<float*>(out[lane]) = *static_cast<const float*>(in[lane ^ Mask]);
}

}  // namespace simulator

#define threadIdx (simulator::thread_index())
#define blockIdx (simulator::block_index())
#define blockDim (simulator::block_extent())

inline void __syncthreads() { simulator::synchronise_block(); }

inline void __syncwarp() { simulator::synchronise_warp(); }

inline float __shfl_xor_sync(unsigned, float value, int mask) {
    float result = 0;
    const simulator::Lanes act[] = {simulator::exchange_xor<1>, simulator::exchange_xor<2>,
                                    simulator::exchange_xor<4>, simulator::exchange_xor<8>,
                                    simulator::exchange_xor<16>};
    simulator::collective("shfl.xor", &value, &result, act[__builtin_ctz(mask)]);
    return result;
}

inline float __uint_as_float(std::uint32_t bits) {
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

inline std::uint32_t __float_as_uint(float value) {
    std::uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
}

template <class T>
constexpr T min(T a, T b) {
    return b < a ? b : a;
}
template <class T>
constexpr T max(T a, T b) {
    return a < b ? b : a;
}

namespace digan_fast::cuda {

inline void copy_async_16(void* to, const void* from) {
    simulator::copy_async(to, from, [](void* there, const void* here) {
        *static_cast<uint4*>(there) = *static_cast<const uint4*>(here);
    });
}
inline void copy_async_16_or_zero(void* to, const void* from, bool exists) {
    static const uint4 zero{};
    copy_async_16(to, exists ? from : &zero);
}
inline void copy_async_commit() { simulator::copy_async_commit(); }
template <int Pending>
void copy_async_wait() {
    simulator::copy_async_wait(Pending);
}

// Each lane reads its own row here, where sanitizers check the access.
inline void load_matrices(std::uint32_t (&matrices)[4], const void* row) {
    uint4 own = *static_cast<const uint4*>(row);
    simulator::collective("ldmatrix", &own, matrices, simulator::exchange_matrices);
}
inline void load_matrices_transposed(std::uint32_t (&matrices)[4], const void* row) {
    uint4 own = *static_cast<const uint4*>(row);
    simulator::collective("ldmatrix.trans", &own, matrices,
                          simulator::exchange_matrices_transposed);
}

#define SIMULATED_MULTIPLY(type)                                                          \
    inline void multiply_##type(float (&sum)[4], const std::uint32_t (&left)[4],          \
                                std::uint32_t right0, std::uint32_t right1) {             \
        simulator::Operands own{{left[0], left[1], left[2], left[3]}, {right0, right1}};  \
        simulator::collective("mma " #type, &own, sum, simulator::multiply_lanes_##type); \
    }
SIMULATED_MULTIPLY(bfloat16)
SIMULATED_MULTIPLY(float16)
SIMULATED_MULTIPLY(tf32)
#undef SIMULATED_MULTIPLY

inline void store_shared(float2* to, float2 value) { *to = value; }
inline void store_global(uint2* to, uint2 value) { *to = value; }
inline void store_global(uint4* to, uint4 value) { *to = value; }
inline void store_global(float4* to, float4 value) { *to = value; }

inline std::uint32_t to_bfloat16(float low, float high) {
    return simulator::float_to_bfloat16(low) |
           static_cast<std::uint32_t>(simulator::float_to_bfloat16(high)) << 16;
}
inline std::uint32_t to_float16(float low, float high) {
    return simulator::float_to_float16(low) |
           static_cast<std::uint32_t>(simulator::float_to_float16(high)) << 16;
}
inline float from_float16(std::uint16_t bits) { return simulator::float16_to_float(bits); }
inline std::uint32_t to_tf32(float value) { return simulator::float_to_tf32(value); }

}  // namespace digan_fast::cuda
