#include <algorithm>

#include "mlp/backward_plan.h"

namespace digan_fast {
namespace cuda {
namespace {

constexpr std::int64_t kAlignment = 256;

std::int64_t aligned(std::int64_t bytes) {
    return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

// As many as 132 multiprocessors hold at once, or somewhat more; the same on every device, so that
// the order of sums is.
std::int64_t most_blocks(int width) { return width == 64 ? 528 : width == 512 ? 132 : 264; }

// What is wanted of each layer; `operand`, `features` and `gradient` count operands.
std::vector<MlpBack> wanted_of(const CoordMlpBackwardParams& params, const MlpPlan& forward,
                               std::int64_t& operands, std::int64_t& sums) {
    const CoordMlpParams& p = params.forward;
    std::vector<MlpBack> backs(p.layers.size());
    bool below = params.dcoordinates != nullptr;
    for (std::size_t i = 0; i < backs.size(); ++i) {
        const CoordMlpLayerGradient& of = params.gradients[i];
        const MlpPackParams& layer = forward.layers[i];
        MlpBack& back = backs[i];
        back.weight = of.weight;
        back.shift = of.bias || of.shift;
        back.scale = of.scale;
        back.input = of.input_scale || of.input_shift;
        back.inputs = below || back.input;
        back.wanted = below = back.inputs || back.weight || back.shift || back.scale;
        const bool multiplies = layer.layer.steps + layer.layer.feature_steps > 0;
        back.operand = back.weight && multiplies ? operands++ : -1;
        back.features = back.weight && layer.layer.feature_steps ? operands++ : -1;
        back.gradient = back.weight && multiplies ? operands++ : -1;
        back.sums = sums;
        sums += 2 * layer.layer.extra +
                std::int64_t{forward.width} * (kSumTables + layer.layer.dimensions + layer.few);
    }
    bool left = false;
    for (std::size_t i = backs.size(); i-- > 0;) {
        backs[i].adds = left;
        left = left || (p.layers[i].skip && backs[i].inputs);
    }
    return backs;
}

}  // namespace

MlpBackwardPlan plan_mlp_backward(const CoordMlpBackwardParams& params, Number low,
                                  std::int64_t chunk_bytes) {
    const CoordMlpParams& p = params.forward;
    MlpBackwardPlan plan{};
    plan.forward = plan_mlp(p, low);
    std::int64_t operands = 0;
    plan.back = wanted_of(params, plan.forward, operands, plan.sum_stride);
    const int width = plan.forward.width;
    plan.pixels = mlp_backward_pixels(plan.forward.number != Number::float32, width);
    plan.tiles = (p.points - 1) / plan.pixels + 1;
    const std::int64_t numbers = std::int64_t{plan.pixels} * width;
    const std::int64_t rows_bytes = numbers * (plan.forward.number == Number::float32 ? 4 : 2);
    const std::int64_t tile_bytes = operands * rows_bytes + plan.sum_stride * 4;
    const std::int64_t fitting = std::max<std::int64_t>(1, chunk_bytes / tile_bytes);
    const std::int64_t samples = fitting / plan.tiles;
    plan.most = samples ? MlpChunk{0, std::min(samples, p.sets), 0, plan.tiles}
                        : MlpChunk{0, 1, 0, fitting};
    const std::int64_t tiles = plan.most.samples * plan.most.tiles;
    for (MlpBack& back : plan.back)
        for (std::int64_t* const place : {&back.operand, &back.features, &back.gradient})
            if (*place >= 0) *place *= tiles * rows_bytes;
    plan.forward = plan_mlp(p, low, plan.back);
    plan.blocks = std::min(most_blocks(width), tiles);
    plan.kept_stride = (plan.forward.params.products + 1 + (p.encoded ? 1 : 0)) * numbers;
    plan.chunk = aligned(plan.forward.bytes);
    plan.sums = plan.chunk + aligned(operands * tiles * rows_bytes);
    plan.kept = plan.sums + aligned(tiles * plan.sum_stride * 4);
    plan.partials = plan.kept + aligned(plan.blocks * plan.kept_stride * 4);
    std::int64_t most = 0;
    for (std::size_t i = 0; i < p.layers.size(); ++i)
        for (const bool of_features : {false, true}) {
            const MlpWeightGradient weight = weight_gradient(plan, p, i, of_features);
            most = std::max(
                most, weight.split.count * weight.batches * p.layers[i].outputs * weight.columns);
        }
    plan.bytes = plan.partials + aligned(most * 4);
    return plan;
}

std::vector<MlpChunk> chunks_of(const MlpBackwardPlan& plan, std::int64_t samples) {
    std::vector<MlpChunk> chunks;
    for (std::int64_t sample = 0; sample < samples; sample += plan.most.samples)
        for (std::int64_t tile = 0; tile < plan.tiles; tile += plan.most.tiles)
            chunks.push_back({sample, std::min(plan.most.samples, samples - sample), tile,
                              std::min(plan.most.tiles, plan.tiles - tile)});
    return chunks;
}

MlpWeightGradient weight_gradient(const MlpBackwardPlan& plan, const CoordMlpParams& p,
                                  std::size_t i, bool features) {
    const MlpBack& back = plan.back[i];
    const CoordMlpLayer& layer = p.layers[i];
    const int channels = plan.forward.layers[i].layer.channels;
    MlpWeightGradient weight{};
    weight.operand = features ? back.features : back.operand;
    if (weight.operand < 0) return weight;
    weight.first = features ? channels : 0;
    weight.columns = features ? layer.inputs - channels : channels;
    weight.batches = layer.own_weights ? plan.most.samples : 1;
    const std::int64_t samples = layer.own_weights ? 1 : plan.most.samples;
    weight.split = split_k(layer.outputs, weight.columns, weight.batches,
                           samples * plan.most.tiles * plan.pixels, plan.forward.number);
    return weight;
}

}  // namespace cuda

std::string coord_mlp_backward_cuda_why_not(const CoordMlpParams& p, Number low) {
    using namespace cuda;
    const std::string reason = coord_mlp_cuda_why_not(p, low);
    if (!reason.empty()) return reason;
    const MlpPlan plan = plan_mlp(p, low);
    for (const MlpPackParams& layer : plan.layers)
        if (layer.layer.feature_steps && plan.width == 512 && plan.number != Number::float32)
            return "a tile of 512 channels in half precision does not read encoded coordinates "
                   "again";
    if (!plan.params.few) return "";
    const int most = mlp_backward_outputs(plan.number != Number::float32, plan.width);
    if (p.layers.back().outputs <= most) return "";
    return "the last layer has " + std::to_string(p.layers.back().outputs) +
           " outputs; a tile holds gradients by " + std::to_string(most);
}

std::int64_t coord_mlp_backward_cuda_workspace(const CoordMlpBackwardParams& params, Number low,
                                               std::int64_t chunk_bytes) {
    return cuda::plan_mlp_backward(params, low, chunk_bytes).bytes;
}

}  // namespace digan_fast
