#include "fused/launch.cuh"

namespace digan_fast::cuda {

void render_float32(const StageParams& params, int width, CudaStream stream) {
    launch_width<Float32>(params, width, stream);
}

}  // namespace digan_fast::cuda
