#pragma once

// The interface of ops/coord_mlp_kernel.cpp, compiled for each instruction set, to
// ops/coord_mlp.cpp, compiled once.

#include "gemm/pack_weights_kernel.h"

namespace digan_fast {

// A layer of one sample.
struct MlpLayer {
    PackedLayer packed;        // ω·W, and as bias ω·(b + β), or with a scale ω·b
    const float* scale;        // γ, or null; as long as the bias, as is the next one
    const float* shift;        // ω·β, or null; always null without a scale
    const float* input_scale;  // [inputs], or null
    const float* input_shift;  // [inputs], or null
    int64_t inputs;
    bool skip;
};

// Some points, a few blocks, through all layers.
struct MlpGroup {
    float* out;           // [points, outputs]
    const float* inputs;  // [points, depth]
    int64_t depth;
    int64_t points;
    const MlpLayer* layers;
    int64_t layer_count;
    bool encoded;       // what layers with `skip` read is the first layer's output
    float* scratch[2];  // for each block widest · 32 elements each, aligned to 64 bytes
    float* features;    // for each block 32 of each channel that layers with `skip` read, or null
    int64_t widest;     // the most channels of any activations or inputs, and one
};

void mlp_group(const MlpGroup& params);

}  // namespace digan_fast
