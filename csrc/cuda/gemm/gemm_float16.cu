#include "gemm/launch.cuh"

namespace digan_fast::cuda {

void product_float16(const char* op, const ProductParams& params, bool waves, CudaStream stream) {
    launch_product<Float16>(op, params, waves, stream);
}

}  // namespace digan_fast::cuda
