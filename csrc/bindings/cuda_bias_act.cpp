#include "cuda.h"

namespace digan_fast {
namespace {

// outer, channels, inner
using Shape = std::array<std::int64_t, 3>;

Activation any_activation(int value) {
    require(value >= 0 && value < kActivations, "activation", std::to_string(value), "0 to 9");
    return static_cast<Activation>(value);
}

void check(const Shape& shape, float clamp) {
    for (const std::int64_t extent : shape)
        require(extent > 0, "shape", std::to_string(extent), "extents of 1 or more");
    require_tensor("shape", {shape[0], shape[1], shape[2]});
    require_clamp(clamp);
}

void bias_act(std::uintptr_t out, std::uintptr_t x, std::uintptr_t bias, const Shape& shape,
              int activation, int number, float alpha, float gain, float clamp,
              std::uintptr_t stream) {
    check(shape, clamp);
    const Number kind = number_of(number);
    const BiasActParams params{cuda_data("out", out, kind),
                               cuda_data("x", x, kind),
                               optional_address("bias", bias),
                               shape[0],
                               shape[1],
                               shape[2],
                               any_activation(activation),
                               kind,
                               alpha,
                               gain,
                               clamp,
                               1};
    const py::gil_scoped_release release;
    bias_act_cuda(params, stream_of(stream));
}

void bias_act_backward(std::uintptr_t dx, std::uintptr_t dbias, std::uintptr_t partials,
                       std::uintptr_t grad, std::uintptr_t x, std::uintptr_t bias,
                       std::uintptr_t saved, const Shape& shape, int activation, int number,
                       float alpha, float gain, float clamp, std::uintptr_t stream) {
    check(shape, clamp);
    const Number kind = number_of(number);
    BiasActBackwardParams params{};
    params.dx = cuda_data("dx", dx, kind);
    params.dbias = address("dbias", dbias);
    params.partials = address("partials", partials);
    params.grad = cuda_data("grad", grad, kind);
    params.x = x ? cuda_data("x", x, kind) : nullptr;
    params.bias = optional_address("bias", bias);
    params.out = cuda_data("saved", saved, kind);
    params.outer = shape[0];
    params.channels = shape[1];
    params.inner = shape[2];
    params.activation = any_activation(activation);
    params.number = kind;
    params.alpha = alpha;
    params.gain = gain;
    params.clamp = clamp;
    const py::gil_scoped_release release;
    bias_act_backward_cuda(params, stream_of(stream));
}

}  // namespace

void bind_cuda_bias_act(py::module_& m) {
    using namespace py::literals;
    m.def("bias_act_cuda", &bias_act, "out"_a, "x"_a, "bias"_a, "shape"_a, "activation"_a,
          "number"_a, "alpha"_a, "gain"_a, "clamp"_a, "stream"_a);
    m.def("bias_act_cuda_parts", &bias_act_cuda_parts, "outer"_a, "inner"_a);
    m.def("bias_act_backward_cuda", &bias_act_backward, "dx"_a, "dbias"_a, "partials"_a, "grad"_a,
          "x"_a, "bias"_a, "saved"_a, "shape"_a, "activation"_a, "number"_a, "alpha"_a, "gain"_a,
          "clamp"_a, "stream"_a);
}

}  // namespace digan_fast
