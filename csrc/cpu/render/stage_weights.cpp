#include "render/stage_weights.h"

#include <algorithm>
#include <cmath>

#include "gemm/terms_rows_kernel.h"
#include "runtime/threads.h"

namespace digan_fast {
namespace {

constexpr int64_t kLine = 16;  // elements per cache line

int64_t pack_factor(Precision precision) { return traits_of(precision).pack; }

int64_t round_up(int64_t a, int64_t multiple) { return (a + multiple - 1) / multiple * multiple; }

// act(z)·gain = act(gain·z), so the gain is folded into the panels.
bool folded(Activation activation) { return activation != Activation::sine; }

// The most that `add` can take for a layer whose columns are split in two.
int64_t most(const RenderLayer& layer, bool terms) {
    const int64_t depth = terms ? terms_depth(layer.inputs) : layer.inputs;
    return std::max(layer.outputs, kSplitRows) * (depth + 4) + 6 * layer.outputs + 10 * kLine +
           8 * kGap;
}

// Whether colours are split layers (PackedLayer) on AMX.
bool splits(const RenderLayer& to_rgb) {
    return to_rgb.outputs <= kSplitOutputs && to_rgb.activation == Activation::linear &&
           std::isinf(to_rgb.clamp);
}

// Whether float32 is multiplied as terms: on AMX, where colours are split layers and all other
// widths whole squares.
bool as_terms(const RenderParams& p) {
    const auto whole = [](int64_t width) { return width % kTermsSide == 0; };
    const auto fits = [&](const RenderLayer& layer) {
        return whole(layer.outputs) && whole(layer.inputs);
    };
    return p.precision == Precision::float32 && traits_of(Precision::bfloat16).terms &&
           std::all_of(p.levels.begin(), p.levels.end(), [&](const RenderLevel& level) {
               return whole(level.sinusoids) && splits(level.to_rgb) &&
                      std::all_of(level.layers.begin(), level.layers.end(), fits);
           });
}

}  // namespace

StageWeights::StageWeights(const RenderParams& p)
    : precision_(p.precision),
      terms_(as_terms(p)),
      traits_(traits_of(terms_ ? Precision::bfloat16 : p.precision)) {
    int64_t size = 0;
    for (const RenderLevel& level : p.levels) {
        size += most(level.to_rgb, terms_);
        for (const RenderLayer& layer : level.layers) size += most(layer, terms_);
    }
    memory_.reserve(size);
    bases_.reserve(p.levels.size());
    layers_.reserve(p.levels.size());
    int64_t below = 0;  // channels of the previous level
    for (const RenderLevel& level : p.levels) {
        size_t begin = 0;
        if (level.sinusoids) {
            const RenderLayer& first = level.layers.front();
            Stage stage{};
            if (below) {
                RenderLayer linear = first;
                if (!folded(first.activation)) linear.gain = 1;
                linear.activation = Activation::linear;
                linear.clamp = INFINITY;
                bases_.push_back(add(linear, {.count = below, .precision = precision_}));
                stages_.back().next_base = &bases_.back();
                const int64_t pack = precision_ == Precision::bfloat16 ? traits_.pack : 1;
                stages_.back().base_rows = round_up(linear.outputs, pack) / pack;
            }
            const int64_t K = level.sinusoids;
            if (precision_ == Precision::int8) {
                stage.features = add(first, {.first = below,
                                             .count = 2 * K,
                                             .sinusoids = K,
                                             .with_bias = !below,
                                             .precision = precision_});
            } else {
                stage.sine = add(first, {.first = below,
                                         .count = K,
                                         .with_bias = !below,
                                         .precision = Precision::float32,
                                         .unrotated = true});
                stage.cosine = add(first, {.first = below + K,
                                           .count = K,
                                           .with_bias = false,
                                           .precision = Precision::float32,
                                           .unrotated = true});
                const int64_t factor = traits_.pack;
                stage.rotated_depth = terms_ ? terms_depth(K) : round_up(K, factor) / factor;
                widest_ = std::max(widest_, 2 * stage.rotated_depth);
            }
            stage.sinusoids = K;
            stage.outputs = first.outputs;
            stage.colours = level.to_rgb.outputs;
            stage.precision = precision_;
            stage.terms = terms_;
            stages_.push_back(stage);
            grids_.push_back(&level);
            levels_.emplace_back();
            begin = 1;
        }
        std::vector<PackedLayer>& layers = layers_.emplace_back();
        for (size_t i = begin; i < level.layers.size(); ++i) {
            const RenderLayer& layer = level.layers[i];
            layers.push_back(add(layer, {.count = layer.inputs, .precision = precision_}));
        }
        for (const RenderLayer& layer : level.layers) below = layer.outputs;
        const RenderLayer& to_rgb = level.to_rgb;
        levels_.back().push_back({.layers = layers.data(),
                                  .layer_count = static_cast<int64_t>(layers.size()),
                                  .to_rgb = add_to_rgb(to_rgb)});
    }
    for (size_t s = 0; s < stages_.size(); ++s) {
        stages_[s].levels = levels_[s].data();
        stages_[s].level_count = static_cast<int64_t>(levels_[s].size());
    }
}

float* StageWeights::take(int64_t size) {
    float* const begin = memory_.data() + taken_;
    taken_ += round_up(size, kLine) + kGap;
    forbid(begin + size, memory_.data() + taken_);
    return begin;
}

// Colours have float32 weights in every precision.
PackedLayer StageWeights::add_to_rgb(const RenderLayer& layer) {
    const bool split = traits_.terms && splits(layer);
    return add(layer, {.count = layer.inputs,
                       .precision = split ? Precision::bfloat16 : Precision::float32,
                       .split = split});
}

PackedLayer StageWeights::add(const RenderLayer& layer, const Columns& columns) {
    // A float32 product with paired activations reads an odd last one's whole pair; in int8 it
    // reads float32.
    const bool int8x4s = precision_ == Precision::int8;
    const int64_t own = int8x4s ? pack_factor(columns.precision) : traits_.pack;
    const int64_t factor = columns.unrotated ? 1 : own;
    const bool terms = terms_ && !columns.split && !columns.unrotated;
    const int64_t depth = terms ? terms_depth(columns.count)
                                : round_up(columns.count, factor) / pack_factor(columns.precision);
    const int64_t outputs = columns.split ? kSplitRows : layer.outputs;
    PackedLayer packed{.panels = take(outputs * depth),
                       .bias = columns.with_bias ? take(outputs) : nullptr,
                       .outputs = outputs,
                       .depth = depth,
                       .activation = layer.activation,
                       .gain = folded(layer.activation) ? 1.0f : layer.gain,
                       .clamp = layer.clamp,
                       .split = columns.split,
                       .terms = terms};
    if (columns.precision == Precision::int8) {
        packed.scales = take(layer.outputs);
        packed.sums = reinterpret_cast<int32_t*>(take(layer.outputs));
    }
    // In int8 a part of a group's scratch holds either float32 or Int8x4.
    const int64_t held = int8x4s ? 1 : factor;
    widest_ = std::max(
        {widest_, round_up(columns.count, factor) / factor, round_up(outputs, held) / held});
    if (terms_ && !columns.split)
        widest_ = std::max({widest_, terms_depth(columns.count), terms_depth(outputs)});
    const Precision unrotated = terms_ ? Precision::bfloat16 : precision_;
    LayerPacking params{.layer = packed,
                        .weight = layer.weight + columns.first,
                        .bias = columns.with_bias ? layer.bias : nullptr,
                        .row_stride = layer.inputs,
                        .inputs = columns.count,
                        .sinusoids = columns.sinusoids,
                        .scale = folded(layer.activation) ? layer.gain : 1.0f,
                        .first = 0,
                        .last = 0,
                        .precision = columns.unrotated ? unrotated : columns.precision,
                        .unrotated = columns.unrotated};
    for (int64_t first = 0; first < layer.outputs; first += kPackTaskRows) {
        params.first = first;
        params.last = std::min(first + kPackTaskRows, layer.outputs);
        tasks_.push_back({params, layer.outputs * layer.inputs});
    }
    return packed;
}

void StageWeights::pack(int64_t video, int threads) {
    parallel_for(threads, static_cast<int64_t>(tasks_.size()), [&](int64_t i) {
        LayerPacking params = tasks_[i].params;
        params.weight += video * tasks_[i].video_stride;
        pack_layer(params);
    });
}

}  // namespace digan_fast
