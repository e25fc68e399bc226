#pragma once

#include <cstdint>
#include <limits>
#include <stdexcept>
#include <string>

#include "digan_fast/cuda_info.h"

#if defined(DIGAN_FAST_SIMULATED)
#    include "simulator.h"
#else
#    include <cuda_runtime_api.h>
#endif

namespace digan_fast::cuda {

#if defined(DIGAN_FAST_SIMULATED)
using simulator::launch;
using simulator::shared_memory_limit;
#else

inline void check(const char* op, cudaError_t error) {
    if (error == cudaSuccess) return;
    throw std::runtime_error(std::string(op) + ": CUDA: " + cudaGetErrorString(error));
}

// The most bytes of shared memory that a block can have on the current device.
inline int shared_memory_limit(const char* op) {
    int device = 0, bytes = 0;
    check(op, cudaGetDevice(&device));
    check(op, cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device));
    return bytes;
}

// Neither waits nor allocates. Throws std::runtime_error, with the op's name, when CUDA refuses.
template <class Params>
void launch(const char* op, void (*kernel)(Params), std::int64_t blocks, int threads,
            int shared_bytes, CudaStream stream, const Params& params) {
    if (blocks > std::numeric_limits<int>::max())
        throw std::runtime_error(std::string(op) + ": " + std::to_string(blocks) +
                                 " blocks, and a launch has fewer than 2^31");
    constexpr int kWithoutAsking = 48 * 1024;
    if (shared_bytes > kWithoutAsking)
        check(op, cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                                       cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes));
    void* arguments[] = {const_cast<Params*>(&params)};
    check(op, cudaLaunchKernel(reinterpret_cast<const void*>(kernel),
                               dim3(static_cast<unsigned>(blocks)), dim3(threads), arguments,
                               shared_bytes, stream));
}

#endif

}  // namespace digan_fast::cuda
