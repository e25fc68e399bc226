#include "digan_fast/coord_mlp.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "ops/coord_mlp_kernel.h"
#include "runtime/scratch.h"
#include "runtime/threads.h"

namespace digan_fast {
namespace {

// Weight sets packed at once: enough work for the threads, little memory.
constexpr int64_t kSetsTogether = 16;
constexpr int64_t kGroupPoints = kGroupBlocks * kBlockPixels;

Precision precision_of(const CoordMlpLayer& layer) {
    return layer.bfloat16 ? Precision::bfloat16 : Precision::float32;
}

// Packed inputs of layer i. A float32 product with paired activations, those between two layers of
// which one multiplies in bfloat16, reads an odd last one's whole pair.
int64_t depth_of(const std::vector<CoordMlpLayer>& layers, size_t i) {
    const CoordMlpLayer& layer = layers[i];
    if (!layer.bfloat16 && (i == 0 || !layers[i - 1].bfloat16)) return layer.inputs;
    LayerTraits traits;
    layer_traits({Precision::bfloat16, &traits});
    const int64_t pairs = traits.pack;
    const int64_t packed = (layer.inputs + pairs - 1) / pairs;
    return layer.bfloat16 ? packed : packed * pairs;
}

// The layers of some weight sets, in panels.
class PackedSets {
  public:
    explicit PackedSets(const CoordMlpParams& p)
        : p_(p), memory_(std::min(kSetsTogether, p.sets), sizes(p)) {
        layers_.resize(kSetsTogether * p.layers.size());
    }

    void pack(int64_t first, int64_t sets) {
        std::vector<LayerPacking> tasks;
        for (int64_t set = 0; set < sets; ++set) {
            for (size_t i = 0; i < p_.layers.size(); ++i) {
                const CoordMlpLayer& layer = p_.layers[i];
                const bool folded = layer.activation != Activation::sine;
                float* const bias = memory_.at(set, 2 * i + 1);
                PackedLayer& packed = layers_[set * p_.layers.size() + i];
                packed = {.panels = memory_.at(set, 2 * i),
                          .bias = bias,
                          .outputs = layer.outputs,
                          .depth = depth_of(p_.layers, i),
                          .activation = layer.activation,
                          .gain = folded ? 1.0f : layer.gain,
                          .clamp = INFINITY,
                          .bfloat16 = layer.bfloat16};
                if (!layer.bias) std::fill_n(bias, layer.outputs, 0.0f);
                const int64_t own = layer.own_biases ? (first + set) * layer.outputs : 0;
                LayerPacking task{};
                task.layer = packed;
                task.weight = layer.weight + (first + set) * layer.outputs * layer.inputs;
                task.bias = layer.bias ? layer.bias + own : nullptr;
                task.row_stride = task.inputs = layer.inputs;
                task.scale = folded ? layer.gain : 1.0f;
                task.precision = precision_of(layer);
                for (int64_t row = 0; row < layer.outputs; row += kPackTaskRows) {
                    task.first = row;
                    task.last = std::min(row + kPackTaskRows, layer.outputs);
                    tasks.push_back(task);
                }
            }
        }
        parallel_for(p_.threads, static_cast<int64_t>(tasks.size()),
                     [&](int64_t i) { pack_layer(tasks[i]); });
    }
    const PackedLayer* of(int64_t set) const { return layers_.data() + set * p_.layers.size(); }

  private:
    // For one set: the sizes of each layer's panels and bias.
    static std::vector<int64_t> sizes(const CoordMlpParams& p) {
        std::vector<int64_t> sizes;
        for (size_t i = 0; i < p.layers.size(); ++i) {
            sizes.push_back(p.layers[i].outputs * depth_of(p.layers, i));
            sizes.push_back(p.layers[i].outputs);
        }
        return sizes;
    }

    const CoordMlpParams& p_;
    ScratchAreas memory_;
    std::vector<PackedLayer> layers_;
};

}  // namespace

void coord_mlp_cpu(const CoordMlpParams& p) {
    const int64_t inputs = p.layers.front().inputs, outputs = p.layers.back().outputs;
    const int64_t groups = (p.points + kGroupPoints - 1) / kGroupPoints;
    int64_t widest = 0;  // with the partner of an odd last channel
    for (const CoordMlpLayer& layer : p.layers)
        widest = std::max({widest, layer.inputs + 1, layer.outputs + 1});
    const int64_t activations = kGroupPoints * widest;
    const ScratchAreas scratch(p.threads, {activations, activations});
    PackedSets packed(p);
    for (int64_t first = 0; first < p.sets; first += kSetsTogether) {
        if (p.pause) p.pause();
        const int64_t sets = std::min(kSetsTogether, p.sets - first);
        packed.pack(first, sets);
        parallel_for_workers(p.threads, sets * groups, [&](int64_t task, int worker) {
            const int64_t set = first + task / groups, point = task % groups * kGroupPoints;
            const int64_t row = (p.own_coordinates ? set * p.points : 0) + point;
            mlp_group({
                .out = p.out + (set * p.points + point) * outputs,
                .inputs = p.coordinates + row * inputs,
                .depth = inputs,
                .points = std::min(kGroupPoints, p.points - point),
                .layers = packed.of(set - first),
                .layer_count = static_cast<int64_t>(p.layers.size()),
                .scratch = {scratch.at(worker), scratch.at(worker, 1)},
                .widest = widest,
            });
        });
    }
}

}  // namespace digan_fast
