#include "fused/launch.cuh"

namespace digan_fast::cuda {

void render_tf32(const StageParams& params, int width, CudaStream stream) {
    launch_width<Tf32>(params, width, stream);
}

}  // namespace digan_fast::cuda
