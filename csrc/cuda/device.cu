#include <cuda_runtime_api.h>

#include "digan_fast/cuda_info.h"

namespace digan_fast {

CudaInfo cuda_info() {
    CudaInfo info{0, 0, 0, ""};
    cudaRuntimeGetVersion(&info.runtime_version);
    cudaDriverGetVersion(&info.driver_version);
    if (info.driver_version == 0) {
        info.reason = "no CUDA driver is installed";
        return info;
    }
    const cudaError_t error = cudaGetDeviceCount(&info.devices);
    if (error != cudaSuccess) {
        cudaGetLastError();
        info.devices = 0;
        info.reason = cudaGetErrorString(error);
    }
    return info;
}

}  // namespace digan_fast
