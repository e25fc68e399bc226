#pragma once

#include <algorithm>

#include "digan_fast/coord_linear.h"
#include "fields.h"

namespace digan_fast {

// Params: CoordLinearParams or CoordLinearCudaParams.
template <class Params>
Fields<Params> coord_linear_extents() {
    return {field("videos", &Params::videos),       field("frames", &Params::frames),
            field("sinusoids", &Params::sinusoids), field("outputs", &Params::outputs),
            field("side", &Params::side),           field("top", &Params::top),
            field("left", &Params::left),           field("height", &Params::height),
            field("width", &Params::width),         field("base", &Params::base, Null::left_out)};
}

template <class Params>
Fields<Params> coord_linear_fields() {
    return coord_linear_extents<Params>() +
           Fields<Params>{field("out", &Params::out),
                          field("frequency", &Params::frequency),
                          field("phase", &Params::phase),
                          field("weight", &Params::weight),
                          field("bias", &Params::bias, Null::left_out),
                          field("activation", &Params::activation),
                          field("gain", &Params::gain),
                          field("clamp", &Params::clamp)};
}

template <class Params>
void require_coord_linear(const Params& p) {
    require_positive({{"videos", p.videos},
                      {"frames", p.frames},
                      {"sinusoids", p.sinusoids},
                      {"outputs", p.outputs}});
    require_side(p.side);
    require_rectangle("rectangle", p.top, p.left, p.height, p.width);
    require_tensor("outputs",
                   {p.videos, p.frames, p.height, p.width, std::max(p.outputs, p.sinusoids)});
    require_tensor("outputs", {p.videos, p.outputs, p.sinusoids});
    require_clamp(p.clamp);
    require_activation(p.activation, {Activation::linear, Activation::relu, Activation::lrelu});
}

}  // namespace digan_fast
