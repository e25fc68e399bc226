#include "digan_fast/coord_mlp.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "ops/coord_mlp_kernel.h"
#include "ops/mlp_offsets.h"
#include "ops/mlp_terms.h"
#include "runtime/scratch.h"
#include "runtime/threads.h"

namespace digan_fast {
namespace {

// Multiply-adds of a thread between two looks for a signal: 0.07 s at a Zen 5 EPYC's 260 GFLOP/s.
constexpr int64_t kProductsTogether = int64_t{1} << 33;

// Samples whose weights are packed at once: work for all threads even if each has few points.
int64_t sets_together(const CoordMlpParams& p) {
    return std::min(std::max<int64_t>(16, p.threads), p.sets);
}

Precision precision_of(const CoordMlpLayer& layer) {
    if (layer.number == Number::float16) return Precision::float16;
    return layer.number == Number::bfloat16 ? Precision::bfloat16 : Precision::float32;
}

// Of a layer's panels.
int64_t outputs_of(const CoordMlpLayer& layer) {
    return as_terms(layer) ? whole_squares(layer.outputs) : layer.outputs;
}
int64_t depth_of(const CoordMlpLayer& layer) {
    if (as_terms(layer)) return terms_depth(layer.inputs);
    const int64_t pack = traits_of(precision_of(layer)).pack;
    return (layer.inputs + pack - 1) / pack;
}

int64_t group_points(const CoordMlpParams& p) {
    int blocks = 0;
    for (const CoordMlpLayer& layer : p.layers) {
        const Precision precision = as_terms(layer) ? Precision::bfloat16 : precision_of(layer);
        blocks = std::max(blocks, traits_of(precision).group_blocks);
    }
    return blocks * kBlockPixels;
}

// The layers of some samples, in panels; shared weights are packed once.
class PackedSets {
  public:
    explicit PackedSets(const CoordMlpParams& p)
        : p_(p),
          own_(sets_together(p), sizes(p, true)),
          shared_(1, sizes(p, false)),
          layers_(sets_together(p) * p.layers.size()) {
        std::vector<LayerPacking> tasks;
        for (size_t i = 0; i < p.layers.size(); ++i)
            if (!p.layers[i].own_weights) add_packing(i, 0, shared_.at(0, i), &tasks);
        run(tasks);
    }

    void pack(int64_t first, int64_t sets) {
        std::vector<LayerPacking> tasks;
        for (int64_t set = 0; set < sets; ++set)
            for (size_t i = 0; i < p_.layers.size(); ++i) {
                const CoordMlpLayer& layer = p_.layers[i];
                float* const panels =
                    layer.own_weights ? own_.at(set, kAreas * i) : shared_.at(0, i);
                if (layer.own_weights) add_packing(i, first + set, panels, &tasks);
                layers_[set * p_.layers.size() + i] =
                    modulated(layer, first + set, panels,
                              [&](int64_t area) { return own_.at(set, kAreas * i + area); });
            }
        run(tasks);
    }
    const MlpLayer* of(int64_t set) const { return layers_.data() + set * p_.layers.size(); }

  private:
    // What a layer has in scratch: panels of shared weights once, all else for each sample.
    enum { kPanels, kBias, kScale, kShift, kAreas };

    static std::vector<int64_t> sizes(const CoordMlpParams& p, bool own) {
        std::vector<int64_t> sizes;
        for (const CoordMlpLayer& layer : p.layers) {
            const int64_t panels = outputs_of(layer) * depth_of(layer);
            sizes.push_back(layer.own_weights == own ? panels : 0);
            if (!own) continue;
            sizes.push_back(outputs_of(layer));
            sizes.push_back(layer.scale ? outputs_of(layer) : 0);
            sizes.push_back(has_own_shift(layer) ? outputs_of(layer) : 0);
        }
        return sizes;
    }

    static PackedLayer packed(const CoordMlpLayer& layer, float* panels, float* bias) {
        return {.panels = panels,
                .bias = bias,
                .outputs = layer.outputs,
                .depth = depth_of(layer),
                .activation = layer.activation,
                .gain = 1.0f,
                .clamp = INFINITY,
                .number = layer.number,
                .terms = as_terms(layer)};
    }

    void add_packing(size_t i, int64_t set, float* panels, std::vector<LayerPacking>* tasks) {
        const CoordMlpLayer& layer = p_.layers[i];
        LayerPacking task{};
        task.layer = packed(layer, panels, nullptr);
        task.weight = layer.weight + set * layer.outputs * layer.inputs;
        task.row_stride = task.inputs = layer.inputs;
        task.scale = layer.omega;
        task.precision = precision_of(layer);
        for (int64_t row = 0; row < layer.outputs; row += kPackTaskRows) {
            task.first = row;
            task.last = std::min(row + kPackTaskRows, layer.outputs);
            tasks->push_back(task);
        }
    }

    template <class Area>
    static MlpLayer modulated(const CoordMlpLayer& layer, int64_t set, float* panels,
                              const Area& area) {
        float *const bias = area(kBias), *const scale = layer.scale ? area(kScale) : nullptr;
        float* const shift = has_own_shift(layer) ? area(kShift) : nullptr;
        set_offsets(layer, set, bias, shift);
        if (scale) std::copy_n(vector_of(layer.scale, set, layer.outputs), layer.outputs, scale);
        for (float* const values : {bias, scale, shift})
            if (values) std::fill(values + layer.outputs, values + outputs_of(layer), 0.0f);
        return {.packed = packed(layer, panels, bias),
                .scale = scale,
                .shift = shift,
                .input_scale = vector_of(layer.input_scale, set, layer.inputs),
                .input_shift = vector_of(layer.input_shift, set, layer.inputs),
                .inputs = layer.inputs,
                .skip = layer.skip};
    }

    void run(const std::vector<LayerPacking>& tasks) {
        parallel_for(p_.threads, static_cast<int64_t>(tasks.size()),
                     [&](int64_t i) { pack_layer(tasks[i]); });
    }

    const CoordMlpParams& p_;
    ScratchAreas own_, shared_;
    std::vector<MlpLayer> layers_;
};

}  // namespace

void coord_mlp_cpu(const CoordMlpParams& p) {
    const int64_t inputs = p.layers.front().inputs, outputs = p.layers.back().outputs;
    const int64_t together = group_points(p), groups = (p.points + together - 1) / together;
    int64_t widest = 0;  // with the partner of an odd last channel
    int64_t products = 0;
    bool skips = false;
    for (const CoordMlpLayer& layer : p.layers) {
        products += together * layer.outputs * layer.inputs;
        widest = std::max({widest, layer.inputs + 1, outputs_of(layer) + 1});
        if (as_terms(layer)) widest = std::max(widest, depth_of(layer));
        skips = skips || layer.skip;
    }
    const int64_t activations = together * widest;
    const ScratchAreas scratch(
        p.threads, {activations, activations, skips ? together * network_inputs(p) : 0});
    PackedSets packed(p);
    const auto compute = [&](int64_t first, int64_t task, int worker) {
        const int64_t set = first + task / groups, point = task % groups * together;
        const int64_t row = (p.own_coordinates ? set * p.points : 0) + point;
        mlp_group({
            .out = p.out + (set * p.points + point) * outputs,
            .inputs = p.coordinates + row * inputs,
            .depth = inputs,
            .points = std::min(together, p.points - point),
            .layers = packed.of(set - first),
            .layer_count = static_cast<int64_t>(p.layers.size()),
            .encoded = p.encoded,
            .scratch = {scratch.at(worker), scratch.at(worker, 1)},
            .features = skips ? scratch.at(worker, 2) : nullptr,
            .widest = widest,
        });
    };
    const int64_t part = std::max<int64_t>(1, kProductsTogether / products) * p.threads;
    for (int64_t first = 0; first < p.sets; first += sets_together(p)) {
        const int64_t sets = std::min(sets_together(p), p.sets - first), tasks = sets * groups;
        packed.pack(first, sets);
        for (int64_t done = 0; done < tasks; done += part) {
            if (p.pause) p.pause();
            parallel_for_workers(
                p.threads, std::min(part, tasks - done),
                [&](int64_t task, int worker) { compute(first, done + task, worker); });
        }
    }
}

}  // namespace digan_fast
