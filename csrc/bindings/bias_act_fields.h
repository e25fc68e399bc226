#pragma once

#include "digan_fast/bias_act.h"
#include "fields.h"

namespace digan_fast {

// Params: BiasActParams or BiasActBackwardParams.
template <class Params>
Fields<Params> bias_act_fields() {
    return {field("outer", &Params::outer),
            field("channels", &Params::channels),
            field("inner", &Params::inner),
            field("bias", &Params::bias, Null::left_out),
            field("activation", &Params::activation),
            field("number", &Params::number),
            field("alpha", &Params::alpha),
            field("gain", &Params::gain),
            field("clamp", &Params::clamp)};
}

inline Fields<BiasActParams> bias_act_forward_fields() {
    return Fields<BiasActParams>{field("out", &BiasActParams::out), field("x", &BiasActParams::x)} +
           bias_act_fields<BiasActParams>();
}

// `x` is required if the activation's derivative reads it.
inline Fields<BiasActBackwardParams> bias_act_backward_fields() {
    using Params = BiasActBackwardParams;
    return Fields<Params>{field("dx", &Params::dx), field("dbias", &Params::dbias),
                          field("grad", &Params::grad), field("x", &Params::x, Null::left_out),
                          field("out", &Params::out)} +
           bias_act_fields<Params>();
}

inline void require_x(const BiasActBackwardParams& params) {
    const bool is_read = params.activation > Activation::lrelu;
    require(params.x || !is_read, "x", "null", "the address of data");
}

// False if there are no elements.
template <class Params>
bool check_bias_act(const Params& p, int numbers) {
    require_extents({{"outer", p.outer}, {"channels", p.channels}, {"inner", p.inner}});
    require_tensor("inner", {p.outer, p.channels, p.inner});
    require_any_activation(p.activation);
    require_number(p.number, numbers);
    require_clamp(p.clamp);
    return p.outer * p.channels * p.inner > 0;
}

}  // namespace digan_fast
