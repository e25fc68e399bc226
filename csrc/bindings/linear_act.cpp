#include "digan_fast/linear_act.h"

#include <algorithm>

#include "bindings.h"

namespace digan_fast {
namespace {

LinearActParams params_of(std::uintptr_t out, std::uintptr_t x, std::uintptr_t weight,
                          std::uintptr_t bias, bool own_biases,
                          const std::array<std::int64_t, 4>& shape, int activation, float gain,
                          float clamp, int threads) {
    const auto [videos, rows, inputs, outputs] = shape;
    for (const std::int64_t extent : shape)
        require(extent > 0, "shape", std::to_string(extent), "extents of 1 or more");
    require_tensor("shape", {videos, rows, std::max(inputs, outputs)});
    require_tensor("shape", {videos, outputs, inputs});
    require_threads(threads);
    require_clamp(clamp);
    return {address("out", out),
            address("x", x),
            address("weight", weight),
            optional_address("bias", bias),
            own_biases,
            videos,
            rows,
            inputs,
            outputs,
            activation_of(activation, {Activation::linear, Activation::relu, Activation::lrelu,
                                       Activation::sine}),
            gain,
            clamp,
            threads};
}

void linear_act(std::uintptr_t out, std::uintptr_t x, std::uintptr_t weight, std::uintptr_t bias,
                bool own_biases, const std::array<std::int64_t, 4>& shape, int activation,
                float gain, float clamp, int threads) {
    const LinearActParams params =
        params_of(out, x, weight, bias, own_biases, shape, activation, gain, clamp, threads);
    const py::gil_scoped_release release;
    linear_act_cpu(params);
}

void linear_act_backward(std::uintptr_t out, std::uintptr_t x, std::uintptr_t weight,
                         std::uintptr_t bias, bool own_biases,
                         const std::array<std::int64_t, 4>& shape, int activation, float gain,
                         float clamp, int threads, std::uintptr_t grad, std::uintptr_t dx,
                         std::uintptr_t dweight, std::uintptr_t dbias) {
    const LinearActBackwardParams params{
        params_of(out, x, weight, bias, own_biases, shape, activation, gain, clamp, threads),
        address("grad", grad), address("dx", dx), address("dweight", dweight),
        address("dbias", dbias)};
    const py::gil_scoped_release release;
    linear_act_backward_cpu(params);
}

}  // namespace

void bind_linear_act(py::module_& m) {
    using namespace py::literals;
    m.def("linear_act_cpu", &linear_act, "out"_a, "x"_a, "weight"_a, "bias"_a, "own_biases"_a,
          "shape"_a, "activation"_a, "gain"_a, "clamp"_a, "threads"_a);
    m.def("linear_act_backward_cpu", &linear_act_backward, "out"_a, "x"_a, "weight"_a, "bias"_a,
          "own_biases"_a, "shape"_a, "activation"_a, "gain"_a, "clamp"_a, "threads"_a, "grad"_a,
          "dx"_a, "dweight"_a, "dbias"_a);
}

}  // namespace digan_fast
