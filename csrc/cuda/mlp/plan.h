#pragma once

#include <string>
#include <vector>

#include "mlp/params.h"

namespace digan_fast::cuda {

struct MlpPlan {
    int width;
    Number number;  // of the operands of products
    MlpParams params;
    std::vector<MlpPackParams> layers;
    std::vector<std::int64_t> packed, packed_back;  // of each layer, in bytes
    std::int64_t tables, places;                    // where they begin in the workspace, in bytes
    std::int64_t bytes;                             // of the workspace
};

// Of params accepted by coord_mlp_cuda_why_not; addresses in the workspace are left out. For the
// backward, `back` says what it does with each layer, but for its steps.
MlpPlan plan_mlp(const CoordMlpParams& params, Number low, const std::vector<MlpBack>& back = {});

// Packs weights and tables, and completes `plan` with their addresses in the workspace.
void pack_mlp_network(MlpPlan& plan, std::int64_t samples, unsigned char* workspace,
                      CudaStream stream);

// Points of a tile, which the kernels' tiles are held to (mlp/launch.cuh, mlp/backward_launch.cuh).
constexpr int mlp_pixels(bool half, int width) {
    return half ? (width >= 256 ? 64 : 128) : (width >= 512 ? 32 : 64);
}
constexpr int mlp_backward_pixels(bool half, int width) {
    return width < 512 ? 64 : half ? 48 : 32;
}
// Outputs of a last layer, the gradients by which share a tile's memory with sums by warps.
constexpr int mlp_backward_outputs(bool half, int width) {
    const int warps = width / (width == 512 && !half ? 64 : 32);
    return width / (half ? 2 : 1) - 4 * (warps + 2);
}

}  // namespace digan_fast::cuda
