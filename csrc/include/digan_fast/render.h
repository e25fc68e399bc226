#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "digan_fast/bias_act.h"
#include "digan_fast/cuda_info.h"

namespace digan_fast {

// int8: products of 8-bit weights, with a scale per row, and 8-bit activations, with a scale and a
// zero point per pixel; 32-bit sums; bases, to-RGB and colours in float32.
// Only CUDA supports float16 and tf32. The type of products, unlike `Number`, that of storage: the
// differentiable CUDA ops take both, as `number` and `tf32`, which keeps float32 tensors.
enum class Precision : int { float32, bfloat16, int8, float16, tf32 };

// The most inputs of a layer in int8: its sums, up to inputs·255·127, stay below 2³¹.
constexpr std::int64_t kInt8Inputs = 65536;

// clamp(act(W·x + b)·gain, ±clamp)
struct RenderLayer {
    const float* weight;  // [B, outputs, inputs]
    const float* bias;    // [outputs]
    std::int64_t outputs;
    std::int64_t inputs;
    Activation activation;  // linear, relu, lrelu or sine
    float gain;
    float clamp;  // infinity: none
};

struct RenderLevel {
    std::int64_t side;       // of the whole picture's grid
    std::int64_t sinusoids;  // K; 0: on the previous level's grid
    const float* frequency;  // [B, K, 2]
    const float* phase;      // [B, T, K]
    std::vector<RenderLayer> layers;
    RenderLayer to_rgb;
};

// The colours [B, T, C, height, width] of a window of the pictures of B videos at T times. The
// picture's side is a multiple of the last level's, whose pixels are repeated.
struct RenderParams {
    float* out;
    std::int64_t videos;
    std::int64_t frames;
    std::int64_t side;
    std::int64_t top, left, height, width;
    std::vector<RenderLevel> levels;  // coarse to fine; the side doubles at levels with sinusoids
    Precision precision;
    int threads;
    std::function<void()> pause;  // called periodically by the calling thread; may throw
};

void render_cpu(const RenderParams& params);

// Why the fused kernel, which computes all levels of a grid, cannot render this; empty if it can.
std::string render_cuda_why_not(const RenderParams& params);

// Bytes that render_cuda needs besides `out`.
std::int64_t render_cuda_workspace(const RenderParams& params);

// Two launches per grid, on the current device, and one more if pixels are repeated. All addresses
// are device addresses; `workspace` is a multiple of 16.
void render_cuda(const RenderParams& params, void* workspace, CudaStream stream);

}  // namespace digan_fast
