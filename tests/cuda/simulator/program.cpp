// A program for sanitizers: every kernel once in the simulator, on memory of exactly the documented
// size. Values are checked by the tests in Python.

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <vector>

#include "digan_fast/coord_linear.h"
#include "digan_fast/coord_mlp.h"
#include "digan_fast/fmm_weights.h"
#include "digan_fast/linear_act.h"
#include "digan_fast/render.h"
#include "digan_fast/upfirdn2d.h"
#include "simulator.h"

namespace {

using digan_fast::Activation;
using digan_fast::BiasActBackwardParams;
using digan_fast::BiasActParams;
using digan_fast::Number;
using digan_fast::Precision;
using digan_fast::RenderLayer;
using digan_fast::RenderLevel;
using digan_fast::RenderParams;

std::mt19937 random_engine{1};

// Tensors that live until the end, each allocated separately.
std::vector<std::unique_ptr<float[]>> tensors;

float* tensor(std::int64_t elements) {
    std::normal_distribution<float> normal;
    tensors.push_back(std::make_unique<float[]>(elements));
    for (std::int64_t i = 0; i < elements; ++i) tensors.back()[i] = normal(random_engine);
    return tensors.back().get();
}

constexpr float kInfinity = std::numeric_limits<float>::infinity();

RenderLayer layer(int videos, std::int64_t outputs, std::int64_t inputs, Activation activation) {
    return {tensor(videos * outputs * inputs),
            tensor(outputs),
            outputs,
            inputs,
            activation,
            1.0f,
            kInfinity};
}

void render(Precision precision, const std::vector<std::vector<std::int64_t>>& grids,
            std::array<std::int64_t, 4> window, int repeat, int shared_memory_limit) {
    simulator::settings().shared_memory_limit = shared_memory_limit;
    constexpr int kVideos = 2, kFrames = 1, kSinusoids = 5, kColours = 3;
    std::vector<RenderLevel> levels;
    std::int64_t side = 8, channels = 0;
    for (const auto& outputs : grids) {
        if (channels) side *= 2;
        RenderLevel level{side,
                          kSinusoids,
                          tensor(kVideos * kSinusoids * 2),
                          tensor(kVideos * kFrames * kSinusoids),
                          {},
                          {}};
        channels += 2 * kSinusoids;
        for (const std::int64_t width : outputs) {
            const Activation activation =
                level.layers.empty() ? Activation::lrelu : Activation::sine;
            level.layers.push_back(layer(kVideos, width, channels, activation));
            channels = width;
        }
        level.to_rgb = layer(kVideos, kColours, channels, Activation::linear);
        levels.push_back(level);
    }
    RenderParams params{nullptr,   kVideos,   kFrames, side * repeat, window[0], window[1],
                        window[2], window[3], levels,  precision,     1,         {}};
    params.out = tensor(kVideos * kFrames * kColours * window[2] * window[3]);
    const std::int64_t bytes = digan_fast::render_cuda_workspace(params);
    void* workspace = nullptr;
    if (posix_memalign(&workspace, 256, bytes)) std::abort();
    digan_fast::render_cuda(params, workspace, nullptr);
    std::free(workspace);
}

void bias_act(Number number, std::int64_t outer, std::int64_t channels, std::int64_t inner) {
    const std::int64_t elements = outer * channels * inner;
    const float* bias = tensor(channels);
    const BiasActParams forward{tensor(elements),  tensor(elements), bias, outer, channels, inner,
                                Activation::swish, number,           1.0f, 1.4f,  0.5f,     1};
    digan_fast::bias_act_cuda(forward, nullptr);
    BiasActBackwardParams backward{};
    backward.dx = tensor(elements);
    backward.dbias = tensor(channels);
    backward.partials = tensor(digan_fast::bias_act_cuda_parts(outer, inner) * channels);
    backward.grad = tensor(elements);
    backward.x = forward.x;
    backward.bias = bias;
    backward.out = forward.out;
    backward.outer = outer;
    backward.channels = channels;
    backward.inner = inner;
    backward.activation = Activation::swish;
    backward.number = number;
    backward.alpha = backward.gain = 1.0f;
    backward.clamp = kInfinity;
    digan_fast::bias_act_backward_cuda(backward, nullptr);
}

void upfirdn2d(Number number) {
    const digan_fast::UpfirdnAxis vertical{5, 6, 3, 2}, horizontal{4, 6, 4, -1};
    const digan_fast::Upfirdn2dParams params{tensor(2 * 6 * 6 * 3),
                                             tensor(2 * 5 * 4 * 3),
                                             tensor(3 * 4),
                                             2,
                                             3,
                                             vertical,
                                             horizontal,
                                             3,
                                             2,
                                             number,
                                             1};
    digan_fast::upfirdn2d_cuda(params, nullptr);
}

void fmm_weights(digan_fast::Modulation modulation) {
    constexpr std::int64_t kBatch = 2, kOutputs = 3, kInputs = 131, kRank = 5;
    const float *weight = tensor(kOutputs * kInputs), *left = tensor(kBatch * kOutputs * kRank),
                *right = tensor(kBatch * kRank * kInputs);
    constexpr std::int64_t kElements = kBatch * kOutputs * kInputs;
    digan_fast::fmm_weights_cuda({tensor(kElements), weight, left, right, kBatch, kOutputs, kInputs,
                                  kRank, modulation, 0.4f, 1},
                                 nullptr);
    digan_fast::fmm_weights_backward_cuda(
        {tensor(kOutputs * kInputs), tensor(kBatch * kOutputs * kRank),
         tensor(kBatch * kRank * kInputs), tensor(kElements), tensor(kElements), weight, left,
         right, kBatch, kOutputs, kInputs, kRank, modulation, false, 0.4f, 1},
        nullptr);
}

// `extents` are inputs, outputs and rows: all multiples of the vector width, or none.
void linear_act(Number number, bool tf32, Activation activation,
                std::array<std::int64_t, 3> extents) {
    constexpr std::int64_t kVideos = 2;
    const auto [inputs, outputs, rows] = extents;
    digan_fast::LinearActCudaParams p{};
    p.out = tensor(kVideos * rows * outputs);
    p.x = tensor(kVideos * rows * inputs);
    p.weight = tensor(kVideos * outputs * inputs);
    p.bias = tensor(kVideos * outputs);
    p.own_biases = true;
    p.videos = kVideos;
    p.rows = rows;
    p.inputs = inputs;
    p.outputs = outputs;
    p.activation = activation;
    p.number = number;
    p.tf32 = tf32;
    p.gain = 1.4f;
    p.clamp = 2.0f;
    digan_fast::linear_act_cuda(p, nullptr);
    const std::int64_t elements = kVideos * rows * outputs;
    digan_fast::linear_act_backward_cuda(
        {p, tensor(elements), tensor(elements), tensor(kVideos * rows * inputs),
         tensor(kVideos * outputs * inputs), tensor(kVideos * outputs),
         tensor(digan_fast::linear_act_cuda_partials(p))},
        nullptr);
}

void coord_linear(Number number, bool tf32, bool based, std::int64_t sinusoids,
                  std::int64_t outputs) {
    constexpr std::int64_t kVideos = 2, kFrames = 2, kHeight = 9, kWidth = 13, kAncestors = 5 * 7;
    digan_fast::CoordLinearCudaParams p{};
    const std::int64_t elements = kVideos * kFrames * kHeight * kWidth * outputs;
    p.out = tensor(elements);
    p.base = based ? tensor(kVideos * kFrames * kAncestors * outputs) : nullptr;
    p.frequency = tensor(kVideos * sinusoids * 2);
    p.phase = tensor(kVideos * kFrames * sinusoids);
    p.weight = tensor(kVideos * outputs * 2 * sinusoids);
    p.bias = tensor(outputs);
    p.videos = kVideos;
    p.frames = kFrames;
    p.sinusoids = sinusoids;
    p.outputs = outputs;
    p.side = 16;
    p.top = -3;
    p.left = 2;
    p.height = kHeight;
    p.width = kWidth;
    p.base_height = 5;
    p.base_width = 7;
    p.activation = Activation::lrelu;
    p.number = number;
    p.tf32 = tf32;
    p.gain = 1.4f;
    p.clamp = kInfinity;
    digan_fast::coord_linear_cuda(p, nullptr);
    digan_fast::CoordLinearCudaBackwardParams b{};
    b.forward = p;
    b.grad = tensor(elements);
    b.dz = tensor(elements);
    b.dbase = based ? tensor(kVideos * kFrames * kAncestors * outputs) : nullptr;
    b.dweight = tensor(kVideos * outputs * 2 * sinusoids);
    b.dtheta = tensor(kVideos * kFrames * 3 * sinusoids);
    b.dvideo = tensor(kVideos * 3 * sinusoids);
    b.dbias = tensor(outputs);
    b.partials = tensor(digan_fast::coord_linear_cuda_partials(p));
    digan_fast::coord_linear_backward_cuda(b, nullptr);
}

// The gradients by everything.
void coord_mlp_backward(const digan_fast::CoordMlpParams& p, Number low) {
    constexpr std::int64_t kChunkBytes = 1 << 20;
    if (!digan_fast::coord_mlp_backward_cuda_why_not(p, low).empty()) std::abort();
    digan_fast::CoordMlpBackwardParams b{};
    b.forward = p;
    b.grad = tensor(p.sets * p.points * p.layers.back().outputs);
    b.dcoordinates = tensor(p.sets * p.points * p.layers.front().inputs);
    for (const digan_fast::CoordMlpLayer& layer : p.layers)
        b.gradients.push_back(
            {tensor(p.sets * layer.outputs * layer.inputs), tensor(p.sets * layer.outputs),
             layer.scale ? tensor(p.sets * layer.outputs) : nullptr, nullptr, nullptr,
             layer.input_shift ? tensor(p.sets * layer.inputs) : nullptr});
    void* workspace = nullptr;
    if (posix_memalign(&workspace, 256,
                       digan_fast::coord_mlp_backward_cuda_workspace(b, low, kChunkBytes)))
        std::abort();
    digan_fast::coord_mlp_backward_cuda(b, low, kChunkBytes, workspace, nullptr);
    std::free(workspace);
}

// A network of these widths at 70 points, the last layer but one with the network's input.
void coord_mlp(Number low, bool encoded, const std::vector<std::int64_t>& widths,
               int shared_memory_limit, bool backward = false) {
    simulator::settings().shared_memory_limit = shared_memory_limit;
    constexpr std::int64_t kSets = 2, kPoints = 70, kDimensions = 3;
    digan_fast::CoordMlpParams p{};
    p.own_coordinates = true;
    p.encoded = encoded;
    p.sets = kSets;
    p.points = kPoints;
    p.coordinates = tensor(kSets * kPoints * kDimensions);
    std::int64_t inputs = kDimensions;
    for (std::size_t i = 0; i < widths.size(); ++i) {
        digan_fast::CoordMlpLayer layer{};
        layer.skip = i > 1 && i + 2 == widths.size() && (encoded || low == Number::float32);
        layer.number = i > 0 && i + 1 < widths.size() ? low : Number::float32;
        layer.inputs = inputs + (layer.skip ? encoded ? widths[0] : kDimensions : 0);
        layer.outputs = inputs = widths[i];
        layer.own_weights = true;
        layer.weight = tensor(kSets * layer.outputs * layer.inputs);
        layer.bias = tensor(kSets * layer.outputs);
        layer.scale = i % 2 ? tensor(kSets * layer.outputs) : nullptr;
        layer.input_shift = i % 2 ? nullptr : tensor(kSets * layer.inputs);
        layer.activation = i % 2 ? digan_fast::kGauss : Activation::sine;
        layer.omega = 2.0f;
        p.layers.push_back(layer);
    }
    p.out = tensor(kSets * kPoints * widths.back());
    if (!digan_fast::coord_mlp_cuda_why_not(p, low).empty()) std::abort();
    void* workspace = nullptr;
    if (posix_memalign(&workspace, 256, digan_fast::coord_mlp_cuda_workspace(p, low))) std::abort();
    digan_fast::coord_mlp_cuda(p, low, workspace, nullptr);
    std::free(workspace);
    if (backward) coord_mlp_backward(p, low);
}

}  // namespace

int main() {
    for (const auto copies :
         {simulator::Copies::eager, simulator::Copies::late, simulator::Copies::random}) {
        simulator::settings().copies = copies;
        simulator::settings().seed = static_cast<unsigned>(copies);
        for (const auto precision :
             {Precision::float32, Precision::bfloat16, Precision::float16, Precision::tf32})
            render(precision, {{24, 20}, {33, 9}}, {3, -2, 6, 9}, 1, 99 << 10);
        render(Precision::bfloat16, {{70}, {9}}, {1, 2, 17, 3}, 2, 99 << 10);
    }
    render(Precision::bfloat16, {{300, 40}, {200}}, {0, 0, 3, 3}, 1, 99 << 10);
    render(Precision::bfloat16, {{300, 40}, {200}}, {0, 0, 3, 3}, 1, 163 << 10);
    // Tiles extend below a window so wide that the base's next rows would lie beyond the workspace.
    render(Precision::bfloat16, {{9}, {9}}, {0, 0, 1, 300}, 1, 99 << 10);
    for (const auto precision : {Precision::float32, Precision::tf32})
        render(precision, {{300}, {9}}, {0, 0, 3, 3}, 1, 99 << 10);
    for (const auto number : {Number::float32, Number::bfloat16, Number::float16}) {
        for (const bool encoded : {false, true}) {
            coord_mlp(number, encoded, {24, 40, 33, 3}, 99 << 10,
                      number == (encoded ? Number::bfloat16 : Number::float32));
            coord_mlp(number, encoded, {70, 100, 90, 20}, 99 << 10);
        }
        coord_mlp(number, false, {300, 260, 3}, 163 << 10);
        bias_act(number, 2, 3, 16);
        bias_act(number, 41, 40, 1);
        bias_act(number, 3, 5, 7);
        upfirdn2d(number);
        linear_act(number, false, Activation::sine, {19, 23, 5});
        linear_act(number, false, Activation::lrelu, {72, 24, 130});
        coord_linear(number, false, true, 5, 7);
        coord_linear(number, false, false, 24, 16);
    }
    linear_act(Number::float32, true, Activation::relu, {20, 16, 5});
    coord_linear(Number::float32, true, true, 8, 16);
    fmm_weights(digan_fast::Modulation::demod);
    fmm_weights(digan_fast::Modulation::tanh);
    std::puts("every kernel ran");
}
