#pragma once

#include "digan_fast/cuda_info.h"
#include "fused/params.h"

namespace digan_fast::cuda {

// Packs a stage's weights and runs it, in one of kWidths; one source file each, as they take long
// to compile.
void render_bfloat16(const StageParams& params, int width, CudaStream stream);
void render_float16(const StageParams& params, int width, CudaStream stream);
void render_float32(const StageParams& params, int width, CudaStream stream);
void render_tf32(const StageParams& params, int width, CudaStream stream);

}  // namespace digan_fast::cuda
