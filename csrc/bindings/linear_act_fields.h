#pragma once

#include <algorithm>

#include "digan_fast/linear_act.h"
#include "fields.h"

namespace digan_fast {

// Params: LinearActParams or LinearActCudaParams.
template <class Params>
Fields<Params> linear_act_extents() {
    return {field("own_biases", &Params::own_biases), field("videos", &Params::videos),
            field("rows", &Params::rows), field("inputs", &Params::inputs),
            field("outputs", &Params::outputs)};
}

template <class Params>
Fields<Params> linear_act_fields() {
    return linear_act_extents<Params>() +
           Fields<Params>{field("out", &Params::out),
                          field("weight", &Params::weight),
                          field("bias", &Params::bias, Null::left_out),
                          field("activation", &Params::activation),
                          field("gain", &Params::gain),
                          field("clamp", &Params::clamp)};
}

template <class Params>
void require_linear_act(const Params& p) {
    require_positive(
        {{"videos", p.videos}, {"rows", p.rows}, {"inputs", p.inputs}, {"outputs", p.outputs}});
    require_tensor("rows", {p.videos, p.rows, std::max(p.inputs, p.outputs)});
    require_tensor("outputs", {p.videos, p.outputs, p.inputs});
    require_clamp(p.clamp);
    require_activation(p.activation,
                       {Activation::linear, Activation::relu, Activation::lrelu, Activation::sine});
}

}  // namespace digan_fast
