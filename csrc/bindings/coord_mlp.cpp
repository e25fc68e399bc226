#include "digan_fast/coord_mlp.h"

#include <algorithm>

#include "fields.h"

namespace digan_fast {
namespace {

Fields<CoordMlpLayer> mlp_layer_fields() {
    using Layer = CoordMlpLayer;
    return {field("weight", &Layer::weight),
            field("bias", &Layer::bias, Null::left_out),
            field("own_biases", &Layer::own_biases),
            field("outputs", &Layer::outputs),
            field("inputs", &Layer::inputs),
            field("activation", &Layer::activation),
            field("gain", &Layer::gain),
            field("bfloat16", &Layer::bfloat16)};
}

void add_mlp_layer(CoordMlpParams& params, const CoordMlpLayer& layer) {
    require_positive({{"outputs", layer.outputs}});
    const bool follows =
        params.layers.empty() ? layer.inputs > 0 : layer.inputs == params.layers.back().outputs;
    require(follows, "inputs", std::to_string(layer.inputs), "the outputs of the layer before");
    require_activation(layer.activation,
                       {Activation::linear, Activation::relu, Activation::lrelu, Activation::sine});
    params.layers.push_back(layer);
}

bool check_coord_mlp(const CoordMlpParams& params) {
    require_extents({{"sets", params.sets}, {"points", params.points}});
    require(!params.layers.empty(), "layers", "empty", "a layer or more");
    require(!params.layers.back().bfloat16, "bfloat16", "true for the last layer", "false");
    require_threads(params.threads);
    for (const CoordMlpLayer& layer : params.layers) {
        require_tensor("sets", {params.sets, layer.outputs, layer.inputs});
        require_tensor("points",
                       {params.sets, params.points, std::max(layer.outputs, layer.inputs)});
    }
    return params.sets > 0 && params.points > 0;
}

void run_coord_mlp(CoordMlpParams& params) {
    params.pause = check_signals;
    coord_mlp_cpu(params);
}

}  // namespace

void bind_coord_mlp(py::module_& m) {
    using Params = CoordMlpParams;
    define<Params, void>(
        m, "coord_mlp_cpu",
        {field("out", &Params::out), field("coordinates", &Params::coordinates),
         field("own_coordinates", &Params::own_coordinates), field("sets", &Params::sets),
         field("points", &Params::points), list_field("layers", mlp_layer_fields(), add_mlp_layer),
         field("threads", &Params::threads)},
        check_coord_mlp, run_coord_mlp);
}

}  // namespace digan_fast
