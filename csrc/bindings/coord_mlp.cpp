#include "coord_mlp_fields.h"

namespace digan_fast {
namespace {

Fields<CoordMlpLayerGradient> mlp_layer_gradient_fields() {
    using Gradient = CoordMlpLayerGradient;
    return {field("weight", &Gradient::weight, Null::left_out),
            field("bias", &Gradient::bias, Null::left_out),
            field("scale", &Gradient::scale, Null::left_out),
            field("shift", &Gradient::shift, Null::left_out),
            field("input_scale", &Gradient::input_scale, Null::left_out),
            field("input_shift", &Gradient::input_shift, Null::left_out)};
}

void add_mlp_layer_gradient(CoordMlpBackwardParams& params, const CoordMlpLayerGradient& layer) {
    params.gradients.push_back(layer);
}

bool check_coord_mlp(const CoordMlpParams& params) {
    require_threads(params.threads);
    return check_mlp_network(params);
}

bool check_coord_mlp_backward(const CoordMlpBackwardParams& params) {
    const bool work = check_coord_mlp(params.forward);
    require(params.gradients.size() == params.forward.layers.size(), "gradients",
            std::to_string(params.gradients.size()), "one for each layer");
    return work;
}

}  // namespace

void bind_coord_mlp(py::module_& m) {
    using Params = CoordMlpParams;
    using Backward = CoordMlpBackwardParams;
    const Fields<Params> shared =
        mlp_network_fields() + Fields<Params>{field("threads", &Params::threads)};
    define<Params, void>(m, "coord_mlp_cpu", Fields<Params>{field("out", &Params::out)} + shared,
                         check_coord_mlp, [](Params& params) {
                             params.pause = check_signals;
                             coord_mlp_cpu(params);
                         });
    define<Backward, void>(
        m, "coord_mlp_backward_cpu",
        within(&Backward::forward, shared) +
            Fields<Backward>{
                field("grad", &Backward::grad),
                field("dcoordinates", &Backward::dcoordinates, Null::left_out),
                list_field("gradients", mlp_layer_gradient_fields(), add_mlp_layer_gradient)},
        check_coord_mlp_backward, [](Backward& params) {
            params.forward.pause = check_signals;
            coord_mlp_backward_cpu(params);
        });
}

}  // namespace digan_fast
