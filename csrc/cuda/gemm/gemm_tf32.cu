#include "gemm/launch.cuh"

namespace digan_fast::cuda {

void product_tf32(const char* op, const ProductParams& params, bool waves, CudaStream stream) {
    launch_product<Tf32>(op, params, waves, stream);
}

}  // namespace digan_fast::cuda
