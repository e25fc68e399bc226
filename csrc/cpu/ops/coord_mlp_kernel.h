#pragma once

// What ops/coord_mlp.cpp, compiled once, asks of ops/coord_mlp_kernel.cpp, compiled for each
// instruction set.

#include "gemm/pack_weights_kernel.h"

namespace digan_fast {

// Up to 128 points through all layers.
struct MlpGroup {
    float* out;           // [points, outputs]
    const float* inputs;  // [points, the first layer's depth]
    int64_t points;       // 1 to kGroupBlocks · 32
    const PackedLayer* layers;
    int64_t count;
    float* scratch[2];  // kGroupBlocks · widest · 32 numbers each, aligned to 64 bytes
    int64_t widest;     // channels of the widest activations or inputs
};

void mlp_group(const MlpGroup& params);

}  // namespace digan_fast
