#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "digan_fast/bias_act.h"

namespace digan_fast {

// act(W·x + b) · gain, one W per weight set.
struct CoordMlpLayer {
    const float* weight;  // [B, outputs, inputs]
    const float* bias;    // [outputs] or [B, outputs], or null
    bool own_biases;      // [B, outputs]
    std::int64_t outputs;
    std::int64_t inputs;
    Activation activation;  // linear, relu, lrelu or sine
    float gain;
    bool bfloat16;  // the operands, and the output, are rounded; not of the last layer
};

// A chain of layers evaluated at N points for each of B weight sets.
struct CoordMlpParams {
    float* out;                // [B, N, outputs of the last layer]
    const float* coordinates;  // [B, N, inputs of the first layer], or [N, inputs], shared
    bool own_coordinates;      // [B, N, inputs]
    std::int64_t sets, points;
    std::vector<CoordMlpLayer> layers;
    int threads;
    std::function<void()> pause;  // called periodically by the calling thread; may throw
};

void coord_mlp_cpu(const CoordMlpParams& params);

}  // namespace digan_fast
