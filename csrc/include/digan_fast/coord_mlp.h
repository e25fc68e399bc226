#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "digan_fast/bias_act.h"

namespace digan_fast {

// exp(−z²/2), which only coordinate MLPs have.
constexpr Activation kGauss = static_cast<Activation>(kActivations);

// act(ω·(γ∘(W·u + b) + β)), where u = s∘x + t and x is the output of the layer before, with `skip`
// followed by the network's input.
struct CoordMlpLayer {
    const float* weight;       // [B, outputs, inputs], or [outputs, inputs], shared
    bool own_weights;          // [B, outputs, inputs]
    const float* bias;         // [B, outputs], or null, as are the next four
    const float* scale;        // γ, [B, outputs]
    const float* shift;        // β, [B, outputs]
    const float* input_scale;  // s, [B, inputs]
    const float* input_shift;  // t, [B, inputs]
    std::int64_t outputs;
    std::int64_t inputs;
    Activation activation;  // linear, relu, lrelu, tanh, sigmoid, sine or kGauss
    float omega;
    bool skip;
    Number number;  // to which ω·W and u are rounded; float32 for the first and the last layer
};

// Layers evaluated at N points for each of B samples.
struct CoordMlpParams {
    float* out;                // [B, N, outputs of the last layer]
    const float* coordinates;  // [B, N, inputs of the first layer], or [N, inputs], shared
    bool own_coordinates;      // [B, N, inputs]
    bool encoded;  // the network's input is the first layer's output, not the coordinates
    std::int64_t sets, points;
    std::vector<CoordMlpLayer> layers;
    int threads;
    std::function<void()> pause;  // called periodically by the calling thread; may throw
};

// The gradients of a layer's tensors, each like the tensor, or null if it is not wanted.
struct CoordMlpLayerGradient {
    float* weight;
    float* bias;
    float* scale;
    float* shift;
    float* input_scale;
    float* input_shift;
};

// Gradients from `grad` = dL/dout; forward.out is not read. Sums over points are divided into at
// most 16 parts for all samples together, or one for each sample, which are added in order.
struct CoordMlpBackwardParams {
    CoordMlpParams forward;
    const float* grad;    // [B, N, outputs of the last layer]
    float* dcoordinates;  // [B, N, inputs of the first layer], or null
    std::vector<CoordMlpLayerGradient> gradients;
};

void coord_mlp_cpu(const CoordMlpParams& params);
void coord_mlp_backward_cpu(const CoordMlpBackwardParams& params);

// Why the CUDA kernel does not compute a network, whose lower products are of `low`; empty if it
// does.
std::string coord_mlp_cuda_why_not(const CoordMlpParams& params, Number low);
// Bytes that coord_mlp_cuda needs besides `out`.
std::int64_t coord_mlp_cuda_workspace(const CoordMlpParams& params, Number low);
// `params` are accepted by coord_mlp_cuda_why_not, `workspace` is aligned to 16 bytes.
void coord_mlp_cuda(const CoordMlpParams& params, Number low, void* workspace, CudaStream stream);

// The same of the gradients. The operands of weights' gradients take `chunk_bytes` of the workspace
// at most, or one tile's if that is more.
std::string coord_mlp_backward_cuda_why_not(const CoordMlpParams& params, Number low);
std::int64_t coord_mlp_backward_cuda_workspace(const CoordMlpBackwardParams& params, Number low,
                                               std::int64_t chunk_bytes);
void coord_mlp_backward_cuda(const CoordMlpBackwardParams& params, Number low,
                             std::int64_t chunk_bytes, void* workspace, CudaStream stream);

// Channels of the network's input, which layers with `skip` read.
inline std::int64_t network_inputs(const CoordMlpParams& p) {
    return p.encoded ? p.layers.front().outputs : p.layers.front().inputs;
}

}  // namespace digan_fast
