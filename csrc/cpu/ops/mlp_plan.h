#pragma once

// Which numbers of a strip the backward of coordinate MLPs computes and keeps.

#include <vector>

#include "digan_fast/coord_mlp.h"
#include "ops/mlp_terms.h"

namespace digan_fast {

// What the backward does with a layer, the same for all strips.
struct MlpPlan {
    bool below;         // a gradient of something before the layer is wanted
    bool back;          // that by its input is
    bool wanted;        // that, or one of its tensors' gradients
    bool ahead;         // its product is computed again
    bool operand;       // its operand is a matrix of its own, not the output before as it is
    bool output;        // its output is kept
    bool slope;         // act' is not 1
    bool product;       // z is kept, for the gradient of a scale
    bool dz_from_next;  // the next layer's dz·W leaves this layer's dz
    bool joined;        // the next layer's operand is its output, as terms and nothing else
};

inline std::vector<MlpPlan> mlp_plan(const CoordMlpBackwardParams& params) {
    const CoordMlpParams& p = params.forward;
    const size_t count = p.layers.size();
    std::vector<MlpPlan> plans(count);
    bool below = params.dcoordinates != nullptr;
    for (size_t i = 0; i < count; ++i) {
        const CoordMlpLayer& layer = p.layers[i];
        const CoordMlpLayerGradient& of = params.gradients[i];
        MlpPlan& one = plans[i];
        one.below = below;
        one.back = below || of.input_scale || of.input_shift;
        one.wanted = one.back || of.weight || of.bias || of.scale || of.shift;
        one.slope = layer.activation != Activation::linear;
        one.product = of.scale != nullptr;
        one.ahead = i + 1 < count || one.slope || of.scale;
        one.operand =
            layer.number != Number::float32 || layer.skip || layer.input_scale || layer.input_shift;
        below = one.wanted;
    }
    for (size_t i = 0; i + 1 < count; ++i) {
        const CoordMlpLayer &layer = p.layers[i], &next = p.layers[i + 1];
        const bool features = i == 0 && p.encoded;
        const bool unmodulated =
            !next.skip && !next.input_scale && !params.gradients[i + 1].input_shift;
        plans[i].dz_from_next =
            plans[i].wanted && unmodulated && !features && layer.number != Number::float16;
        plans[i].joined =
            plans[i].dz_from_next && !plans[i + 1].operand && as_terms(layer) && as_terms(next);
        plans[i].output = !plans[i].joined && (!plans[i + 1].operand ||
                                               params.gradients[i + 1].input_scale || features);
    }
    return plans;
}

}  // namespace digan_fast
