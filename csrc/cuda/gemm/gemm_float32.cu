#include "gemm/launch.cuh"

namespace digan_fast::cuda {

void product_float32(const char* op, const ProductParams& params, bool waves, CudaStream stream) {
    launch_product<Float32>(op, params, waves, stream);
}

}  // namespace digan_fast::cuda
