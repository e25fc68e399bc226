#include "digan_fast/coord_mlp.h"

#include <algorithm>

#include "bindings.h"

namespace digan_fast {
namespace {

// (weight, bias, own_biases, outputs, inputs, activation, gain)
using MlpLayerTuple =
    std::tuple<std::uintptr_t, std::uintptr_t, bool, std::int64_t, std::int64_t, int, float>;

void coord_mlp(std::uintptr_t out, std::uintptr_t coordinates, bool own_coordinates,
               std::int64_t sets, std::int64_t points, const std::vector<MlpLayerTuple>& layers,
               int threads) {
    require_extent("sets", sets);
    require_extent("points", points);
    require(!layers.empty(), "layers", "empty", "a layer or more");
    require_threads(threads);
    CoordMlpParams params{address("out", out),
                          address("coordinates", coordinates),
                          own_coordinates,
                          sets,
                          points,
                          {},
                          threads,
                          check_signals};
    for (const auto& [weight, bias, own_biases, outputs, inputs, activation, gain] : layers) {
        require(outputs > 0, "outputs", std::to_string(outputs), "1 or more");
        const bool follows =
            params.layers.empty() ? inputs > 0 : inputs == params.layers.back().outputs;
        require(follows, "inputs", std::to_string(inputs), "the outputs of the layer before");
        require_tensor("sets", {sets, outputs, inputs});
        require_tensor("points", {sets, points, std::max(outputs, inputs)});
        params.layers.push_back({address("weight", weight), optional_address("bias", bias),
                                 own_biases, outputs, inputs,
                                 activation_of(activation, {Activation::linear, Activation::relu,
                                                            Activation::lrelu, Activation::sine}),
                                 gain});
    }
    const py::gil_scoped_release release;
    coord_mlp_cpu(params);
}

}  // namespace

void bind_coord_mlp(py::module_& m) {
    using namespace py::literals;
    m.def("coord_mlp_cpu", &coord_mlp, "out"_a, "coordinates"_a, "own_coordinates"_a, "sets"_a,
          "points"_a, "layers"_a, "threads"_a);
}

}  // namespace digan_fast
