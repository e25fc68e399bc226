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

// Points of a tile.
int mlp_pixels(Number number, int width);

}  // namespace digan_fast::cuda
