#pragma once

// The weights of coordinate MLPs in panels of columns, as products of strips of points read them.

#include <algorithm>
#include <cstdint>
#include <vector>

#include "digan_fast/coord_mlp.h"
#include "gemm/pixel_rows_kernel.h"
#include "ops/coord_mlp_rows_kernel.h"
#include "ops/mlp_terms.h"
#include "runtime/scratch.h"
#include "runtime/threads.h"

namespace digan_fast {

// Whether operands are stored in 16 bits. Those rounded to float16 are stored as float32, in which
// they are multiplied.
inline bool is_halved(const CoordMlpLayer& layer) { return layer.number == Number::bfloat16; }

inline Number operand_number(const CoordMlpLayer& layer) {
    return is_halved(layer) ? Number::bfloat16 : Number::float32;
}

// For each layer ω·Wᵀ [inputs, outputs] where `ahead` and ω·W [outputs, inputs] where `back`.
// Shared weights are packed once. Own weights are packed for each sample, or if there are many by
// the worker that needs them.
class MlpTrainingPanels {
  public:
    MlpTrainingPanels(const CoordMlpParams& p, const std::vector<bool>& ahead,
                      const std::vector<bool>& back, bool by_worker)
        : p_(p),
          ahead_(ahead),
          back_(back),
          by_worker_(by_worker),
          shared_(1, sizes(false)),
          own_(by_worker ? p.threads : p.sets, sizes(true)),
          rounded_(p.threads, {largest()}) {
        const int64_t layers = static_cast<int64_t>(p.layers.size());
        parallel_for_workers(p.threads, layers, [&](int64_t i, int worker) {
            if (!p.layers[i].own_weights) pack(i, 0, shared_, 0, worker);
        });
        if (by_worker) return;
        parallel_for_workers(p.threads, layers * p.sets, [&](int64_t task, int worker) {
            const int64_t i = task % layers, set = task / layers;
            if (p.layers[i].own_weights) pack(i, set, own_, set, worker);
        });
    }

    // Before a worker's products for a sample.
    void prepare(int64_t set, int worker) const {
        if (!by_worker_) return;
        for (size_t i = 0; i < p_.layers.size(); ++i)
            if (p_.layers[i].own_weights) pack(i, set, own_, worker, worker);
    }
    const float* ahead(size_t i, int64_t set, int worker) const { return at(2 * i, set, worker); }
    const float* back(size_t i, int64_t set, int worker) const {
        return at(2 * i + 1, set, worker);
    }

  private:
    const float* at(size_t area, int64_t set, int worker) const {
        if (!p_.layers[area / 2].own_weights) return shared_.at(0, area);
        return own_.at(by_worker_ ? worker : set, area);
    }
    std::vector<int64_t> sizes(bool own) const {
        std::vector<int64_t> sizes;
        for (size_t i = 0; i < p_.layers.size(); ++i) {
            const CoordMlpLayer& layer = p_.layers[i];
            const bool here = layer.own_weights == own;
            const auto size = as_terms(layer) ? terms_size : panel_size;
            sizes.push_back(here && ahead_[i] ? size(layer.inputs, layer.outputs) : 0);
            sizes.push_back(here && back_[i] ? size(layer.outputs, layer.inputs) : 0);
        }
        return sizes;
    }
    int64_t largest() const {
        int64_t most = 0;
        for (const CoordMlpLayer& layer : p_.layers)
            if (layer.number != Number::float32) {
                const int64_t size = layer.outputs * layer.inputs;
                most = std::max(most, is_halved(layer) ? (size + 1) / 2 : size);
            }
        return most;
    }

    void pack(size_t i, int64_t set, const ScratchAreas& to, int64_t copy, int worker) const {
        const CoordMlpLayer& layer = p_.layers[i];
        const int64_t size = layer.outputs * layer.inputs;
        if (as_terms(layer)) return pack_terms(i, layer.weight + set * size, to, copy);
        ColumnPanelPacking one{.panels = nullptr,
                               .weight = layer.weight + set * size,
                               .number = operand_number(layer),
                               .depth = layer.inputs,
                               .columns = layer.outputs,
                               .depth_stride = 1,
                               .column_stride = layer.inputs,
                               .scale = layer.omega,
                               .first = 0,
                               .last = layer.outputs};
        if (layer.number != Number::float32) {
            float* const rounded = rounded_.at(worker);
            mlp_rounding({.to = rounded,
                          .number = layer.number,
                          .from = layer.weight + set * size,
                          .scale = layer.omega,
                          .count = size});
            one.weight = rounded;
            one.scale = 1.0f;
        }
        if (ahead_[i]) {
            one.panels = to.at(copy, 2 * i);
            pack_column_panels(one);
        }
        if (!back_[i]) return;
        one.panels = to.at(copy, 2 * i + 1);
        std::swap(one.depth, one.columns);
        std::swap(one.depth_stride, one.column_stride);
        one.last = layer.inputs;
        pack_column_panels(one);
    }

    void pack_terms(size_t i, const float* weight, const ScratchAreas& to, int64_t copy) const {
        const CoordMlpLayer& layer = p_.layers[i];
        TermsPanelPacking one{.panels = to.at(copy, 2 * i),
                              .weight = weight,
                              .depth = layer.inputs,
                              .columns = layer.outputs,
                              .depth_stride = 1,
                              .column_stride = layer.inputs,
                              .scale = layer.omega};
        if (ahead_[i]) pack_terms_panels(one);
        one.panels = to.at(copy, 2 * i + 1);
        std::swap(one.depth, one.columns);
        std::swap(one.depth_stride, one.column_stride);
        if (back_[i]) pack_terms_panels(one);
    }

    const CoordMlpParams& p_;
    std::vector<bool> ahead_, back_;
    bool by_worker_;
    ScratchAreas shared_, own_, rounded_;
};

}  // namespace digan_fast
