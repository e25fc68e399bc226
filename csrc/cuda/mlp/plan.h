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
    std::vector<std::int64_t> packed;  // of each layer, in bytes
    std::int64_t tables, places;       // where they begin in the workspace, in bytes
    std::int64_t bytes;                // of the workspace
};

// Of params accepted by coord_mlp_cuda_why_not; addresses in the workspace are left out.
MlpPlan plan_mlp(const CoordMlpParams& params, Number low);

}  // namespace digan_fast::cuda
