#pragma once

struct CUstream_st;

namespace digan_fast {

using CudaStream = CUstream_st*;  // cudaStream_t, without CUDA's header

struct CudaInfo {
    int devices;
    int runtime_version;  // 1000 · major + 10 · minor
    int driver_version;   // the newest runtime that the driver supports; 0: no driver
    const char* reason;   // why there is no device; empty if there is one
};

CudaInfo cuda_info();

}  // namespace digan_fast
