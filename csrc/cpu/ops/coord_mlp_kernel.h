#pragma once

// The interface of ops/coord_mlp_kernel.cpp, compiled for each instruction set, to
// ops/coord_mlp.cpp, compiled once.

#include "gemm/pack_weights_kernel.h"

namespace digan_fast {

// Up to 128 points through all layers.
struct MlpGroup {
    float* out;           // [points, outputs]
    const float* inputs;  // [points, depth]
    int64_t depth;
    int64_t points;  // 1 to kGroupBlocks · 32
    const PackedLayer* layers;
    int64_t layer_count;
    float* scratch[2];  // kGroupBlocks · widest · 32 elements each, aligned to 64 bytes
    int64_t widest;     // the most channels of any activations or inputs
};

void mlp_group(const MlpGroup& params);

}  // namespace digan_fast
