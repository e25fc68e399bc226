#pragma once

#include <algorithm>

#include "digan_fast/fmm_weights.h"
#include "fields.h"

namespace digan_fast {

// Params: FmmWeightsParams or FmmWeightsBackwardParams.
template <class Params>
Fields<Params> fmm_weights_fields() {
    return {field("weight", &Params::weight),   field("left", &Params::left),
            field("right", &Params::right),     field("batch", &Params::batch),
            field("outputs", &Params::outputs), field("inputs", &Params::inputs),
            field("rank", &Params::rank),       field("modulation", &Params::modulation),
            field("scale", &Params::scale)};
}

inline Fields<FmmWeightsParams> fmm_weights_forward_fields() {
    using Params = FmmWeightsParams;
    return Fields<Params>{field("out", &Params::out)} + fmm_weights_fields<Params>();
}

inline Fields<FmmWeightsBackwardParams> fmm_weights_backward_fields() {
    using Params = FmmWeightsBackwardParams;
    return Fields<Params>{field("dweight", &Params::dweight), field("dleft", &Params::dleft),
                          field("dright", &Params::dright), field("grad", &Params::grad)} +
           fmm_weights_fields<Params>();
}

// False if there are no weights.
template <class Params>
bool check_fmm_weights(const Params& p) {
    require_extents({{"batch", p.batch}, {"outputs", p.outputs}, {"inputs", p.inputs}});
    require_positive({{"rank", p.rank}});
    const int modulation = static_cast<int>(p.modulation);
    require(modulation >= 0 && modulation < kModulations, "modulation", std::to_string(modulation),
            "0 to 3");
    require_tensor("inputs", {p.batch, p.outputs, p.inputs});
    // Partial sums of dright are fewer than 16 of it.
    require_tensor("rank", {16, p.batch, std::max(p.outputs, p.inputs), p.rank});
    return p.batch * p.outputs * p.inputs > 0;
}

}  // namespace digan_fast
