#pragma once

// The matrices of a strip that goes through coordinate MLPs and back: a worker's scratch.

#include <algorithm>
#include <vector>

#include "ops/mlp_plan.h"
#include "ops/mlp_training_panels.h"
#include "ops/row_tasks.h"

namespace digan_fast {

// Rows of a strip. By FMA, forward and backward of 64 to 512 channels take up to 3 % longer with
// 128, 192 or 384; as terms, those of 512 channels are slower with 192 and 384 too.
constexpr int64_t kMlpStripRows = 256;

// A matrix of a strip, whose rows are points.
struct Matrix {
    float* data;
    int64_t stride;
};

// The part of a task that goes through all layers and back at once.
struct MlpStrip {
    int64_t task, segment, set, rows;
    int worker;
    Matrix coordinates;
};

class MlpStripMatrices {
  public:
    // What all layers share.
    enum Area {
        kInputGradient,  // of layers with even indices, then of the others
        kInputGradientToo,
        kFeatureGradient,
        kDz,
        kPacked,  // of layers with even indices, then of the others
        kPackedToo,
        kPackedDz,
        kTail,
        kSomeOutput,  // not kept
        kBias,
        kShift,
        kOfAll
    };

    MlpStripMatrices(const CoordMlpParams& params, const std::vector<MlpPlan>& plans)
        : p_(params), plans_(plans), scratch_(params.threads, sizes()) {}

    float* of_all(const MlpStrip& s, Area area) const {
        return scratch_.at(s.worker, p_.layers.size() * kOfLayer + area);
    }
    Matrix matrix(const MlpStrip& s, Area area, int64_t columns) const {
        return {of_all(s, area), padded(columns)};
    }
    Matrix product(size_t i, const MlpStrip& s) const {
        const int64_t outputs = p_.layers[i].outputs;
        return plans_[i].product ? of_layer(s, i, kProduct, outputs) : Matrix{};
    }
    // What layer i reads, before its modulation and without the features.
    Matrix input(size_t i, const MlpStrip& s) const {
        if (i == 0) return s.coordinates;
        const int64_t outputs = p_.layers[i - 1].outputs;
        return plans_[i - 1].output ? of_layer(s, i - 1, kOutput, outputs)
                                    : matrix(s, kSomeOutput, outputs);
    }
    Matrix features(const MlpStrip& s) const { return p_.encoded ? input(1, s) : s.coordinates; }
    // Layer i's operand: a matrix, or columns of a weight's gradient as terms.
    float* operand_terms(size_t i, const MlpStrip& s) const {
        return scratch_.at(s.worker, i * kOfLayer + kOperand);
    }
    Matrix operand(size_t i, const MlpStrip& s) const {
        if (joined(i)) return {nullptr, 0};
        return plans_[i].operand ? of_layer(s, i, kOperand, p_.layers[i].inputs) : input(i, s);
    }
    Matrix slope(size_t i, const MlpStrip& s) const {
        return plans_[i].slope ? of_layer(s, i, kSlope, p_.layers[i].outputs) : Matrix{};
    }
    // Whether the product before layer i leaves the layer's operand, as terms.
    bool joined(size_t i) const { return i > 0 && plans_[i - 1].joined; }
    // Rows of a product of layer i.
    float* packed(size_t i, const MlpStrip& s) const {
        return of_all(s, as_terms(p_.layers[i]) && i % 2 ? kPackedToo : kPacked);
    }

  private:
    enum { kOperand, kOutput, kSlope, kProduct, kOfLayer };

    std::vector<int64_t> sizes() const {
        std::vector<int64_t> sizes;
        int64_t widest = network_inputs(p_);
        bool halved = false, terms = false;
        const auto rows = [&](int64_t columns) { return kMlpStripRows * padded(columns); };
        for (size_t i = 0; i < p_.layers.size(); ++i) {
            const CoordMlpLayer& layer = p_.layers[i];
            const MlpPlan& one = plans_[i];
            sizes.push_back(joined(i)     ? terms_size(kMlpStripRows, layer.inputs)
                            : one.operand ? rows(layer.inputs) / (is_halved(layer) ? 2 : 1)
                                          : 0);
            sizes.push_back(one.output ? rows(layer.outputs) : 0);
            sizes.push_back(one.slope ? rows(layer.outputs) : 0);
            sizes.push_back(one.product ? rows(layer.outputs) : 0);
            widest = std::max({widest, layer.inputs, layer.outputs});
            halved = halved || is_halved(layer);
            terms = terms || as_terms(layer);
        }
        const int64_t most = rows(widest);
        const int64_t packed = terms ? std::max(most, terms_size(kMlpStripRows, widest)) : most;
        const int64_t packed_dz = terms ? packed : halved ? most : 0;
        const int64_t tail = terms ? terms_size(kMlpStripRows, kTermsSide) : 32 * kMlpStripRows;
        sizes.insert(sizes.end(), {most, most, rows(network_inputs(p_)), most, packed,
                                   terms ? packed : 0, packed_dz, tail, most, widest, widest});
        return sizes;
    }

    Matrix of_layer(const MlpStrip& s, size_t i, size_t area, int64_t columns) const {
        return {scratch_.at(s.worker, i * kOfLayer + area), padded(columns)};
    }

    const CoordMlpParams& p_;
    const std::vector<MlpPlan>& plans_;
    ScratchAreas scratch_;
};

}  // namespace digan_fast
