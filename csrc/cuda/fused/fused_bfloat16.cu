#include "fused/launch.cuh"

namespace digan_fast::cuda {

void render_bfloat16(const StageParams& params, int width, CudaStream stream) {
    launch_width<Bfloat16>(params, width, stream);
}

}  // namespace digan_fast::cuda
