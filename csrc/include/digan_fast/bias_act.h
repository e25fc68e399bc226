#pragma once

#include <cstdint>

namespace digan_fast {

enum class Activation : int {
    linear,
    relu,
    lrelu,
    tanh,
    sigmoid,
    elu,
    selu,
    softplus,
    swish,
    sine
};

constexpr int kActivations = 10;

// y = clamp(act(x + b[c]) · gain, ±clamp) over contiguous float32 [outer, channels, inner].
struct BiasActParams {
    float* out;         // [outer, channels, inner]; may be x itself
    const float* x;     // [outer, channels, inner]
    const float* bias;  // [channels], or null
    std::int64_t outer;
    std::int64_t channels;
    std::int64_t inner;
    Activation activation;
    float alpha;  // slope of lrelu below 0, scale of elu
    float gain;
    float clamp;  // infinity: none
    int threads;
};

void bias_act_cpu(const BiasActParams& params);

}  // namespace digan_fast
