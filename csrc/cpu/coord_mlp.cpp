#include "digan_fast/coord_mlp.h"

#include <cmath>
#include <vector>

#include "row_work.h"

namespace digan_fast {
namespace {

// Sets whose panels are made together: enough work for the threads, little memory.
constexpr int64_t kSetsTogether = 16;

}  // namespace

void coord_mlp_cpu(const CoordMlpParams& p) {
    const int64_t blocks = (p.points + kBlockOfRows - 1) / kBlockOfRows;
    const int64_t colours = p.layers.back().outputs;
    int64_t widest = 0;
    for (const CoordMlpLayer& layer : p.layers) widest = std::max(widest, layer.outputs);
    // A block's activations, in and out of a layer.
    const int64_t step = padded(widest), half = kBlockOfRows * step;
    const Buffer scratch(p.threads * 2 * half);
    for (int64_t first = 0; first < p.sets; first += kSetsTogether) {
        if (p.pause) p.pause();
        const int64_t sets = std::min(kSetsTogether, p.sets - first);
        std::vector<VideoPanels> panels;
        panels.reserve(p.layers.size());
        for (const CoordMlpLayer& layer : p.layers) {
            const float* const weight = layer.weight + first * layer.outputs * layer.inputs;
            const float scale = folded_gain(layer.activation, layer.gain);
            panels.emplace_back(LanePanels{nullptr, weight, layer.inputs, layer.outputs, 1,
                                           layer.inputs, scale, 0, 0},
                                sets, p.threads);
        }
        parallel_for_workers(p.threads, sets * blocks, [&](int64_t task, int worker) {
            const int64_t set = first + task / blocks, point = task % blocks * kBlockOfRows;
            const int64_t count = std::min(kBlockOfRows, p.points - point);
            const int64_t inputs = p.layers.front().inputs;
            const int64_t row = (p.own_coordinates ? set * p.points : 0) + point;
            const float* x = p.coordinates + row * inputs;
            int64_t x_step = inputs;
            float* const mine = scratch.data() + worker * 2 * half;
            for (size_t i = 0; i < p.layers.size(); ++i) {
                const CoordMlpLayer& layer = p.layers[i];
                const bool last = i + 1 == p.layers.size();
                float* const to = last ? p.out + (set * p.points + point) * colours
                                       : mine + static_cast<int64_t>(i % 2) * half;
                const int64_t to_step = last ? colours : step;
                float* out[kBlockOfRows];
                for (int64_t r = 0; r < count; ++r) out[r] = to + r * to_step;
                const float* const bias =
                    layer.bias && layer.own_biases ? layer.bias + set * layer.outputs : layer.bias;
                row_product({out,
                             x,
                             x_step,
                             count,
                             panels[i].of(set - first),
                             layer.inputs,
                             layer.outputs,
                             {bias, nullptr, folded_gain(layer.activation, layer.gain)},
                             {layer.activation, layer.gain, INFINITY}});
                x = to;
                x_step = to_step;
            }
        });
    }
}

}  // namespace digan_fast
