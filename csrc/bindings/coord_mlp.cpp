#include "digan_fast/coord_mlp.h"

#include <algorithm>
#include <tuple>

#include "fields.h"

namespace digan_fast {
namespace {

// (weight, bias, own_biases, outputs, inputs, activation, gain, bfloat16)
using MlpLayerTuple =
    std::tuple<std::uintptr_t, std::uintptr_t, bool, std::int64_t, std::int64_t, int, float, bool>;
constexpr const char* kMlpLayers = "list[tuple[int, int, bool, int, int, int, float, bool]]";

void fill_layers(CoordMlpParams& params, py::handle value) {
    for (const auto& [weight, bias, own_biases, outputs, inputs, activation, gain, bfloat16] :
         from_python<std::vector<MlpLayerTuple>>("layers", value, kMlpLayers)) {
        const auto kind = static_cast<Activation>(activation);
        require_positive({{"outputs", outputs}});
        const bool follows =
            params.layers.empty() ? inputs > 0 : inputs == params.layers.back().outputs;
        require(follows, "inputs", std::to_string(inputs), "the outputs of the layer before");
        require_activation(
            kind, {Activation::linear, Activation::relu, Activation::lrelu, Activation::sine});
        params.layers.push_back({address("weight", weight), optional_address("bias", bias),
                                 own_biases, outputs, inputs, kind, gain, bfloat16});
    }
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
    define<Params, void>(m, "coord_mlp_cpu",
                         {field("out", &Params::out),
                          field("coordinates", &Params::coordinates),
                          field("own_coordinates", &Params::own_coordinates),
                          field("sets", &Params::sets),
                          field("points", &Params::points),
                          {"layers", kMlpLayers, false, fill_layers},
                          field("threads", &Params::threads)},
                         check_coord_mlp, run_coord_mlp);
}

}  // namespace digan_fast
