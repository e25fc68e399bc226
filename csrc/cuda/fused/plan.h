#pragma once

#include <vector>

#include "digan_fast/render.h"
#include "fused/params.h"

namespace digan_fast::cuda {

struct RenderStage {
    StageParams params;  // addresses in the workspace counted from its beginning
    int width;
    std::int64_t packed, base_out, image;  // offsets in the workspace; -1: not there
};

struct RenderPlan {
    std::vector<RenderStage> stages;
    std::int64_t bytes;  // of the workspace
    int repeat;          // pixels of the picture per pixel of the finest grid, each way
};

// Of params accepted by render_cuda_why_not.
RenderPlan plan_render(const RenderParams& params);

// Packs a stage's weights and runs it, in one of kWidths. Compiled for each element type in a
// source of its own.
template <class Dtype>
void launch_stage(const StageParams& params, int width, CudaStream stream);

}  // namespace digan_fast::cuda
